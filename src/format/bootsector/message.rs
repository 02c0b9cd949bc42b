//! Message of the boot sector: parses UTF-8 text and converts it to characters that a BIOS can show.
//!
//! Refuses, with line and column, characters that are not in code page 437, control characters, and text that would
//! wrap or scroll off an 80x25 screen. A serial console receives the same bytes as the screen, so only ASCII looks the
//! same on both ([`Message::beyond_ascii`]).

use super::{BootCodeError, Preset, Then, cp437, fit};
use crate::format::mbr::BOOT_CODE;

/// Maximum columns of a row: after column 80, the screen wraps by itself.
pub const MOST_COLUMNS: usize = 79;
/// Maximum rows of a message: the stub prints an empty row first, and the cursor ends below the last row.
pub const MOST_ROWS: usize = 23;
/// Distance of tab stops in columns.
const TAB: usize = 8;

/// Checked message: code page 437, each row ends with CR LF.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message(Vec<u8>);

/// Reason why a text cannot be shown. Lines and columns count from 1; columns count characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The text is not UTF-8.
    #[error("invalid message: line {line} is not UTF-8")]
    NotUtf8 {
        /// Line with the first invalid byte.
        line: usize,
    },
    /// The text contains a control character.
    #[error("invalid message: line {line}, column {column}: control character (U+{code:04X})")]
    Control {
        /// Line number.
        line: usize,
        /// Column number.
        column: usize,
        /// Code point of the character.
        code: u32,
    },
    /// The text contains a character without a representation or substitute in code page 437.
    #[error(
        "invalid message: line {line}, column {column}: {character:?} (U+{:04X}) is not in code page 437, the \
         only characters that a BIOS shows",
        u32::from(*.character)
    )]
    NotInCodePage {
        /// Line number.
        line: usize,
        /// Column number.
        column: usize,
        /// The character.
        character: char,
    },
    /// A row would wrap.
    #[error("invalid message: line {line} has {columns} columns, maximum {MOST_COLUMNS}")]
    TooWide {
        /// Line number.
        line: usize,
        /// Columns of the row.
        columns: usize,
    },
    /// The first rows would scroll off the screen.
    #[error("invalid message: {rows} rows, maximum {MOST_ROWS}")]
    TooTall {
        /// Rows of the message.
        rows: usize,
    },
    /// The message has no visible character.
    #[error("empty message")]
    Empty,
}

impl Message {
    /// Returns the default message.
    pub fn standard() -> Self {
        Preset::Standard.message()
    }

    /// Parses UTF-8 text. Lines end with LF, CR LF or CR; the last line end is optional. Tabs become spaces; trailing
    /// spaces and trailing empty lines are dropped.
    pub fn parse(text: &[u8]) -> Result<Self, MessageError> {
        let text = str::from_utf8(text).map_err(|error| {
            let before = &text[..error.valid_up_to()];
            let line = 1 + str::from_utf8(before).map_or(0, |valid| lines(valid).count().saturating_sub(1));
            MessageError::NotUtf8 { line }
        })?;
        // Ignore a byte order mark.
        let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
        let mut bytes = Vec::new();
        let (mut rows, mut empty) = (0, 0);
        for (number, line) in lines(text).enumerate() {
            let row = row(line, number + 1)?;
            if row.is_empty() {
                // Keep only empty rows between other rows.
                empty += 1;
                continue;
            }
            rows += empty + 1;
            if rows > MOST_ROWS {
                // Count the remaining rows without parsing them.
                let rows = lines(text.trim_end()).count().max(rows);
                return Err(MessageError::TooTall { rows });
            }
            bytes.extend(b"\r\n".repeat(std::mem::take(&mut empty)));
            bytes.extend(row);
            bytes.extend(b"\r\n");
        }
        if bytes.is_empty() { Err(MessageError::Empty) } else { Ok(Self(bytes)) }
    }

    /// Returns the bytes up to the first NUL as a message, even if a screen cannot show them: other character sets,
    /// control characters, long rows. `rows` ends each row with CR LF, as [`Message::parse`] does.
    pub fn verbatim(bytes: &[u8], rows: bool) -> Self {
        let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        let mut message = Vec::with_capacity(text.len());
        for (at, byte) in text.iter().enumerate() {
            if rows && *byte == b'\n' && (at == 0 || text[at - 1] != b'\r') {
                message.push(b'\r');
            }
            message.push(*byte);
        }
        Self(message)
    }

    /// Returns the bytes for the screen.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the message as text; each line ends with LF.
    pub fn text(&self) -> String {
        self.0.iter().filter(|byte| **byte != b'\r').map(|byte| cp437::to_char(*byte)).collect()
    }

    /// Returns the number of rows on the screen.
    pub(crate) fn rows(&self) -> usize {
        rows(&self.0)
    }

    /// Returns the number of bytes left in the boot sector after the stub for `then` and the message. Fails with the
    /// number of excess bytes if the message does not fit.
    pub fn fits(&self, then: Then) -> Result<usize, BootCodeError> {
        Ok(BOOT_CODE - fit(self, then, BOOT_CODE)?.len())
    }

    /// Returns the first character that a serial console shows wrongly: its terminal expects UTF-8, but the stub sends
    /// code page 437.
    pub fn beyond_ascii(&self) -> Option<char> {
        self.0.iter().find(|byte| !byte.is_ascii()).map(|byte| cp437::to_char(*byte))
    }
}

/// Counts the rows in `bytes`; each ends with CR LF.
pub(super) fn rows(bytes: &[u8]) -> usize {
    bytes.split(|byte| *byte == b'\n').count() - 1
}

/// Returns the lines of a text, including the text after the last line end.
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

/// Converts one line to a row of the screen.
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
