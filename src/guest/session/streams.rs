//! Reads the guest's and QEMU's streams: console, monitor, standard error, channel.

use std::io::{self, Read, Write};
use std::time::Instant;

use super::{CHUNK, ConsoleSink, Foreground, GRACE, LAST_READS, Opening, Phase, Session, Source};
use crate::guest::launch::Feed;
use crate::guest::transcript::Event;
use crate::qemu::qmp::Message;

impl Session<'_> {
    /// Writes pending input to the console.
    pub(super) fn write_keys(&mut self) {
        match self.guest.keys.write(&self.keys_to_console) {
            Ok(written) => drop(self.keys_to_console.drain(..written)),
            Err(error) if is_transient(&error) => {}
            // The reader has closed its end; further keys are discarded.
            Err(_) => {
                self.keys_to_console.clear();
                self.closed.push(Source::Keys);
            }
        }
    }

    /// Reads once. Returns true if more data may be available.
    pub(super) fn read_console(&mut self) -> bool {
        let mut buffer = [0; CHUNK];
        let read = read_some(&mut self.guest.console, &mut buffer);
        let Some(len) = self.handle_read(Source::Console, read) else { return false };
        let bytes = &buffer[..len];
        self.idle.console = Some(Instant::now());
        if let Some(recording) = &mut self.settings.recording {
            recording.console.write(bytes);
        }
        self.console.feed(bytes);
        self.health.take_console(bytes);
        self.alarm.process(&self.health, &self.settings.rules, Instant::now());
        match self.settings.foreground {
            Foreground::Console | Foreground::Viewer => self.out.push(bytes),
            Foreground::Streams | Foreground::Terminal | Foreground::None => {}
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
        let gave_up = self.console.signs().gave_up.clone();
        if let Some(why) = gave_up.filter(|_| self.phase == Phase::Booting && self.has_our_pid1()) {
            self.end(Event::GaveUp(why));
            return true;
        }
        self.note_last_words();
        true
    }

    pub(super) fn read_monitor(&mut self) -> bool {
        let read = self.guest.qmp.receive();
        let Some(messages) = self.handle_read(Source::Monitor, read) else { return false };
        for message in messages {
            match message {
                Message::Greeting { .. } => self.check_program(),
                Message::Event(event) => {
                    let event = Event::from(event);
                    if event == Event::ChannelClosed {
                        if self.phase == Phase::Booting {
                            continue;
                        }
                        self.grace = Some(Instant::now() + GRACE);
                    }
                    self.watch_machine(&event);
                    self.note(event);
                }
                Message::Reply { id, result } if self.guest.start_commands.contains(&id) => {
                    if let Err(why) = result {
                        self.end(Event::NotRestored(why));
                    }
                }
                Message::Reply { id, result } => {
                    if let Ok(value) = &result {
                        self.handle_status(id, value);
                        self.handle_threads(id, value);
                        self.handle_registers(id, value);
                    }
                    self.handle_screen_reply(id, result);
                }
            }
        }
        true
    }

    /// Fails the restore if QEMU is not the program that saved the guest.
    pub(super) fn check_program(&mut self) {
        if let Opening::Command { program: Some(program), .. } = &self.settings.opening
            && self.guest.program().as_ref() != Some(program)
        {
            self.end(Event::NotRestored("the QEMU program has changed".to_owned()));
        }
    }

    /// Reads once. Returns true if more data may be available.
    pub(super) fn read_qemu_stderr(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let read = read_some(&mut self.guest.stderr, &mut buffer);
        let Some(len) = self.handle_read(Source::QemuStderr, read) else { return false };
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

    /// Returns what was read; a closed source is no longer polled.
    fn handle_read<T>(&mut self, source: Source, read: io::Result<T>) -> Option<T> {
        match read {
            Ok(content) => Some(content),
            Err(error) if is_transient(&error) => None,
            Err(_) => {
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

    /// Reads once. Returns true if more data may be available.
    pub(super) fn read_channel(&mut self) -> bool {
        let mut buffer = [0; CHUNK];
        let read = read_some(&mut self.guest.channel, &mut buffer);
        let Some(len) = self.handle_read(Source::Channel, read) else { return false };
        self.idle.channel = Some(Instant::now());
        self.handle_data_after_last_words();
        let mut inbox = std::mem::take(&mut self.inbox);
        let received = inbox.receive(&buffer[..len], |frame| {
            self.on_frame(frame);
            !self.is_over()
        });
        self.inbox = inbox;
        if let Err(error) = received {
            self.end(Event::InvalidData(format!("{error:?}")));
        }
        true
    }
}

/// Returns true if the operation can be retried after the next `poll`.
fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Reads once. The end of the stream is an error.
fn read_some(stream: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    match stream.read(buffer)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        len => Ok(len),
    }
}
