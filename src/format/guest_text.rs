//! Untrusted text from a guest, made safe for terminals, logs and reports: no control characters, no escape sequences.
//!
//! XML 1.0 forbids most control characters even in escaped form, and YAML 1.1 treats some characters as line breaks.
//! Characters that change the text direction are replaced, too, since they make a line display something other than its
//! content. All guest text passes through one of these functions before it is stored, except the standard output and
//! error of a command, which are passed on unchanged and sanitized only for reports.

use std::borrow::Cow;

use super::terminal_text::{Piece, Plain};

/// Returns true for characters that no report may contain. Line feeds and tabs are allowed.
fn is_forbidden(letter: char) -> bool {
    match letter {
        '\n' | '\t' => false,
        // Line separators, direction controls, byte order mark, noncharacters.
        '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => true,
        letter => letter.is_control(),
    }
}

/// Returns a line of a console or of a message as text: tabs become blanks, escape sequences, control characters and blanks
/// at the end are removed, and invalid UTF-8 is replaced.
pub(crate) fn line(bytes: &[u8]) -> String {
    let mut kept = Vec::with_capacity(bytes.len());
    let mut bytes = bytes.iter().copied().peekable();
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
    let text = String::from_utf8_lossy(&kept);
    let allowed = text.chars().filter(|letter| !letter.is_control());
    let mut text: String = allowed.map(replace_forbidden).collect();
    text.truncate(text.trim_end().len());
    text
}

/// Returns the text without escape sequences and control characters; lines end with a line feed.
pub(crate) fn text(text: &str) -> Cow<'_, str> {
    // Most text is ASCII, which is checked faster.
    let is_plain_ascii = text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\t'));
    if is_plain_ascii || !text.contains(is_forbidden) {
        return Cow::Borrowed(text);
    }
    let mut reader = Plain::default();
    let mut kept = Vec::with_capacity(text.len());
    let mut bytes = text.bytes().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            // The console reader replaces a tab by a blank, but standard output may be a table.
            b'\t' => kept.push(b'\t'),
            b'\r' if bytes.peek() == Some(&b'\n') => {}
            byte => match reader.feed(byte) {
                Some(Piece::Text(byte)) => kept.push(byte),
                Some(Piece::LineEnd) => kept.push(b'\n'),
                None => {}
            },
        }
    }
    // A sequence may have been cut inside a character.
    let kept = String::from_utf8_lossy(&kept);
    Cow::Owned(kept.chars().map(replace_forbidden).collect())
}

fn replace_forbidden(letter: char) -> char {
    if is_forbidden(letter) { char::REPLACEMENT_CHARACTER } else { letter }
}

/// Returns the sanitized text as one line, for attributes, names and directives.
pub(crate) fn one_line(text: &str) -> String {
    let text = self::text(text);
    if !text.contains('\n') && !text.contains('\t') {
        return text.trim().to_owned();
    }
    let mut line = String::with_capacity(text.len());
    for word in text.split(['\n', '\t']).map(str::trim).filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}

/// Returns the longest start of a text that is at most `limit` bytes long.
pub(crate) fn head(text: &str, limit: usize) -> &str {
    let end = (0..=limit.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}

/// Returns the longest end of a text that is at most `limit` bytes long.
pub(crate) fn tail(text: &str, limit: usize) -> &str {
    let start = (text.len().saturating_sub(limit)..=text.len()).find(|at| text.is_char_boundary(*at));
    &text[start.unwrap_or(text.len())..]
}

#[cfg(test)]
mod tests {
    use super::{head, is_forbidden, line, one_line, tail, text};
    use proptest::prelude::{ProptestConfig, any, prop_assert, proptest};
    use std::borrow::Cow;

    #[test]
    fn plain_text_is_not_copied() {
        assert!(matches!(text("a\tb\n  ä"), Cow::Borrowed("a\tb\n  ä")));
    }

    #[test]
    fn escapes_control_characters_and_direction_controls_are_removed() {
        assert_eq!(text("\x1b[31mred\x1b[0m\tx\r\ny\0\x07\x7f"), "red\tx\ny");
        assert_eq!(text("50%\r100%"), "50%\n100%");
        assert_eq!(text("a\u{202e}b\u{85}c\u{feff}\u{2028}\u{ffff}"), "a\u{fffd}b\u{fffd}c\u{fffd}\u{fffd}\u{fffd}");
        assert_eq!(one_line(" two\n\n  lines\x1b[K\t "), "two lines");
    }

    #[test]
    fn escape_sequences_never_reach_the_terminal() {
        assert_eq!(line(b"a\x1b[31mred\x1b[0m\x07\x1b]\x00b\x9b\r"), "aredb\u{fffd}");
        assert_eq!(line("a\tb \u{85}\u{202e}c \r".as_bytes()), "a b \u{fffd}c");
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!([head("a\u{e4}b", 3), head("a\u{e4}b", 2), head("ab", 9), head("", 0)], ["a\u{e4}", "a", "ab", ""]);
        assert_eq!([tail("a\u{e4}b", 3), tail("a\u{e4}b", 2), tail("ab", 9), tail("", 0)], ["\u{e4}b", "b", "ab", ""]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn no_forbidden_character_is_left(any in any::<String>()) {
            prop_assert!(!line(any.as_bytes()).contains(is_forbidden));
            prop_assert!(!text(&any).contains(is_forbidden));
            prop_assert!(!one_line(&any).contains(['\n', '\t']));
        }
    }
}
