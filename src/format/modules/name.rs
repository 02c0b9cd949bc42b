//! Module names and alias patterns: normalization (`-` equals `_`) and matching.
//!
//! Follows kmod (`shared/util.c`: `modname_normalize`, `alias_normalize`, `path_to_modname`).

use std::borrow::Cow;

/// File name extensions of modules.
const ENDINGS: [&str; 4] = [".ko", ".ko.gz", ".ko.xz", ".ko.zst"];

/// Normalizes a module name: replaces each `-` with `_`.
pub fn normal(name: &str) -> Cow<'_, str> {
    if name.contains('-') { Cow::Owned(name.replace('-', "_")) } else { Cow::Borrowed(name) }
}

/// Normalizes an alias pattern: replaces each `-` with `_`, except in brackets, where `-` denotes a range.
pub(crate) fn normal_pattern(pattern: &str) -> Cow<'_, str> {
    if !pattern.contains('-') {
        return Cow::Borrowed(pattern);
    }
    let mut inside = false;
    let replace = |letter| {
        inside = (inside || letter == '[') && letter != ']';
        if letter == '-' && !inside { '_' } else { letter }
    };
    Cow::Owned(pattern.chars().map(replace).collect())
}

/// Returns the file name without directories and module extension; `None` for other files.
pub(crate) fn stem(path: &str) -> Option<&str> {
    let name = path.rsplit('/').next().unwrap_or(path);
    ENDINGS.iter().find_map(|ending| name.strip_suffix(ending)).filter(|stem| !stem.is_empty())
}

/// Returns the normalized name of the module in a file; `None` for other files.
pub fn of_path(path: &str) -> Option<Cow<'_, str>> {
    stem(path).map(normal)
}

/// Returns the path of the decompressed module: `path` without `.gz`, `.xz` or `.zst` after `.ko`.
pub(crate) fn uncompressed(path: &str) -> &str {
    let kept = ENDINGS.iter().skip(1).find(|ending| path.ends_with(**ending)).map(|ending| ending.len() - ".ko".len());
    path.get(..path.len() - kept.unwrap_or(0)).unwrap_or(path)
}

/// Matches a pattern like `fnmatch(3)` without flags: `*`, `?`, `[a-z]`, `[!a]`, `\x`.
///
/// Takes O(pattern length × text length): backtracks only to the last `*`.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut rest) = (0, 0);
    // Backtrack position: the pattern after the last star, and the end of the text that the star matches.
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at + 1, rest));
            at += 1;
            continue;
        }
        let byte = text.get(rest).copied();
        let fits = match byte {
            None if at == pattern.len() => return true,
            None => return false,
            Some(byte) => match_byte(pattern.get(at..).unwrap_or_default(), byte),
        };
        match (fits, star) {
            (Some(used), _) => {
                at += used;
                rest += 1;
            }
            (None, Some((after, swallowed))) => {
                star = Some((after, swallowed + 1));
                at = after;
                rest = swallowed + 1;
            }
            (None, None) => return false,
        }
    }
}

/// Matches one byte against the start of `pattern`. Returns the length of the pattern used.
fn match_byte(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => Some(1),
        [b'\\', literal, ..] => (*literal == byte).then_some(2),
        [b'[', rest @ ..] => match set(rest, byte) {
            Some((fits, used)) => fits.then_some(used + 1),
            // Without a closing bracket, `[` is an ordinary character.
            None => (byte == b'[').then_some(1),
        },
        [literal, ..] => (*literal == byte).then_some(1),
        [] => None,
    }
}

/// Returns whether `byte` is in the bracket expression, and the length of the expression. `pattern` starts after `[`.
fn set(pattern: &[u8], byte: u8) -> Option<(bool, usize)> {
    let negated = matches!(pattern.first(), Some(b'!' | b'^'));
    let start = usize::from(negated);
    let mut at = start;
    let mut found = false;
    loop {
        let low = *pattern.get(at)?;
        if low == b']' && at > start {
            return Some((found != negated, at + 1));
        }
        match (pattern.get(at + 1), pattern.get(at + 2)) {
            (Some(b'-'), Some(high)) if *high != b']' => {
                found |= (low..=*high).contains(&byte);
                at += 3;
            }
            _ => {
                found |= low == byte;
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{matches, normal_pattern, of_path, uncompressed};
    use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};

    #[test]
    fn dashes_become_underscores_except_in_ranges() {
        assert_eq!(normal_pattern("pci:v-[0-9]-x"), "pci:v_[0-9]_x");
        assert_eq!(of_path("kernel/drivers/i2c-i801.ko.xz").as_deref(), Some("i2c_i801"));
        assert_eq!(of_path("kernel/modules.dep"), None);
        assert_eq!(of_path("kernel/.ko"), None);
        assert_eq!(uncompressed("a/b.ko.zst"), "a/b.ko");
        assert_eq!(uncompressed("a/b.ko"), "a/b.ko");
    }

    #[test]
    fn patterns_match_as_fnmatch_does() {
        for (pattern, text, expected) in [
            ("pci:v00008086d*sv*", "pci:v00008086d00002930sv1", true),
            ("pci:v00008086d*sv*i00*", "pci:v00008086d00002930sv1i0", false),
            ("*", "", true),
            ("a*b*c", "aXbYbc", true),
            ("a*b*c", "aXbYbcd", false),
            ("[0-9a-f]x", "bx", true),
            ("[!0-9]x", "5x", false),
            ("[]]x", "]x", true),
            ("[a", "[a", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("?", "", false),
            ("a/*", "a/b/c", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_do_not_take_exponential_time() {
        let pattern = "*a".repeat(40) + "b";
        assert!(!matches(&pattern, &"a".repeat(4000)));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn stars_match_as_in_a_naive_implementation(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
            fn slow(pattern: &[u8], text: &[u8]) -> bool {
                match (pattern.split_first(), text.split_first()) {
                    (None, rest) => rest.is_none(),
                    (Some((b'*', after)), rest) => slow(after, text) || rest.is_some_and(|(_, tail)| slow(pattern, tail)),
                    (Some((b'?', after)), Some((_, tail))) => slow(after, tail),
                    (Some((letter, after)), Some((byte, tail))) => letter == byte && slow(after, tail),
                    (Some(_), None) => false,
                }
            }
            prop_assert_eq!(matches(&pattern, &text), slow(pattern.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn any_pattern_is_handled(pattern in any::<String>(), text in any::<String>()) {
            let _ = matches(&pattern, &text);
            prop_assert!(matches("*", &text));
        }
    }
}
