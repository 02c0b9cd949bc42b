//! The user's terminal: raw mode while a guest's shell runs, always restored afterwards; and escape keys.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::termios::{self, OptionalActions, Termios};

/// First key of every escape sequence.
const PREFIX: u8 = 0x01; // Ctrl-a, as in QEMU's own terminal

/// Terminal in raw mode; restored on drop.
#[derive(Debug)]
pub(crate) struct RawMode<'fd> {
    terminal: BorrowedFd<'fd>,
    before: Termios,
}

impl<'fd> RawMode<'fd> {
    /// Sets raw mode: all keys are passed through, without echo and output translation.
    pub(crate) fn enter(terminal: BorrowedFd<'fd>) -> io::Result<Self> {
        let before = termios::tcgetattr(terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(terminal, OptionalActions::Now, &raw)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for RawMode<'_> {
    fn drop(&mut self) {
        // If this fails, the terminal is gone, and there is nothing to restore.
        let _ = termios::tcsetattr(self.terminal, OptionalActions::Drain, &self.before);
    }
}

/// Rows and columns of a terminal; zeros if unknown.
pub fn size(terminal: impl AsFd) -> (u16, u16) {
    termios::tcgetwinsize(terminal).map_or((0, 0), |size| (size.ws_row, size.ws_col))
}

/// Returns true if reading from the terminal would stop bootling because it is in the background.
pub(crate) fn in_background(terminal: impl AsFd) -> bool {
    termios::tcgetpgrp(terminal).is_ok_and(|foreground| foreground != rustix::process::getpgrp())
}

/// Decoded terminal input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Typed {
    /// Bytes for the guest.
    Keys(Vec<u8>),
    /// `Ctrl-a x`: end the guest.
    Quit,
    /// `Ctrl-a h` or `Ctrl-a ?`: show the keys.
    Help,
}

/// Text shown on `Ctrl-a h`, and in `--help`.
pub(crate) const ESCAPES: &str = "Ctrl-a x  ends the guest\r\nCtrl-a a  sends Ctrl-a\r\nCtrl-a h  shows these keys\r\n";

/// Detects escape sequences in terminal input, across reads.
#[derive(Debug, Default)]
pub(crate) struct Escape {
    pending: bool,
}

impl Escape {
    /// Decodes input. Nothing after a `Quit` is returned.
    pub(crate) fn feed(&mut self, typed: &[u8]) -> Vec<Typed> {
        let mut found = Vec::new();
        let mut keys = Vec::new();
        for key in typed {
            if !self.pending {
                if *key == PREFIX {
                    self.pending = true;
                } else {
                    keys.push(*key);
                }
                continue;
            }
            self.pending = false;
            match key {
                b'x' | b'X' => {
                    found.extend((!keys.is_empty()).then(|| Typed::Keys(std::mem::take(&mut keys))));
                    found.push(Typed::Quit);
                    return found;
                }
                b'h' | b'?' => {
                    found.extend((!keys.is_empty()).then(|| Typed::Keys(std::mem::take(&mut keys))));
                    found.push(Typed::Help);
                }
                b'a' | &PREFIX => keys.push(PREFIX),
                // Not an escape sequence: both keys go to the guest.
                other => keys.extend([PREFIX, *other]),
            }
        }
        found.extend((!keys.is_empty()).then_some(Typed::Keys(keys)));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::{Escape, Typed};

    #[test]
    fn escape_sequences_are_found_across_reads() {
        let mut escape = Escape::default();
        assert_eq!(escape.feed(b"ls\x01"), [Typed::Keys(b"ls".to_vec())]);
        assert_eq!(escape.feed(b"h!"), [Typed::Help, Typed::Keys(b"!".to_vec())]);
        assert_eq!(escape.feed(b"\x01a\x01\x01\x01z"), [Typed::Keys(b"\x01\x01\x01z".to_vec())]);
        assert_eq!(escape.feed(b"q\x01xrest"), [Typed::Keys(b"q".to_vec()), Typed::Quit]);
    }
}
