//! Lines of the kernel's log, as `/dev/kmsg` and as a console have them.
//!
//! Formats: `Documentation/ABI/testing/dev-kmsg`; `kernel/printk/printk.c`, `info_print_prefix`.

use super::LINE_BYTES;

/// Who said a line: a task or a CPU (`CONFIG_PRINTK_CALLER`). Lines of two of them may be mixed.
pub type Caller = (u8, u32);

/// One line.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Line {
    /// Its level, 0 the gravest; a console does not say.
    pub level: Option<u8>,
    /// The kernel's clock, in seconds.
    pub at: Option<f64>,
    /// Who said it.
    pub caller: Option<Caller>,
    /// What, without control characters.
    pub text: String,
}

impl Line {
    /// A line of a console, without its end. What stands before a timestamp is somebody else's.
    pub fn of_console(line: &[u8]) -> Self {
        let text = plain(line);
        let stamped = text.match_indices('[').take(8).find_map(|(start, _)| stamp(&text[start..]));
        match stamped {
            Some((at, caller, rest)) => Self { level: None, at: Some(at), caller, text: rest.to_owned() },
            None => Self { text, ..Self::default() },
        }
    }

    /// The lines of a record of `/dev/kmsg`, which is given without its end: most have one. `None` where it is none, or not the
    /// kernel's own.
    pub fn of_record(record: &[u8]) -> Option<Vec<Self>> {
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

/// `[    1.234567] `, with `[   T12] ` behind it where the kernel says who speaks; and the rest.
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
    // An empty line has nothing behind its stamp.
    Some((at, caller, rest.strip_prefix(' ').unwrap_or(rest)))
}

/// `T123`, `C0`.
fn caller(text: &str) -> Option<Caller> {
    let (kind, number) = (text.bytes().next().filter(|kind| matches!(kind, b'T' | b'C'))?, text.get(1..)?);
    Some((kind, number.parse().ok()?))
}

/// Bytes that are written as `\x09` in a record, as themselves.
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

/// As text that a terminal can be shown: bounded, without control characters.
pub(super) fn plain(line: &[u8]) -> String {
    let bounded = &line[..line.len().min(LINE_BYTES)];
    let text = String::from_utf8_lossy(bounded);
    let letters = text.chars().map(|letter| if letter == '\t' { ' ' } else { letter });
    let mut text: String = letters.filter(|letter| !letter.is_control()).collect();
    text.truncate(text.trim_end().len());
    text
}
