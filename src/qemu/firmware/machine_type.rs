//! QEMU machine type names, and the patterns that firmware descriptors match against them.
//!
//! Descriptors use full names (`pc-q35-*`); command lines use aliases with properties (`q35,smm=off`).

use std::ffi::OsStr;

use glob::Pattern;

/// Maximum pattern length in bytes.
const PATTERN_BYTES: usize = 128;

/// Resolves a `-machine` value to its full name, as this version of QEMU (`7.2.22`) does.
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

/// Returns true if `name` matches a pattern (glob(7)). Invalid patterns match nothing.
pub fn matches(pattern: &str, name: &str) -> bool {
    pattern.len() <= PATTERN_BYTES && Pattern::new(pattern).is_ok_and(|pattern| pattern.matches(name))
}

#[cfg(test)]
mod tests {
    use super::{full_name, matches};
    use std::ffi::OsStr;

    #[test]
    fn aliases_resolve_to_the_full_names_in_descriptors() {
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
    fn patterns_match_like_shell_globs_and_hostile_ones_terminate() {
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
