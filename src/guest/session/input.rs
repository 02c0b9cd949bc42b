//! Forwards bootling's standard input, or keys typed on the terminal, to the guest.

use std::os::fd::BorrowedFd;

use super::{CHUNK, Foreground, Phase, Session};
use crate::format::protocol::frame::ToGuest;
use crate::guest::terminal::{self, ESCAPES, RawMode, Typed};
use crate::guest::transcript::Event;

impl Session<'_> {
    pub(super) fn wants_input(&self, input: BorrowedFd<'_>) -> bool {
        let room = match self.settings.foreground {
            Foreground::Console => self.keys_to_console.len() < CHUNK,
            Foreground::Streams | Foreground::Terminal => self.phase == Phase::Running && self.outbox.room() > 0,
            Foreground::Viewer | Foreground::None => false,
        };
        room && !terminal::in_background(input)
    }

    pub(super) fn resize(&mut self) {
        let Some(input) = self.input.as_ref().filter(|_| self.settings.foreground == Foreground::Terminal) else {
            return;
        };
        let (rows, columns) = terminal::size(input);
        if self.phase > Phase::Booting && rows > 0 {
            self.outbox.send(&ToGuest::Resize { rows, columns });
        }
    }

    pub(super) fn enter_raw(&mut self) {
        let Some(terminal) = self.terminal else { return };
        if self.raw.is_none() && rustix::termios::isatty(terminal) {
            match RawMode::enter(terminal) {
                Ok(raw) => self.raw = Some(raw),
                Err(error) => self.say(&format!("failed to set the terminal to raw mode: {error}")),
            }
        }
    }

    pub(super) fn read_stdin(&mut self) {
        let Some(input) = &self.input else { return };
        let room = match self.settings.foreground {
            Foreground::Console => 1024,
            Foreground::Streams | Foreground::Terminal => self.outbox.room(),
            Foreground::Viewer | Foreground::None => 0,
        };
        let mut buffer = [0; CHUNK];
        let len = room.min(buffer.len());
        if len == 0 {
            // An earlier handler has used up the buffer space; a read of length zero would look like end of file.
            return;
        }
        match rustix::io::read(input, &mut buffer[..len]) {
            Ok(0) => self.end_input(),
            Ok(len) if self.raw.is_some() => self.type_keys(&buffer[..len]),
            Ok(len) => self.pass_input(&buffer[..len]),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(error) => {
                self.say(&format!("failed to read standard input: {error}"));
                self.end_input();
            }
        }
    }

    pub(super) fn end_input(&mut self) {
        self.input = None;
        self.outbox.send(&ToGuest::StdinEof);
    }

    pub(super) fn pass_input(&mut self, bytes: &[u8]) {
        match self.settings.foreground {
            Foreground::Console => self.keys_to_console.extend_from_slice(bytes),
            Foreground::Streams | Foreground::Terminal => self.outbox.send(&ToGuest::Stdin(bytes)),
            Foreground::Viewer | Foreground::None => {}
        }
    }

    pub(super) fn type_keys(&mut self, typed: &[u8]) {
        for what in self.escape.feed(typed) {
            match what {
                Typed::Keys(keys) => self.pass_input(&keys),
                Typed::Help => self.err.push(format!("\r\n{ESCAPES}").as_bytes()),
                Typed::Quit => self.end(Event::Escaped),
            }
        }
    }
}
