//! Kernel log lines in the formats of `/dev/kmsg` and of a console.
//!
//! Formats: `Documentation/ABI/testing/dev-kmsg`; `kernel/printk/printk.c`, `info_print_prefix`.

use super::LINE_BYTES;
use crate::format::guest_text;

/// Origin of a line: a task or a CPU (`CONFIG_PRINTK_CALLER`). Lines of two callers may be interleaved.
pub(crate) type Caller = (u8, u32);

/// A log line.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Line {
    /// Log level, 0 is the most severe; `None` on a console.
    pub(crate) level: Option<u8>,
    /// Kernel timestamp in seconds.
    pub(crate) at: Option<f64>,
    /// Task or CPU that printed the line.
    pub(crate) caller: Option<Caller>,
    /// Message, without control characters.
    pub(crate) text: String,
}

impl Line {
    /// Parses a console line without its line end. Text before the timestamp is not from the kernel, and is dropped.
    pub(crate) fn of_console(line: &[u8]) -> Self {
        let text = plain(line);
        let stamped = text.match_indices('[').take(8).find_map(|(start, _)| stamp(&text[start..]));
        match stamped {
            Some((at, caller, rest)) => Self { level: None, at: Some(at), caller, text: rest.to_owned() },
            None => Self { text, ..Self::default() },
        }
    }

    /// Parses a `/dev/kmsg` record without its line end into its lines; most records have one. Returns `None` for an
    /// invalid record, and for one that the kernel did not write (facility other than 0).
    pub(crate) fn of_record(record: &[u8]) -> Option<Vec<Self>> {
        let semicolon = record.iter().position(|byte| *byte == b';')?;
        let (head, text) = (std::str::from_utf8(&record[..semicolon]).ok()?, &record[semicolon + 1..]);
        let mut fields = head.split(',');
        let priority: u32 = fields.next()?.parse().ok()?;
        let _sequence = fields.next()?;
        let micros: u64 = fields.next()?.parse().ok()?;
        let caller = fields.find_map(|field| self::caller(field.strip_prefix("caller=")?));
        if priority >> 3 != 0 {
            return None;
        }
        let text = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        #[expect(clippy::cast_precision_loss, reason = "microseconds of 285 years")]
        let at = micros as f64 / 1e6;
        let level = u8::try_from(priority).ok();
        let text = unescaped(text);
        let lines = text.split(|byte| *byte == b'\n');
        Some(lines.map(|line| Self { level, at: Some(at), caller, text: plain(line) }).collect())
    }
}

/// Parses `[    1.234567] `, optionally followed by `[   T12] ` (the caller). Returns the rest, too.
fn stamp(text: &str) -> Option<(f64, Option<Caller>, &str)> {
    let (inside, rest) = text.strip_prefix('[')?.split_once(']')?;
    let inside = inside.trim_start_matches(' ');
    let (seconds, micros) = inside.split_once('.')?;
    let digits = |text: &str| !text.is_empty() && text.len() <= 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(seconds) || !digits(micros) || micros.len() != 6 {
        return None;
    }
    let at = inside.parse().ok()?;
    let spoken = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (caller, rest) = match spoken.and_then(|(inside, rest)| Some((caller(inside.trim_start())?, rest))) {
        Some((caller, rest)) => (Some(caller), rest),
        None => (None, rest),
    };
    // An empty line has no text after its timestamp.
    Some((at, caller, rest.strip_prefix(' ').unwrap_or(rest)))
}

/// Parses `T123` or `C0`.
fn caller(text: &str) -> Option<Caller> {
    let (kind, number) = (text.bytes().next().filter(|kind| matches!(kind, b'T' | b'C'))?, text.get(1..)?);
    Some((kind, number.parse().ok()?))
}

/// Decodes the `\x09` escapes of a record.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, behind @ ..] = rest {
        let hex = match behind {
            [b'x', high, low, ..] if *first == b'\\' => {
                std::str::from_utf8(&[*high, *low]).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok())
            }
            _ => None,
        };
        let (byte, behind) = hex.map_or((*first, behind), |byte| (byte, &behind[3..]));
        bytes.push(byte);
        rest = behind;
    }
    bytes
}

/// Converts to bounded text without control characters, safe to print on a terminal.
pub(super) fn plain(line: &[u8]) -> String {
    guest_text::line(&line[..line.len().min(LINE_BYTES)])
}
