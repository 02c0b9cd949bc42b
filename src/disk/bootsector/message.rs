//! A message, checked: UTF-8 as users write it, made to what a BIOS can show.
//!
//! Refuses, with line and column, what code page 437 has no character for, control characters, and what would wrap or
//! scroll away on a screen of 80 by 25. A serial console gets the same bytes as the screen; only ASCII looks the same
//! on both ([`Message::beyond_ascii`]).

use super::{BootCodeError, Preset, Then, cp437, fit, room};

/// Columns that a row may have: after the 80th the screen begins a new row by itself.
pub const MOST_COLUMNS: usize = 79;
/// Rows that a message may have: the stub shows an empty one first, and the cursor comes to rest below the last.
pub const MOST_ROWS: usize = 23;
/// Columns from one tab stop to the next.
const TAB: usize = 8;

/// A message as the screen shows it: code page 437, every row ended by CR LF, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message(Vec<u8>);

/// Why a text cannot be shown. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Not text.
    #[error("reading the message: line {line} is not UTF-8")]
    NotUtf8 {
        /// Line with the first byte that is wrong.
        line: usize,
    },
    /// A character that the screen obeys instead of showing it.
    #[error("reading the message: line {line}, column {column}: a control character (U+{code:04X})")]
    Control {
        /// Line.
        line: usize,
        /// Column.
        column: usize,
        /// The character.
        code: u32,
    },
    /// A character that no BIOS has, and nothing that could stand for it.
    #[error(
        "reading the message: line {line}, column {column}: {character:?} (U+{:04X}) is not in code page 437, which is \
         all that a BIOS shows",
        u32::from(*.character)
    )]
    NotInCodePage {
        /// Line.
        line: usize,
        /// Column.
        column: usize,
        /// The character.
        character: char,
    },
    /// A row that would wrap.
    #[error("reading the message: line {line} has {columns} columns; {MOST_COLUMNS} are the most")]
    TooWide {
        /// Line.
        line: usize,
        /// Columns it has.
        columns: usize,
    },
    /// Rows that would scroll away.
    #[error("reading the message: it has {rows} rows; {MOST_ROWS} are the most")]
    TooTall {
        /// Rows it has.
        rows: usize,
    },
    /// Nothing to be seen.
    #[error("reading the message: it is empty")]
    Empty,
}

impl Message {
    /// The message where none is given.
    pub fn standard() -> Self {
        Preset::Standard.message()
    }

    /// Reads a text: UTF-8, lines ended by LF, CR LF or CR, the last one's end optional. Tabs become blanks; blanks at
    /// the ends of lines and empty lines at the end of the text are dropped.
    pub fn parse(text: &[u8]) -> Result<Self, MessageError> {
        let text = str::from_utf8(text).map_err(|error| {
            let before = &text[..error.valid_up_to()];
            let line = 1 + str::from_utf8(before).map_or(0, |valid| lines(valid).count().saturating_sub(1));
            MessageError::NotUtf8 { line }
        })?;
        // A byte order mark says nothing here.
        let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
        let mut bytes = Vec::new();
        let (mut rows, mut empty) = (0, 0);
        for (number, line) in lines(text).enumerate() {
            let row = row(line, number + 1)?;
            if row.is_empty() {
                // Only what stands between others is kept.
                empty += 1;
                continue;
            }
            rows += empty + 1;
            if rows > MOST_ROWS {
                // The rest is not looked at, but counted.
                let rows = lines(text.trim_end()).count().max(rows);
                return Err(MessageError::TooTall { rows });
            }
            bytes.extend(b"\r\n".repeat(std::mem::take(&mut empty)));
            bytes.extend(row);
            bytes.extend(b"\r\n");
        }
        if bytes.is_empty() { Err(MessageError::Empty) } else { Ok(Self(bytes)) }
    }

    /// As the screen gets it.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// As text again, every line ended by LF.
    pub fn text(&self) -> String {
        self.0.iter().filter(|byte| **byte != b'\r').map(|byte| cp437::to_char(*byte)).collect()
    }

    /// Rows on the screen.
    pub fn rows(&self) -> usize {
        rows(&self.0)
    }

    /// How many bytes are left in the boot sector beside it, packed, and a stub that ends like this; an error with the
    /// number that is over where it does not fit.
    pub fn fits(&self, then: Then) -> Result<usize, BootCodeError> {
        Ok(room(then) - fit(self, then)?.len())
    }

    /// The first character that a serial console will show wrongly: terminals there expect UTF-8, and the stub sends
    /// what the screen gets.
    pub fn beyond_ascii(&self) -> Option<char> {
        self.0.iter().find(|byte| !byte.is_ascii()).map(|byte| cp437::to_char(*byte))
    }
}

/// Rows of bytes that each end with CR LF.
pub(super) fn rows(bytes: &[u8]) -> usize {
    bytes.split(|byte| *byte == b'\n').count() - 1
}

/// The lines of a text; what follows the last line end is one, too.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.find(['\r', '\n']) else { return rest.take() };
        let ending = if text[end..].starts_with("\r\n") { 2 } else { 1 };
        rest = Some(&text[end + ending..]);
        Some(&text[..end])
    })
}

/// One line as the screen shows it.
fn row(line: &str, number: usize) -> Result<Vec<u8>, MessageError> {
    let mut row = Vec::new();
    for (column, character) in line.trim_end().chars().enumerate() {
        let column = column + 1;
        if character == '\t' {
            row.resize((row.len() / TAB + 1) * TAB, b' ');
        } else if character.is_control() {
            return Err(MessageError::Control { line: number, column, code: u32::from(character) });
        } else if let Some(bytes) = cp437::from_char(character) {
            row.extend(bytes);
        } else {
            return Err(MessageError::NotInCodePage { line: number, column, character });
        }
    }
    while row.last() == Some(&b' ') {
        row.pop();
    }
    if row.len() > MOST_COLUMNS {
        return Err(MessageError::TooWide { line: number, columns: row.len() });
    }
    Ok(row)
}
