//! Names of QEMU's machine types, and the patterns that firmware descriptors match them with.
//!
//! Descriptors speak of full names (`pc-q35-*`), command lines of aliases with properties (`q35,smm=off`).

use std::ffi::OsStr;

/// Longest pattern that is believed in.
const PATTERN_BYTES: usize = 128;

/// The full name that `-machine` stands for, as this version of QEMU (`7.2.22`) resolves it.
pub fn full_name(machine: &OsStr, version: &str) -> String {
    let text = machine.to_string_lossy();
    let mut words = text.split(',');
    let first = words.next().unwrap_or_default();
    let named = std::iter::once(first).chain(words).find_map(|word| word.strip_prefix("type="));
    let name = named.unwrap_or(first);
    let mut numbers = version.split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    match name {
        "q35" => format!("pc-q35-{major}.{minor}"),
        "pc" => format!("pc-i440fx-{major}.{minor}"),
        other => other.to_owned(),
    }
}

/// Whether a name matches a pattern of `*` and `?`, as glob(7) has them. Takes steps in the product of both lengths.
pub fn matches(pattern: &str, name: &str) -> bool {
    if pattern.len() > PATTERN_BYTES {
        return false;
    }
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at, mut here) = (0, 0);
    // Where the last star stands, and how much of the name it has taken.
    let mut star: Option<(usize, usize)> = None;
    while let Some(letter) = name.get(here) {
        match (pattern.get(at), star) {
            (Some(b'*'), _) => {
                star = Some((at, here));
                at += 1;
            }
            (Some(wanted), _) if *wanted == b'?' || wanted == letter => {
                at += 1;
                here += 1;
            }
            (_, Some((starred, taken))) => {
                star = Some((starred, taken + 1));
                at = starred + 1;
                here = taken + 1;
            }
            (_, None) => return false,
        }
    }
    pattern[at..].iter().all(|rest| *rest == b'*')
}

#[cfg(test)]
mod tests {
    use super::{full_name, matches};
    use std::ffi::OsStr;

    #[test]
    fn aliases_become_the_names_that_descriptors_speak_of() {
        for (machine, name) in [
            ("q35", "pc-q35-7.2"),
            ("q35,smm=off", "pc-q35-7.2"),
            ("smm=off,type=pc", "pc-i440fx-7.2"),
            ("pc-q35-6.0,usb=on", "pc-q35-6.0"),
            ("microvm", "microvm"),
            ("", ""),
        ] {
            assert_eq!(full_name(OsStr::new(machine), "7.2.22"), name, "{machine}");
        }
        assert_eq!(full_name(OsStr::new("q35"), "?"), "pc-q35-?.");
    }

    #[test]
    fn patterns_match_as_in_a_shell_and_hostile_ones_end() {
        for (pattern, name, fits) in [
            ("pc-q35-*", "pc-q35-7.2", true),
            ("pc-q35-*", "pc-i440fx-7.2", false),
            ("*", "", true),
            ("", "", true),
            ("", "x", false),
            ("p?-*-7*", "pc-q35-7.2", true),
            ("pc-q35-7.2", "pc-q35-7.2", true),
            ("*2", "pc-q35-7.2", true),
            ("*3", "pc-q35-7.2", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
        assert!(!matches(&"*a".repeat(60), &"a".repeat(59)));
        assert!(!matches(&"*".repeat(100_000), "x"));
    }
}
