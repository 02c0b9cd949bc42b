//! `.note.dlopen`: libraries that a program may open at run time.
//!
//! Specification: <https://uapi-group.org/specifications/specs/elf_dlopen_metadata/>. Its first edition had one object
//! with a string `soname`; current producers write an array of objects, each with an array of alternatives.

use std::ffi::OsString;

use serde::Deserialize;

/// Owner of the note.
pub(crate) const OWNER: &str = "FDO";

/// Type of the note.
pub(crate) const TYPE: u32 = 0x407c_0c0a;

/// A library that may be opened: its alternative names, the preferred one first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DlopenNote {
    /// Names to try in order.
    pub(crate) sonames: Vec<OsString>,
    /// Degree to which the program depends on it.
    pub(crate) priority: Priority,
}

/// Degree to which a program depends on a library that it opens at run time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Priority {
    /// The program does not work without it.
    Required,
    /// An important feature does not work without it.
    #[default]
    Recommended,
    /// A minor feature does not work without it.
    Suggested,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

#[derive(Deserialize)]
struct Written {
    soname: OneOrMany<String>,
    #[serde(default)]
    priority: Priority,
}

/// Parses a note's descriptor. A descriptor that violates the specification is ignored, because notes are advisory.
pub(crate) fn parse(descriptor: &[u8]) -> Vec<DlopenNote> {
    let end = descriptor.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let json = descriptor.get(..end).unwrap_or_default();
    let Ok(written) = serde_json::from_slice::<OneOrMany<Written>>(json) else {
        return Vec::new();
    };
    let note = |written: Written| DlopenNote {
        sonames: written.soname.into_vec().into_iter().map(OsString::from).collect(),
        priority: written.priority,
    };
    written.into_vec().into_iter().map(note).filter(|note| !note.sonames.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::{Priority, parse};

    #[test]
    fn both_editions_of_the_note_are_read() {
        let old = parse(br#"{"feature":"x","soname":"libfoo.so.1","priority":"required"}"#);
        assert_eq!(old.len(), 1);
        assert_eq!((old[0].priority, old[0].sonames[0].as_os_str()), (Priority::Required, "libfoo.so.1".as_ref()));
        let new = parse(
            b"[{\"soname\":[\"liba.so.2\",\"liba.so.1\"]},{\"soname\":[\"libb.so\"],\"priority\":\"suggested\"}]\0\0",
        );
        assert_eq!(new.len(), 2);
        assert_eq!((new[0].priority, new[0].sonames.len()), (Priority::Recommended, 2));
        assert_eq!(new[1].priority, Priority::Suggested);
    }

    #[test]
    fn an_invalid_note_is_ignored() {
        for bytes in [b"".as_slice(), b"\0\0", b"[{]", b"{\"soname\":7}", b"[]", b"{\"soname\":[]}"] {
            assert!(parse(bytes).is_empty(), "{bytes:?}");
        }
    }
}
