//! Debian version order, as used by `dpkg` (Debian policy 5.6.12, `deb-version(7)`).

use std::cmp::Ordering;
use std::path::Path;

/// Compares two versions: `[epoch:]upstream[-revision]`.
pub fn compare(one: &str, other: &str) -> Ordering {
    let ((epoch, upstream, revision), other) = (parts(one), parts(other));
    let epochs = number(epoch).cmp(&number(other.0));
    epochs.then_with(|| compare_parts(upstream, other.1)).then_with(|| compare_parts(revision, other.2))
}

/// Extracts the version from the file name of a kernel package or image: the middle part of `NAME_VERSION_ARCH.deb`;
/// otherwise everything from the first digit on.
pub(crate) fn from_file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if let Some(stem) = name.strip_suffix(".deb") {
        let parts: Vec<&str> = stem.split('_').collect();
        if let [_, version, _] = parts[..] {
            // apt escapes some characters in file names.
            return version.replace("%3a", ":");
        }
        return from_digit(stem);
    }
    from_digit(&name)
}

fn from_digit(name: &str) -> String {
    name.find(|letter: char| letter.is_ascii_digit()).map_or(name, |at| &name[at..]).to_owned()
}

fn parts(version: &str) -> (&str, &str, &str) {
    let (epoch, rest) = version.split_once(':').unwrap_or(("", version));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch, upstream, revision)
}

/// Sort key of a number of any length.
fn number(digits: &str) -> (usize, &str) {
    let digits = digits.trim_start_matches('0');
    (digits.len(), digits)
}

/// Compares alternating non-digit and digit parts (`lib/dpkg/version.c`, `verrevcmp`).
fn compare_parts(mut one: &str, mut other: &str) -> Ordering {
    while !one.is_empty() || !other.is_empty() {
        let (text, rest) = split(one, |letter| !letter.is_ascii_digit());
        let (other_text, other_rest) = split(other, |letter| !letter.is_ascii_digit());
        let letters = |text: &str| text.chars().map(char_order).chain([0]).collect::<Vec<_>>();
        let (digits, left) = split(rest, |letter| letter.is_ascii_digit());
        let (other_digits, other_left) = split(other_rest, |letter| letter.is_ascii_digit());
        let order = letters(text).cmp(&letters(other_text)).then_with(|| number(digits).cmp(&number(other_digits)));
        if order != Ordering::Equal {
            return order;
        }
        (one, other) = (left, other_left);
    }
    Ordering::Equal
}

fn split(text: &str, takes: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|letter| !takes(letter)).unwrap_or(text.len()))
}

/// A tilde sorts before the end of the string (0), and letters before all other characters.
fn char_order(letter: char) -> i64 {
    match letter {
        '~' => -1,
        letter if letter.is_ascii_alphabetic() => i64::from(u32::from(letter)),
        letter => i64::from(u32::from(letter)) + 256,
    }
}

#[cfg(test)]
mod tests {
    use super::{compare, from_file_name};
    use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};
    use std::cmp::Ordering;
    use std::path::Path;
    use std::process::Command;

    /// dpkg's result; `None` if dpkg is not installed.
    fn dpkg(one: &str, other: &str) -> Option<Ordering> {
        let is = |relation: &str| {
            let status = Command::new("dpkg").args(["--compare-versions", one, relation, other]).status().ok()?;
            Some(status.success())
        };
        Some(match (is("lt")?, is("gt")?) {
            (true, _) => Ordering::Less,
            (_, true) => Ordering::Greater,
            _ => Ordering::Equal,
        })
    }

    #[test]
    fn the_order_matches_dpkg() {
        let versions = [
            "6.1.192-2",
            "6.12.117-1~deb12u1",
            "6.12.117-1",
            "6.12~rc3-1~exp1",
            "6.12-1",
            "1:0.1-1",
            "6.12.9-1",
            "6.12.10-1",
            "6.12.10-1+b1",
            "6.12.010-1",
            "6.12a-1",
            "6.12+x-1",
            "6.12",
            "6.12-0",
            "0~~",
            "0~",
            "0",
            "0a",
            "6.9.7-1~bpo12+1",
            "6.9.7-1",
            "5.10.209-2",
            "2:6.1-1",
            "6.1-1-1",
            "6.1.0",
            "6.1",
            "6.1.~",
            "6.1.a",
        ];
        let mut is_here = false;
        for one in versions {
            for other in versions {
                let Some(expected) = dpkg(one, other) else { continue };
                is_here = true;
                assert_eq!(compare(one, other), expected, "{one} {other}");
            }
        }
        if !is_here {
            // Without dpkg, check one pair.
            assert_eq!(compare("6.12~rc3", "6.12"), Ordering::Less);
        }
    }

    #[test]
    fn versions_are_extracted_from_file_names() {
        let of = |name: &str| from_file_name(Path::new(name));
        assert_eq!(of("/x/linux-image-6.12.117+deb12-amd64_6.12.117-1~deb12u1_amd64.deb"), "6.12.117-1~deb12u1");
        assert_eq!(of("vmlinuz-6.1.0-56-amd64"), "6.1.0-56-amd64");
        assert_eq!(of("a_1%3a2_b.deb"), "1:2");
        assert_eq!(of("bzImage"), "bzImage");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn versions_are_totally_ordered(a in "[0-9.a~+:-]{0,8}", b in "[0-9.a~+:-]{0,8}", c in "[0-9.a~+:-]{0,8}", d in any::<String>()) {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            prop_assert_eq!(compare(&d, &d), Ordering::Equal);
            if compare(&a, &b) != Ordering::Greater && compare(&b, &c) != Ordering::Greater {
                prop_assert_eq!(compare(&a, &c) == Ordering::Greater, false);
            }
        }
    }
}
