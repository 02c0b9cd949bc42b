//! Text in a page: what HTML would take for its own, written as references, and how much room that takes.
//!
//! Slashes stay: the attributes of the template that texts stand in are quoted, and every id has two of them.
//! <https://html.spec.whatwg.org/multipage/parsing.html>

use std::fmt::{self, Write};

/// What a character is written as, where that is not itself.
const fn reference(letter: char) -> Option<&'static str> {
    match letter {
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        '"' => Some("&#34;"),
        '\'' => Some("&#39;"),
        _ => None,
    }
}

/// Writes a text for between tags or into a quoted attribute.
pub fn write(text: &str, out: &mut impl Write) -> fmt::Result {
    let mut rest = text;
    while let Some((at, reference)) = rest.char_indices().find_map(|(at, letter)| Some((at, reference(letter)?))) {
        out.write_str(&rest[..at])?;
        out.write_str(reference)?;
        // Each of them is one byte long.
        rest = &rest[at + 1..];
    }
    out.write_str(rest)
}

/// How many bytes a character takes.
fn bytes_of(letter: char) -> usize {
    reference(letter).map_or(letter.len_utf8(), str::len)
}

/// How many bytes a text takes.
pub fn bytes(text: &str) -> usize {
    text.chars().map(bytes_of).sum()
}

/// As much of a text's beginning as fits into so many bytes.
pub fn beginning(text: &str, most: usize) -> &str {
    &text[..fitting(text.char_indices().map(|(at, letter)| (at + letter.len_utf8(), letter)), most).unwrap_or(0)]
}

/// As much of its end.
pub fn end(text: &str, most: usize) -> &str {
    &text[fitting(text.char_indices().rev(), most).unwrap_or(text.len())..]
}

/// The last place that what is up to there fits with.
fn fitting(letters: impl Iterator<Item = (usize, char)>, most: usize) -> Option<usize> {
    let taken = letters.scan(0, |sum, (at, letter)| {
        *sum += bytes_of(letter);
        (*sum <= most).then_some(at)
    });
    taken.last()
}

#[cfg(test)]
mod tests {
    use super::{beginning, bytes, end, write};
    use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};

    fn written(text: &str) -> String {
        let mut out = String::new();
        write(text, &mut out).expect("a string takes all");
        out
    }

    #[test]
    fn what_is_markup_becomes_text_and_paths_stay_as_they_are() {
        assert_eq!(written("/a/b <i class=\"x\">'&amp;'"), "/a/b &lt;i class=&#34;x&#34;&gt;&#39;&amp;amp;&#39;");
        assert_eq!((beginning("a<\u{e4}", 5), beginning("a<\u{e4}", 4), beginning("a", 0)), ("a<", "a", ""));
        assert_eq!((end("\u{e4}<a", 5), end("\u{e4}<a", 6), end("\u{e4}<a", 7)), ("<a", "<a", "\u{e4}<a"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn room_is_what_is_written_and_pieces_fit(text in "[a<>&\"'\u{e4}]{0,20}", other in any::<String>(), most in 0_usize..60) {
            for text in [text, other] {
                prop_assert_eq!(written(&text).len(), bytes(&text));
                prop_assert!(bytes(beginning(&text, most)) <= most && bytes(end(&text, most)) <= most);
                if bytes(&text) <= most {
                    prop_assert_eq!((beginning(&text, most), end(&text, most)), (text.as_str(), text.as_str()));
                }
            }
        }
    }
}
