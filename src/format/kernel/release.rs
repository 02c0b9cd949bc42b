//! Kernel releases: reading them out of images, and which of two is newer.

use std::cmp::Ordering;

/// The longest release there can be: `__NEW_UTS_LEN`.
const UTS_LEN: usize = 64;

/// The first word of a NUL-terminated text, if it could be a release.
pub fn first_word(text: &[u8]) -> Option<String> {
    let end = text.iter().take(UTS_LEN + 1).position(|byte| matches!(byte, 0 | b' ' | b'\n'))?;
    let word = std::str::from_utf8(text.get(..end)?).ok()?;
    (is_release(word)).then(|| word.to_owned())
}

/// Whether a text could be a release. It becomes a directory's name, so slashes are out.
pub fn is_release(text: &str) -> bool {
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
    plain && text.len() <= UTS_LEN && text.starts_with(|first: char| first.is_ascii_digit())
}

/// A piece of a release. Ordered: what sorts before the end of a text, the end, letters, numbers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Piece {
    /// `-rc1` and `~` come before the release they lead to.
    Before,
    End,
    Letters(String),
    /// Digits without leading zeros, compared by length first: no number is too long.
    Number(usize, String),
}

/// Compares releases as their makers mean them: numbers as numbers, `6.12-rc3` before `6.12`.
pub fn compare(one: &str, other: &str) -> Ordering {
    pieces(one).cmp(&pieces(other)).then_with(|| one.cmp(other))
}

fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let class = |letter: char| (letter.is_ascii_digit(), letter.is_ascii_alphabetic());
        let end = rest.find(|letter| class(letter) != class(first)).unwrap_or(rest.len());
        let (piece, after) = rest.split_at(end);
        rest = after;
        match class(first) {
            (true, _) => {
                let digits = piece.trim_start_matches('0');
                pieces.push(Piece::Number(digits.len(), digits.to_owned()));
            }
            (_, true) if piece == "rc" => pieces.push(Piece::Before),
            (_, true) => pieces.push(Piece::Letters(piece.to_owned())),
            _ if piece.contains('~') => pieces.push(Piece::Before),
            _ => {}
        }
    }
    pieces.push(Piece::End);
    pieces
}

#[cfg(test)]
mod tests {
    use super::{compare, first_word};
    use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};
    use std::cmp::Ordering;

    #[test]
    fn numbers_count_as_numbers_and_candidates_come_first() {
        let mut sorted = [
            "6.12.117+deb12-amd64",
            "6.1.0-56-amd64",
            "0-rescue-1234",
            "6.1.0-9-amd64",
            "6.12.0-rc3",
            "6.12.0",
            "6.12.0-rc10",
            "6.2.0",
        ];
        sorted.sort_by(|one, other| compare(one, other));
        assert_eq!(
            sorted,
            [
                "0-rescue-1234",
                "6.1.0-9-amd64",
                "6.1.0-56-amd64",
                "6.2.0",
                "6.12.0-rc3",
                "6.12.0-rc10",
                "6.12.0",
                "6.12.117+deb12-amd64",
            ]
        );
    }

    #[test]
    fn a_release_ends_at_a_blank_and_has_no_slash() {
        assert_eq!(first_word(b"6.1.0-56-amd64 (x) #1\0").as_deref(), Some("6.1.0-56-amd64"));
        for bad in [b"6.1/../../etc \0".as_slice(), b"%s \0", b"6.1.0", b" \0", b"6.\xff \0"] {
            assert_eq!(first_word(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn the_order_is_an_order(a in "[0-9.rc~a-z-]{0,12}", b in "[0-9.rc~a-z-]{0,12}", c in any::<String>()) {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            prop_assert_eq!(compare(&c, &c), Ordering::Equal);
            if compare(&a, &b) == Ordering::Less && compare(&b, &c) == Ordering::Less {
                prop_assert_eq!(compare(&a, &c), Ordering::Less);
            }
        }
    }
}
