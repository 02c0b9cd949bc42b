//! Console text without control sequences, independent of chunk boundaries.
//!
//! ECMA-48 sequences and the two- and three-byte escapes of terminals (ECMA-35) are dropped. A sequence that moves the
//! cursor to another position ends the line, because the text that follows does not continue the text before it:
//! firmware menus are drawn that way.

/// Maximum length of a control sequence; after it, bytes count as text again.
const SEQUENCE: usize = 256;

/// Element of console output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A byte of text.
    Text(u8),
    /// End of a line.
    LineEnd,
}

/// Parser for console output, byte by byte.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plain {
    state: State,
    length: usize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// After ESC and an intermediate byte: a final byte follows.
    Final,
    /// After ESC `[`.
    Control,
    /// After ESC `]`, `P`, `X`, `^` or `_`: a string up to BEL or ESC `\`.
    String,
    /// After ESC in a string.
    StringEscape,
}

impl Plain {
    /// Parses the next byte.
    #[expect(clippy::match_same_arms, reason = "a table of states, in the order of the states")]
    pub(crate) fn feed(&mut self, byte: u8) -> Option<Piece> {
        self.length = if self.state == State::Text { 0 } else { self.length + 1 };
        if self.length > SEQUENCE {
            self.state = State::Text;
        }
        let (state, piece) = match (self.state, byte) {
            (State::StringEscape, b'\\') | (State::String, 0x07) => (State::Text, None),
            (State::String | State::StringEscape, 0x1b) => (State::StringEscape, None),
            (State::String | State::StringEscape, _) => (State::String, None),
            (_, 0x1b) => (State::Escape, None),
            // A line end is always accepted, so that a truncated sequence hides at most one line.
            (_, b'\n' | b'\r') => (State::Text, Some(Piece::LineEnd)),
            (State::Text, b'\t') => (State::Text, Some(Piece::Text(b' '))),
            (State::Text, 0..=0x1f | 0x7f) => (State::Text, None),
            (State::Text, _) => (State::Text, Some(Piece::Text(byte))),
            (State::Escape, b'[') => (State::Control, None),
            (State::Escape, b']' | b'P' | b'X' | b'^' | b'_') => (State::String, None),
            (State::Escape, 0x20..=0x2f) => (State::Final, None),
            // Index, next line, reverse index, reset.
            (State::Escape, b'D' | b'E' | b'M' | b'c') => (State::Text, Some(Piece::LineEnd)),
            (State::Escape | State::Final, _) => (State::Text, None),
            // Cursor up, down, to a line, to a position; erase screen.
            (State::Control, b'A' | b'B' | b'E' | b'F' | b'H' | b'J' | b'd' | b'f') => {
                (State::Text, Some(Piece::LineEnd))
            }
            (State::Control, 0x40..=0x7e) => (State::Text, None),
            (State::Control, _) => (State::Control, None),
        };
        self.state = state;
        piece
    }
}

/// Splits console output into lines of text.
pub fn lines(bytes: &[u8]) -> Vec<String> {
    let mut plain = Plain::default();
    let mut lines = vec![Vec::new()];
    for piece in bytes.iter().filter_map(|byte| plain.feed(*byte)) {
        match (piece, lines.last_mut()) {
            (Piece::Text(byte), Some(line)) => line.push(byte),
            (Piece::LineEnd, _) | (_, None) => lines.push(Vec::new()),
        }
    }
    lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::{Piece, Plain};

    fn plain(bytes: &[u8]) -> String {
        let mut plain = Plain::default();
        let pieces = bytes.iter().filter_map(|byte| plain.feed(*byte));
        let text: Vec<u8> = pieces.map(|piece| if let Piece::Text(byte) = piece { byte } else { b'|' }).collect();
        String::from_utf8_lossy(&text).into_owned()
    }

    #[test]
    fn output_of_firmware_and_shells_is_read_as_text() {
        for (sent, text) in [
            (&b"\x1b[2J\x1b[01;01H\x1b[=3hBdsDxe: loading\r\n"[..], "||BdsDxe: loading||"),
            (b"\x1b[1m\x1b[33m\x1b[40mShell> \x1b[0m\x1b[37m\x1b[40m", "Shell> "),
            (b"\x1b]0;title\x07$ \x1b(Bls\x1b[?2004h", "$ ls"),
            (b"\x1bP1$r\x1b\\x\x1b7\x1b8\x1b=", "x"),
            (b"a\tb\x07\x08c\xc3\xbc", "a bc\u{fc}"),
            (b"cut \x1b[3\nnext", "cut |next"),
            (b"\x1b]no end\x1b[31m", ""),
        ] {
            assert_eq!(plain(sent), text, "{sent:?}");
        }
    }

    #[test]
    fn an_endless_sequence_hides_a_bounded_part() {
        let mut sent = b"\x1b]".to_vec();
        sent.extend([b'x'; 1000]);
        let text = plain(&sent);
        assert!(text.len() > 700, "{}", text.len());
    }
}
