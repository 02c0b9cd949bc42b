//! The guest's console: its tail kept in bounded memory, its signs read, its bytes passed on where asked.
//!
//! What it says is untrusted: lines are bounded, and shown without control characters.

use std::collections::VecDeque;

use super::transcript::ConsoleSigns;

/// Lines kept.
const LINES: usize = 60;
/// Longest part of a line that is kept.
const LINE_BYTES: usize = 512;

/// The first words and the last ones of a panic; the last come where the kernel stays, and once the other processors have been
/// stopped (`kernel/panic.c`, `panic`).
const PANIC: [&str; 2] = ["Kernel panic - not syncing", "---[ end Kernel panic - not syncing"];

/// Reads a console as it arrives.
#[derive(Debug, Default)]
pub struct Console {
    lines: VecDeque<String>,
    line: Vec<u8>,
    signs: ConsoleSigns,
}

impl Console {
    /// Takes the next bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.signs.spoke |= !bytes.is_empty();
        for byte in bytes {
            match byte {
                b'\n' => self.end_line(),
                _ if self.line.len() < LINE_BYTES => self.line.push(*byte),
                _ => {}
            }
        }
    }

    /// The last lines so far. An unfinished line counts as one.
    pub fn lines(&self) -> Vec<String> {
        let unfinished = Some(printable(&self.line)).filter(|line| !line.is_empty());
        self.lines.iter().cloned().chain(unfinished).collect()
    }

    /// What the kernel said about its end so far.
    pub fn signs(&self) -> &ConsoleSigns {
        &self.signs
    }

    /// The line about a panic may not have been the kernel's; one that comes later may be.
    pub fn doubt_panic(&mut self) {
        self.signs.doubted_panic = self.signs.panic.take();
    }

    /// The last lines, and the signs. An unfinished line counts as one.
    pub fn finish(mut self) -> (Vec<String>, ConsoleSigns) {
        if !self.line.is_empty() {
            self.end_line();
        }
        (self.lines.into(), self.signs)
    }

    fn end_line(&mut self) {
        let line = printable(&self.line);
        self.line.clear();
        if self.signs.panic.is_none() {
            self.signs.panic = PANIC.iter().find_map(|words| kernel_says(&line, words)).map(str::to_owned);
        }
        let restarts = ["reboot: Restarting system", "sysrq: Resetting"];
        self.signs.restart |= restarts.iter().any(|words| kernel_says(&line, words).is_some());
        self.signs.halted |= kernel_says(&line, "reboot: System halted").is_some();
        if line.is_empty() {
            return;
        }
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }
}

/// A line without terminal control: escape sequences and control characters dropped, the rest as UTF-8 with replacements.
pub fn printable(line: &[u8]) -> String {
    let mut kept = Vec::with_capacity(line.len());
    let mut bytes = line.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            // ECMA-48: ESC [ parameters final, other sequences are two bytes.
            0x1b => {
                if bytes.next() == Some(b'[') {
                    while bytes.next().is_some_and(|next| !(0x40..=0x7e).contains(&next)) {}
                }
            }
            b'\t' => kept.push(b' '),
            0..=0x1f | 0x7f => {}
            _ => kept.push(byte),
        }
    }
    String::from_utf8_lossy(&kept)
        .chars()
        .filter(|letter| !letter.is_control())
        .collect::<String>()
        .trim_end()
        .to_owned()
}

/// The part of a line from `words` on, where they stand as the kernel prints them: at its start, or behind the `] ` of a
/// timestamp, before which there may be what somebody else left on the line.
fn kernel_says<'line>(line: &'line str, words: &str) -> Option<&'line str> {
    let mut found = line.match_indices(words).map(|(at, _)| at);
    found.find(|at| *at == 0 || line[..*at].ends_with("] ")).map(|at| &line[at..])
}

#[cfg(test)]
mod tests {
    use super::{Console, LINE_BYTES, LINES, kernel_says, printable};

    #[test]
    fn signs_are_read_whatever_stands_before_them() {
        let mut console = Console::default();
        console.feed(b"[    1.5] ok\r\n[    2.000000][    T1] Kernel panic - not syncing: Attempted to kill init!\r\n");
        console.feed(b"[    3.1] reboot: Restarting system\n");
        let (lines, signs) = console.finish();
        assert_eq!(signs.panic.as_deref(), Some("Kernel panic - not syncing: Attempted to kill init!"));
        assert!(signs.restart && !signs.halted && signs.spoke);
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn a_panic_that_is_doubted_is_remembered_and_its_last_line_counts_again() {
        let mut console = Console::default();
        console.feed(b"[    2.0] Kernel panic - not syncing: x\n");
        console.doubt_panic();
        let doubted = Some("Kernel panic - not syncing: x");
        assert_eq!((console.signs().panic.as_deref(), console.signs().doubted_panic.as_deref()), (None, doubted));
        console.feed(b"[    9.0] ---[ end Kernel panic - not syncing: x ]---\n");
        let (_, signs) = console.finish();
        assert_eq!(signs.panic.as_deref(), Some("---[ end Kernel panic - not syncing: x ]---"));
    }

    #[test]
    fn a_flood_is_kept_within_bounds() {
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
    fn escape_sequences_never_reach_the_terminal() {
        assert_eq!(printable(b"a\x1b[31mred\x1b[0m\x07\x1b]\x00b\x9b\r"), "aredb\u{fffd}");
    }

    #[test]
    fn what_stands_before_the_kernels_words_does_not_hide_them() {
        let panic = "Kernel panic - not syncing: x";
        for before in ["", "[    1.2] ", "[    1.2][    T1] ", "prompt # [    1.2] "] {
            let line = format!("{before}{panic}");
            assert_eq!(kernel_says(&line, "Kernel panic - not syncing"), Some(panic), "{before}");
        }
        for line in ["---[ end Kernel panic - not syncing: x ]---", "echo Kernel panic - not syncing"] {
            assert_eq!(kernel_says(line, "Kernel panic - not syncing"), None, "{line}");
        }
    }
}
