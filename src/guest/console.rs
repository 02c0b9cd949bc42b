//! Guest console: keeps the last lines in bounded memory and detects kernel messages.
//!
//! Console output is untrusted: lines are limited in length, and printed without control characters.

use std::collections::VecDeque;

use super::transcript::ConsoleSigns;
use crate::format::guest_text;
use crate::format::protocol::frame::GIVING_UP;

/// Number of lines kept: a fault with its registers, the panic that follows, and some lines before them.
const LINES: usize = 120;
/// Maximum length of a kept line, in bytes.
const LINE_BYTES: usize = 512;

/// First and last message of a panic. The last one is printed if the kernel does not reboot, after the other processors
/// have been stopped (`kernel/panic.c`, `panic`).
const PANIC: [&str; 2] = ["Kernel panic - not syncing", "---[ end Kernel panic - not syncing"];

/// Console reader.
#[derive(Debug, Default)]
pub(crate) struct Console {
    lines: VecDeque<String>,
    line: Vec<u8>,
    signs: ConsoleSigns,
    /// True after pid 1's line that it gives up: the reason follows.
    gives_up: bool,
}

impl Console {
    /// Reads the next bytes.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.signs.has_output |= !bytes.is_empty();
        for byte in bytes {
            match byte {
                b'\n' => self.end_line(),
                _ if self.line.len() < LINE_BYTES => self.line.push(*byte),
                _ => {}
            }
        }
    }

    /// Last lines so far, including an unfinished line.
    pub(crate) fn lines(&self) -> Vec<String> {
        let unfinished = Some(guest_text::line(&self.line)).filter(|line| !line.is_empty());
        self.lines.iter().cloned().chain(unfinished).collect()
    }

    /// Kernel messages about the guest's end so far.
    pub(crate) fn signs(&self) -> &ConsoleSigns {
        &self.signs
    }

    /// Discards the messages about the kernel's end, because a program may have printed them; later ones count again.
    pub(crate) fn discard_end(&mut self) {
        self.signs.unconfirmed_panic = self.signs.panic.take().or(self.signs.unconfirmed_panic.take());
        self.signs.halted = false;
    }

    /// Returns the last lines, including an unfinished line, and the detected kernel messages.
    pub(crate) fn finish(mut self) -> (Vec<String>, ConsoleSigns) {
        if !self.line.is_empty() {
            self.end_line();
        }
        (self.lines.into(), self.signs)
    }

    fn end_line(&mut self) {
        let line = guest_text::line(&self.line);
        self.line.clear();
        if self.signs.panic.is_none() {
            self.signs.panic = PANIC.iter().find_map(|words| kernel_message(&line, words)).map(str::to_owned);
        }
        let restarts = ["reboot: Restarting system", "sysrq: Resetting"];
        self.signs.restart |= restarts.iter().any(|words| kernel_message(&line, words).is_some());
        self.signs.halted |= kernel_message(&line, "reboot: System halted").is_some();
        if self.gives_up && self.signs.gave_up.is_none() {
            self.signs.gave_up = line.split_once("bootling: ").map(|(_, why)| why.to_owned());
        }
        self.gives_up |= line.as_bytes().ends_with(GIVING_UP.trim_ascii_end());
        if line.is_empty() {
            return;
        }
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }
}

/// Returns the part of a line that starts with the kernel message `words`. The message must be at the start of the
/// line, or after the `] ` of a timestamp, which unrelated output on the same line may precede.
fn kernel_message<'line>(line: &'line str, words: &str) -> Option<&'line str> {
    let mut found = line.match_indices(words).map(|(at, _)| at);
    found.find(|at| *at == 0 || line[..*at].ends_with("] ")).map(|at| &line[at..])
}

#[cfg(test)]
mod tests {
    use super::{Console, LINE_BYTES, LINES, kernel_message};

    #[test]
    fn kernel_messages_are_detected_after_timestamps() {
        let mut console = Console::default();
        console.feed(b"[    1.5] ok\r\n[    2.000000][    T1] Kernel panic - not syncing: Attempted to kill init!\r\n");
        console.feed(b"[    3.1] reboot: Restarting system\n");
        let (lines, signs) = console.finish();
        assert_eq!(signs.panic.as_deref(), Some("Kernel panic - not syncing: Attempted to kill init!"));
        assert!(signs.restart && !signs.halted && signs.has_output);
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn the_line_after_pid_1_gives_up_has_its_reason() {
        let mut console = Console::default();
        console.feed(b"bootling: loading x\r\n[    1.5] x: bootling: giving up\r\n[    1.6] y\r\n");
        assert_eq!(console.signs().gave_up, None);
        console.feed(b"bootling: failed to open the channel virtio: error 110\r\nbootling: z\r\n");
        assert_eq!(console.signs().gave_up.as_deref(), Some("failed to open the channel virtio: error 110"));
    }

    #[test]
    fn a_doubted_panic_is_recorded_and_its_last_message_counts_again() {
        let mut console = Console::default();
        console.feed(b"[    2.0] Kernel panic - not syncing: x\n");
        console.discard_end();
        let doubted = Some("Kernel panic - not syncing: x");
        assert_eq!((console.signs().panic.as_deref(), console.signs().unconfirmed_panic.as_deref()), (None, doubted));
        console.feed(b"[    9.0] ---[ end Kernel panic - not syncing: x ]---\n");
        let (_, signs) = console.finish();
        assert_eq!(signs.panic.as_deref(), Some("---[ end Kernel panic - not syncing: x ]---"));
    }

    #[test]
    fn a_flood_of_output_uses_bounded_memory() {
        let mut console = Console::default();
        for _ in 0..10_000 {
            console.feed(&[b'x'; 1000]);
        }
        for _ in 0..1000 {
            console.feed(b"line\n");
        }
        let (lines, _) = console.finish();
        assert_eq!(lines.len(), LINES);
        assert!(lines.iter().all(|line| line.len() <= LINE_BYTES));
    }

    #[test]
    fn output_before_a_kernel_message_does_not_hide_it() {
        let panic = "Kernel panic - not syncing: x";
        for before in ["", "[    1.2] ", "[    1.2][    T1] ", "prompt # [    1.2] "] {
            let line = format!("{before}{panic}");
            assert_eq!(kernel_message(&line, "Kernel panic - not syncing"), Some(panic), "{before}");
        }
        for line in ["---[ end Kernel panic - not syncing: x ]---", "echo Kernel panic - not syncing"] {
            assert_eq!(kernel_message(line, "Kernel panic - not syncing"), None, "{line}");
        }
    }
}
