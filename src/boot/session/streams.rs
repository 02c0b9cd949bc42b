//! What a guest and its QEMU say: console, monitor, standard error, channel.

use std::io::{Read, Write};
use std::os::fd::BorrowedFd;
use std::time::Instant;

use super::{CHUNK, ConsoleSink, Foreground, GRACE, Phase, Session};
use crate::boot::qmp::{self, Said};
use crate::boot::transcript::Event;

impl<'tty> Session<'tty> {
    /// Reads once; true where there may be more.
    pub(super) fn read_console(&mut self) -> bool {
        if !self.keys_to_console.is_empty()
            && let Ok(written) = self.guest.console.write(&self.keys_to_console)
        {
            self.keys_to_console.drain(..written);
        }
        let mut buffer = [0; CHUNK];
        let Ok(len @ 1..) = self.guest.console.read(&mut buffer) else { return false };
        let bytes = &buffer[..len];
        self.console.feed(bytes);
        if self.settings.foreground == Foreground::Console {
            self.out.push(bytes);
        }
        match &mut self.settings.console {
            ConsoleSink::Nowhere => {}
            ConsoleSink::Stderr => {
                let plain: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != b'\r').collect();
                self.err.push(&plain);
            }
            ConsoleSink::File(file) => {
                if let Err(error) = file.write_all(bytes) {
                    self.settings.console = ConsoleSink::Nowhere;
                    self.say(&format!("writing the console's file failed, and stops here: {error}"));
                }
            }
        }
        let signs = self.console.signs();
        if (signs.panic.is_some() || signs.halted) && self.grace.is_none() {
            self.grace = Some(Instant::now() + GRACE);
        }
        true
    }

    pub(super) fn read_monitor(&mut self) -> bool {
        let mut buffer = [0; CHUNK];
        let Ok(len @ 1..) = self.guest.monitor.read(&mut buffer) else { return false };
        for said in self.monitor.feed(&buffer[..len]) {
            match said {
                // The socket's buffer is empty at this point: the few bytes always fit.
                Said::Greeting { .. } => drop(self.guest.monitor.write(qmp::NEGOTIATE)),
                Said::Event(Event::ChannelClosed) if self.phase == Phase::Booting => {}
                Said::Event(event) => {
                    if event == Event::ChannelClosed {
                        self.grace = Some(Instant::now() + GRACE);
                    }
                    self.note(event);
                }
            }
        }
        true
    }

    pub(super) fn read_qemu_stderr(&mut self) {
        let mut buffer = [0; 4096];
        match self.guest.stderr.read(&mut buffer) {
            Ok(len @ 1..) => {
                self.qemu_stderr.feed(&buffer[..len]);
                if self.settings.show_qemu {
                    self.err.push(&buffer[..len]);
                }
            }
            Ok(0) | Err(_) => self.stderr_open = false,
        }
    }

    pub(super) fn on_channel(&mut self, terminal: BorrowedFd<'tty>) {
        if !self.outbox.leaving().is_empty()
            && let Ok(written) = self.guest.channel.write(self.outbox.leaving())
        {
            self.outbox.written(written);
        }
        let before = self.phase;
        self.read_channel();
        if self.phase == Phase::Running && before < Phase::Running && self.settings.foreground == Foreground::Terminal {
            self.enter_raw(terminal);
        }
    }

    /// Reads once; true where there may be more.
    pub(super) fn read_channel(&mut self) -> bool {
        let mut buffer = [0; CHUNK];
        let len = match self.guest.channel.read(&mut buffer) {
            Ok(len @ 1..) => len,
            Ok(0) => {
                self.channel_open = false;
                return false;
            }
            Err(_) => return false,
        };
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
