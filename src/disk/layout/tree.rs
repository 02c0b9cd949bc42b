//! Directory tree of an EFI system partition. Paths are case-insensitive.
//!
//! Refuses names that are not valid FAT long names, or that the fatfs crate does not support (characters above U+FFFF,
//! more than 255 bytes), files of 4 GiB or more, and two sources for one path; the error names both sources.

use std::collections::BTreeMap;

use super::contents::Contents;

/// Maximum length of a file in bytes: the field has 32 bits.
const LARGEST_FILE: u64 = u32::MAX as u64;
/// Maximum length of a name in bytes.
const LONGEST_NAME: usize = 255;
/// UTF-16 code units per long-name entry.
const UNITS: u64 = 13;

/// A requested file or directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EspEntry {
    /// Path, with `/` or `\` as the separator.
    pub path: String,
    /// File or directory.
    pub what: EspNode,
    /// Requesting option, for messages: `--add-file grub.cfg=EFI/grub.cfg`.
    pub why: String,
}

/// File or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EspNode {
    /// A directory.
    Dir,
    /// A file.
    File {
        /// Length in bytes.
        len: u64,
        /// Index of the source in the writer's list.
        source: usize,
    },
}

/// Error in the requested files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// An invalid name.
    #[error("invalid path {path:?} on the ESP ({why}): {rule}")]
    Name {
        /// The path.
        path: String,
        /// Requesting option.
        why: String,
        /// The fault.
        rule: &'static str,
    },
    /// A file that is too large.
    #[error("{path} on the ESP ({why}): file of {len} bytes is too large for FAT (must be smaller than 4 GiB)")]
    TooLarge {
        /// The path.
        path: String,
        /// Requesting option.
        why: String,
        /// Length in bytes.
        len: u64,
    },
    /// Two sources for one path.
    #[error(
        "{path} on the ESP: conflicting sources: {first} and {second}{}",
        if *folded { " (FAT names are case-insensitive)" } else { "" }
    )]
    Conflict {
        /// The path, as the second option spells it.
        path: String,
        /// The first requesting option.
        first: String,
        /// The second requesting option.
        second: String,
        /// True if the paths differ in case.
        folded: bool,
    },
}

/// Directory tree without conflicts, including parent directories.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EspTree {
    /// Nodes by uppercase path, because FAT compares names case-insensitively.
    nodes: BTreeMap<Vec<String>, Placed>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Placed {
    path: Vec<String>,
    what: EspNode,
    why: String,
}

/// A file or directory of a tree.
#[derive(Debug, Clone, Copy)]
pub struct EspItem<'a> {
    /// Path components.
    pub path: &'a [String],
    /// File or directory.
    pub what: EspNode,
    /// Requesting option.
    pub why: &'a str,
}

impl EspItem<'_> {
    /// Returns the last path component.
    pub(crate) fn name(&self) -> &str {
        self.path.last().map_or("", String::as_str)
    }
}

impl EspTree {
    /// Builds a tree. Adds missing parent directories.
    pub fn new(entries: impl IntoIterator<Item = EspEntry>) -> Result<Self, TreeError> {
        let mut tree = Self::default();
        for entry in entries {
            tree.add(entry)?;
        }
        Ok(tree)
    }

    fn add(&mut self, entry: EspEntry) -> Result<(), TreeError> {
        let EspEntry { path, what, why } = entry;
        let names: Vec<String> = path.split(['/', '\\']).filter(|name| !name.is_empty()).map(str::to_owned).collect();
        if let Some(rule) = names.iter().find_map(|name| broken_rule(name)) {
            return Err(TreeError::Name { path: names.join("/"), why, rule });
        }
        if let EspNode::File { len, .. } = what
            && len > LARGEST_FILE
        {
            return Err(TreeError::TooLarge { path, why, len });
        }
        if names.is_empty() {
            let rule = "missing file name";
            return if what == EspNode::Dir { Ok(()) } else { Err(TreeError::Name { path, why, rule }) };
        }
        for depth in 1..names.len() {
            self.put(&names[..depth], EspNode::Dir, &why)?;
        }
        self.put(&names, what, &why)
    }

    fn put(&mut self, names: &[String], what: EspNode, why: &str) -> Result<(), TreeError> {
        let folded: Vec<String> = names.iter().map(|name| fold(name)).collect();
        let placed = Placed { path: names.to_vec(), what, why: why.to_owned() };
        match self.nodes.get(&folded) {
            None => drop(self.nodes.insert(folded, placed)),
            Some(there) if there.what == EspNode::Dir && what == EspNode::Dir => {}
            Some(there) => {
                return Err(TreeError::Conflict {
                    path: names.join("/"),
                    first: there.why.clone(),
                    second: why.to_owned(),
                    folded: there.path != names,
                });
            }
        }
        Ok(())
    }

    /// Returns all nodes in a deterministic order, parents before their children.
    pub fn items(&self) -> impl Iterator<Item = EspItem<'_>> {
        self.nodes.values().map(|placed| EspItem { path: &placed.path, what: placed.what, why: &placed.why })
    }

    /// Returns the space that the tree requires. Counts directory entries as the fatfs crate writes them: long names
    /// for all nodes, including "." and "..".
    pub fn contents(&self) -> Contents {
        let mut contents = Contents::new();
        let mut entries: BTreeMap<&[String], u64> = BTreeMap::new();
        for (folded, placed) in &self.nodes {
            let units = placed.path.last().map_or(0, |name| name.encode_utf16().count() as u64);
            let own = 1 + units.div_ceil(UNITS);
            let above = &folded[..folded.len() - 1];
            match above {
                [] => contents.add_to_root(own),
                above => *entries.entry(above).or_default() += own,
            }
            match placed.what {
                EspNode::Dir => drop(entries.entry(folded).or_default()),
                EspNode::File { len, .. } => contents.add_file(len),
            }
        }
        for own in entries.values() {
            contents.add_dir(4 + own);
        }
        contents
    }
}

/// Folds the case of a name like the fatfs crate (0.3.6, `eq_name`), which is coarser than FAT: `ß` equals `SS`. The
/// crate writes names that it considers equal into one file.
fn fold(name: &str) -> String {
    name.chars().flat_map(char::to_uppercase).collect()
}

/// Returns the violated rule for long names, from Microsoft's FAT specification, section 7, or from fatfs 0.3.6.
fn broken_rule(name: &str) -> Option<&'static str> {
    let allowed = |letter: char| match letter {
        '"' | '*' | '/' | ':' | '<' | '>' | '?' | '\\' | '|' | '\x7f' => false,
        letter => letter >= ' ',
    };
    if name == "." || name == ".." {
        Some("\".\" and \"..\" are not allowed")
    } else if !name.chars().all(allowed) {
        Some("names on FAT must not contain control characters or any of \" * : < > ? |")
    } else if name.chars().any(|letter| letter > '\u{FFFF}') {
        Some("characters above U+FFFF are not supported")
    } else if name.len() > LONGEST_NAME {
        Some("names longer than 255 bytes are not supported")
    } else if name.ends_with(['.', ' ']) || name.starts_with(' ') {
        Some("names on FAT must not start with a space or end with a dot or a space")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{EspEntry, EspNode, EspTree, TreeError};
    use crate::format::fat::FatType;

    fn file(path: &str, len: u64) -> EspEntry {
        EspEntry { path: path.into(), what: EspNode::File { len, source: 0 }, why: format!("--add-file {path}") }
    }

    fn refused(entries: &[(&str, u64)]) -> String {
        let error = EspTree::new(entries.iter().map(|(path, len)| file(path, *len))).expect_err("refused");
        error.to_string()
    }

    #[test]
    fn parents_precede_children_and_case_is_ignored() {
        let tree = EspTree::new([file("EFI/BOOT/BOOTX64.EFI", 5), file("/efi\\boot/x.cfg", 1), file("a", 0)]);
        let paths: Vec<String> = tree.expect("a tree").items().map(|item| item.path.join("/")).collect();
        assert_eq!(paths, ["a", "EFI", "EFI/BOOT", "EFI/BOOT/BOOTX64.EFI", "efi/boot/x.cfg"]);
    }

    #[test]
    fn the_error_for_a_conflict_names_both_sources() {
        assert_eq!(
            refused(&[("EFI/BOOT/BOOTX64.EFI", 1), ("efi/boot/bootx64.efi", 1)]),
            "efi/boot/bootx64.efi on the ESP: conflicting sources: --add-file EFI/BOOT/BOOTX64.EFI and --add-file \
             efi/boot/bootx64.efi (FAT names are case-insensitive)"
        );
        assert_eq!(
            refused(&[("a", 1), ("a/b", 1)]),
            "a on the ESP: conflicting sources: --add-file a and --add-file a/b"
        );
        assert!(refused(&[("größe", 1), ("GRÖSSE", 1)]).ends_with("(FAT names are case-insensitive)"));
        assert!(refused(&[("a/b", 1), ("a", 1)]).contains("conflicting sources: --add-file a/b and --add-file a"));
    }

    #[test]
    fn names_that_are_not_valid_on_fat_are_refused() {
        for name in ["a:b", "a*", "x/../y", "x.", "y ", " z", "\u{1F600}", "tab\t", "what?", "", "/"] {
            let error = EspTree::new([file(name, 1)]).expect_err(name);
            assert!(matches!(error, TreeError::Name { .. }), "{name}: {error}");
        }
        assert!(EspTree::new([file(&"ü".repeat(128), 1)]).is_err());
        assert!(EspTree::new([file("fine name (1) [x] {y} ~!@#$%^&'`+,;=.cfg", 1), file("größe", 1)]).is_ok());
        assert!(
            refused(&[("big", 1 << 32)])
                .ends_with("4294967296 bytes is too large for FAT (must be smaller than 4 GiB)")
        );
    }

    #[test]
    fn space_is_counted_in_directory_entries() {
        let tree = EspTree::new([file("EFI/BOOT/BOOTX64.EFI", 5), file("a-name-of-more-than-13.conf", 600)]);
        let contents = tree.expect("a tree").contents();
        // The label; the short and the long name of EFI; and the short name and the three parts of the other long name.
        assert_eq!(contents.root_entries(), 1 + 2 + 4);
        assert_eq!(contents.clusters(512, FatType::Fat16), 1 + 2 + 2);
        assert_eq!(contents.clusters(512, FatType::Fat32), 1 + 2 + 2 + 1);
    }
}
