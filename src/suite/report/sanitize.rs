//! Sanitizes guest text for other programs: no control characters, no escape sequences.
//!
//! XML 1.0 forbids most control characters even in escaped form, and YAML 1.1 treats some characters as line breaks.
//! Characters that change the text direction are replaced, too, since they make a line display something other than its
//! content.

use std::borrow::Cow;

use crate::guest::plain::{Piece, Plain};

/// Returns true for characters that no report may contain. Line feeds and tabs are allowed.
fn is_forbidden(letter: char) -> bool {
    match letter {
        '\n' | '\t' => false,
        // Line separators, direction controls, byte order mark, noncharacters.
        '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => true,
        letter => letter.is_control(),
    }
}

/// Returns the text without escape sequences and control characters; lines end with a line feed.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
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
    let replaced = kept.chars().map(|letter| if is_forbidden(letter) { char::REPLACEMENT_CHARACTER } else { letter });
    Cow::Owned(replaced.collect())
}

/// Returns the sanitized text as one line, for attributes, names and directives.
pub(crate) fn one_line(text: &str) -> String {
    let text = plain(text);
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
    use super::{head, is_forbidden, one_line, plain, tail};
    use proptest::prelude::{ProptestConfig, any, prop_assert, proptest};
    use std::borrow::Cow;

    #[test]
    fn plain_text_is_not_copied() {
        assert!(matches!(plain("a\tb\n  ä"), Cow::Borrowed("a\tb\n  ä")));
    }

    #[test]
    fn escapes_control_characters_and_direction_controls_are_removed() {
        assert_eq!(plain("\x1b[31mred\x1b[0m\tx\r\ny\0\x07\x7f"), "red\tx\ny");
        assert_eq!(plain("50%\r100%"), "50%\n100%");
        assert_eq!(plain("a\u{202e}b\u{85}c\u{feff}\u{2028}\u{ffff}"), "a\u{fffd}b\u{fffd}c\u{fffd}\u{fffd}\u{fffd}");
        assert_eq!(one_line(" two\n\n  lines\x1b[K\t "), "two lines");
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!([head("a\u{e4}b", 3), head("a\u{e4}b", 2), head("ab", 9), head("", 0)], ["a\u{e4}", "a", "ab", ""]);
        assert_eq!([tail("a\u{e4}b", 3), tail("a\u{e4}b", 2), tail("ab", 9), tail("", 0)], ["\u{e4}b", "b", "ab", ""]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn no_is_forbidden_character_is_left(text in any::<String>()) {
            prop_assert!(!plain(&text).contains(is_forbidden));
            prop_assert!(!one_line(&text).contains(['\n', '\t']));
        }
    }
}
