//! Kernel releases (`uname -r`): parsing and comparison.

use std::cmp::Ordering;

/// Maximum length of a release: `__NEW_UTS_LEN`.
const UTS_LEN: usize = 64;

/// Returns the first word of a NUL-terminated text, if it is a valid release.
pub(crate) fn first_word(text: &[u8]) -> Option<String> {
    let end = text.iter().take(UTS_LEN + 1).position(|byte| matches!(byte, 0 | b' ' | b'\n'))?;
    let word = std::str::from_utf8(text.get(..end)?).ok()?;
    (is_release(word)).then(|| word.to_owned())
}

/// Returns the first line of a NUL-terminated text, at most as long as a banner of a kernel.
pub(super) fn line(text: &[u8]) -> String {
    /// `linux_banner` contains the release, the builder, the compiler, and the version with its time.
    const BANNER_LEN: usize = 512;
    let end = text.iter().take(BANNER_LEN).position(|byte| matches!(byte, 0 | b'\n'));
    let line = text.get(..end.unwrap_or(text.len().min(BANNER_LEN))).unwrap_or_default();
    String::from_utf8_lossy(line).into_owned()
}

/// Returns the version (`uname -v`) at the end of a banner: `#1 SMP PREEMPT_DYNAMIC ...`. It differs in each build.
pub(crate) fn version(banner: &str) -> Option<&str> {
    let version = banner.rfind(" #").and_then(|at| banner.get(at + 1..));
    version.filter(|version| version.trim_end() != "#")
}

/// Returns true if the text is a valid release. A release is used as a directory name, so it must not contain slashes.
pub(crate) fn is_release(text: &str) -> bool {
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
    plain && text.len() <= UTS_LEN && text.starts_with(|first: char| first.is_ascii_digit())
}

/// Returns true for the name of a kernel image: `vmlinuz-` with a release or the name of a flavor (Alpine: `vmlinuz-virt`).
pub(crate) fn is_vmlinuz(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'/';
    name.strip_prefix("vmlinuz-").is_some_and(|rest| !rest.is_empty() && rest.bytes().all(plain))
}

/// A component of a release. The order of the variants is the sort order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Piece {
    /// `rc` or `~`: sorts before the final release.
    Before,
    /// End of the text.
    End,
    /// A run of letters.
    Letters(String),
    /// Number of digits, and the digits without leading zeros. Comparing the length first works for any length.
    Number(usize, String),
}

/// Compares two releases: numbers by value, `6.12-rc3` before `6.12`.
pub(crate) fn compare(one: &str, other: &str) -> Ordering {
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
    use super::{compare, first_word, line, version};
    use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};
    use std::cmp::Ordering;

    #[test]
    fn numbers_compare_by_value_and_candidates_sort_first() {
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
    fn a_banner_ends_with_the_version() {
        let banner = line(b"6.1.0 (a@b) (gcc #9) #12 SMP Sun Nov 29\nmore");
        assert_eq!(version(&banner), Some("#12 SMP Sun Nov 29"));
        assert_eq!([version("6.1.0"), version("6.1.0 (a@b) # "), version("6.1.0 #")], [None; 3]);
        assert_eq!(line(&[b'x'; 1000]).len(), 512);
    }

    #[test]
    fn a_release_ends_at_a_space_and_contains_no_slash() {
        assert_eq!(first_word(b"6.1.0-56-amd64 (x) #1\0").as_deref(), Some("6.1.0-56-amd64"));
        for bad in [b"6.1/../../etc \0".as_slice(), b"%s \0", b"6.1.0", b" \0", b"6.\xff \0"] {
            assert_eq!(first_word(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn compare_is_a_total_order(a in "[0-9.rc~a-z-]{0,12}", b in "[0-9.rc~a-z-]{0,12}", c in any::<String>()) {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            prop_assert_eq!(compare(&c, &c), Ordering::Equal);
            if compare(&a, &b) == Ordering::Less && compare(&b, &c) == Ordering::Less {
                prop_assert_eq!(compare(&a, &c), Ordering::Less);
            }
        }
    }
}
