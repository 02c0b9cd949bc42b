//! Reads the guest's and QEMU's streams: console, monitor, standard error, channel.

use std::io::{self, Read, Write};
use std::time::Instant;

use super::idle::THREADS;
use super::watch::STATUS;
use super::{CHUNK, ConsoleSink, Foreground, GRACE, LAST_READS, Opening, Phase, RESTORING, Session, Source};
use crate::guest::launch::Feed;
use crate::guest::transcript::Event;
use crate::qemu::qmp::{self, Said};

impl Session<'_> {
    /// Writes pending input to the console.
    pub(super) fn write_keys(&mut self) {
        match self.guest.keys.write(&self.keys_to_console) {
            Ok(written) => drop(self.keys_to_console.drain(..written)),
            Err(error) if is_for_now(&error) => {}
            // The reader is gone; further keys are discarded.
            Err(_) => {
                self.keys_to_console.clear();
                self.closed.push(Source::Keys);
            }
        }
    }

    /// Reads once. Returns true if more data may be available.
    pub(super) fn read_console(&mut self) -> bool {
        let mut buffer = [0; CHUNK];
        let read = self.guest.console.read(&mut buffer);
        let Some(len) = self.length(Source::Console, read) else { return false };
        let bytes = &buffer[..len];
        self.idle.console = Some(Instant::now());
        if let Some(keep) = &mut self.settings.keep {
            keep.console(bytes);
        }
        self.console.feed(bytes);
        self.health.take_console(bytes);
        match self.settings.foreground {
            Foreground::Console | Foreground::Viewer => self.out.push(bytes),
            Foreground::Streams | Foreground::Terminal | Foreground::Nobody => {}
        }
        self.watch_console(bytes);
        match &mut self.settings.console {
            ConsoleSink::Nowhere => {}
            ConsoleSink::Stderr => {
                let plain: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != b'\r').collect();
                self.err.push(&plain);
            }
            ConsoleSink::File(file) => {
                if let Err(error) = file.write_all(bytes) {
                    self.settings.console = ConsoleSink::Nowhere;
                    self.console_lost = Some(error.to_string());
                    self.say(&format!("failed to write the console file, which remains incomplete: {error}"));
                }
            }
        }
        let signs = self.console.signs();
        if (signs.panic.is_some() || signs.halted) && self.grace.is_none() {
            self.panicked = signs.panic.is_some().then(Instant::now);
            self.grace = Some(Instant::now() + GRACE);
        }
        true
    }

    pub(super) fn read_monitor(&mut self) -> bool {
        let mut buffer = [0; CHUNK];
        let read = self.guest.monitor.read(&mut buffer);
        let Some(len) = self.length(Source::Monitor, read) else { return false };
        if let Some(keep) = &mut self.settings.keep {
            keep.said(&buffer[..len]);
        }
        for said in self.monitor.feed(&buffer[..len]) {
            match said {
                Said::Greeting { .. } => self.greet_monitor(),
                Said::Event(Event::ChannelClosed) if self.phase == Phase::Booting => {}
                Said::Event(event) => {
                    if event == Event::ChannelClosed {
                        self.grace = Some(Instant::now() + GRACE);
                    }
                    self.watch_machine(&event);
                    self.note(event);
                }
                Said::Reply { id: RESTORING, result: Ok(_) } => {}
                Said::Reply { id: RESTORING, result: Err(why) } => self.end(Event::NotRestored(why)),
                Said::Reply { id: STATUS, result } => self.learn_status(&result.unwrap_or_default()),
                Said::Reply { id: THREADS, result } => self.learn_threads(&result.unwrap_or_default()),
                Said::Reply { id, result } => self.on_reply(id, result),
            }
        }
        true
    }

    /// Sends the first commands after QEMU's greeting. The socket buffer is empty at this point, and a few lines always
    /// fit.
    fn greet_monitor(&mut self) {
        self.guest.has_greeted = true;
        self.orders.splice(0..0, qmp::NEGOTIATE.iter().copied());
        self.orders.extend(self.asks_for_status().unwrap_or_default());
        self.give_first_orders();
        self.write_orders();
    }

    /// Queues the commands that this session requires; QEMU may have served an earlier session.
    pub(super) fn give_first_orders(&mut self) {
        self.orders.extend(self.asks_for_threads().unwrap_or_default());
        if let Opening::Command { orders, program, .. } = &mut self.settings.opening {
            self.orders.append(orders);
            if program.is_some() && *program != self.guest.program() {
                self.end(Event::NotRestored("the QEMU program has changed".to_owned()));
            }
        }
    }

    /// Reads once. Returns true if more data may be available.
    pub(super) fn read_qemu_stderr(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let read = self.guest.stderr.read(&mut buffer);
        let Some(len) = self.length(Source::QemuStderr, read) else { return false };
        self.qemu_stderr.feed(&buffer[..len]);
        if self.settings.show_qemu {
            self.err.push(&buffer[..len]);
        }
        true
    }

    /// Reads the remaining console output after QEMU's end.
    pub(super) fn drain_console(&mut self) {
        let _ = (0..LAST_READS).find(|_| !self.read_console());
    }

    /// Returns the number of bytes read; a closed source is no longer polled.
    fn length(&mut self, source: Source, read: io::Result<usize>) -> Option<usize> {
        match read {
            Ok(len @ 1..) => Some(len),
            Err(error) if is_for_now(&error) => None,
            Ok(0) | Err(_) => {
                self.closed.push(source);
                None
            }
        }
    }

    /// Writes the device state to be restored.
    pub(super) fn feed_state(&mut self) {
        // If QEMU does not read it, its exit is the error.
        if self.guest.state.as_mut().is_none_or(Feed::push) {
            self.guest.state = None;
        }
    }

    pub(super) fn on_channel(&mut self) {
        if !self.outbox.leaving().is_empty()
            && let Ok(written) = self.guest.channel.write(self.outbox.leaving())
        {
            self.idle.channel = Some(Instant::now());
            self.outbox.written(written);
        }
        let before = self.phase;
        self.read_channel();
        if self.phase == Phase::Running && before < Phase::Running && self.settings.foreground == Foreground::Terminal {
            self.enter_raw();
        }
    }

    /// Handles channel data after a panic message. A kernel that has panicked runs no processes, but any process may
    /// have written such a line to `/dev/kmsg`; the console does not show the origin. Data that was sent before the
    /// panic arrives within a moment, unless bootling delayed reading it.
    fn doubt_panic(&mut self) {
        let Some(since) = self.panicked.filter(|_| !self.console.signs().halted) else { return };
        let is_past = |when: Instant| when.elapsed() >= GRACE;
        if is_past(since) && self.congested.is_none_or(is_past) {
            self.console.doubt_panic();
            self.panicked = None;
            // A grace period set by the end of the channel remains.
            if !self.events.contains(&Event::ChannelClosed) {
                self.grace = None;
            }
        } else {
            self.grace = Some(Instant::now() + GRACE);
        }
    }

    /// Reads once. Returns true if more data may be available.
    pub(super) fn read_channel(&mut self) -> bool {
        let mut buffer = [0; CHUNK];
        let read = self.guest.channel.read(&mut buffer);
        let Some(len) = self.length(Source::Channel, read) else { return false };
        self.idle.channel = Some(Instant::now());
        self.doubt_panic();
        let mut inbox = std::mem::take(&mut self.inbox);
        let received = inbox.receive(&buffer[..len], |frame| {
            self.on_frame(frame);
            !self.is_over()
        });
        self.inbox = inbox;
        if let Err(error) = received {
            self.end(Event::Nonsense(format!("{error:?}")));
        }
        true
    }
}

/// Returns true if the operation can be retried after the next `poll`.
fn is_for_now(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
