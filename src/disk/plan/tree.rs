//! The files of an EFI system partition: names that FAT takes, one thing in a place whatever the case it is written in.
//!
//! Refuses names that cannot be long names of FAT, or not for the fatfs crate (which takes no characters beyond U+FFFF
//! and 255 bytes), files of 4 GiB and more, and two sources for one place; it names both.

use std::collections::BTreeMap;

use super::contents::Contents;

/// A file's length has 32 bits.
const LARGEST_FILE: u64 = u32::MAX as u64;
/// Bytes of a name.
const LONGEST_NAME: usize = 255;
/// UTF-16 units of a name in one entry of a directory.
const UNITS: u64 = 13;

/// Something on the partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EspEntry {
    /// Where: names with `/` (or `\`) between them.
    pub path: String,
    /// What.
    pub what: EspNode,
    /// Who wants it, for messages: `--add-file grub.cfg=EFI/grub.cfg`.
    pub why: String,
}

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EspNode {
    /// A directory.
    Dir,
    /// A file.
    File {
        /// Its length.
        len: u64,
        /// Number of its source in the writer's list.
        source: usize,
    },
}

/// Why files do not make a partition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// A name that FAT does not take.
    #[error("planning {path} on the ESP ({why}): {rule}")]
    Name {
        /// The path.
        path: String,
        /// Who wants it.
        why: String,
        /// What is wrong with it.
        rule: &'static str,
    },
    /// A file that does not fit.
    #[error("planning {path} on the ESP ({why}): {len} bytes, but a file on FAT is smaller than 4 GiB")]
    TooLarge {
        /// The path.
        path: String,
        /// Who wants it.
        why: String,
        /// Its length.
        len: u64,
    },
    /// Two sources for one place.
    #[error("planning {path} on the ESP: wanted by {first} and by {second}{}", if *folded { "; FAT knows no case" } else { "" })]
    Conflict {
        /// The path, as the second has it.
        path: String,
        /// Who came first.
        first: String,
        /// Who came second.
        second: String,
        /// Whether they differ in case.
        folded: bool,
    },
}

/// A tree without conflicts, parents included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EspTree {
    /// By path, all letters large: what FAT compares.
    nodes: BTreeMap<Vec<String>, Placed>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Placed {
    path: Vec<String>,
    what: EspNode,
    why: String,
}

/// A node in its place.
#[derive(Debug, Clone, Copy)]
pub struct EspItem<'a> {
    /// Its path, name by name.
    pub path: &'a [String],
    /// What it is.
    pub what: EspNode,
    /// Who wants it.
    pub why: &'a str,
}

impl EspItem<'_> {
    /// Its name.
    pub fn name(&self) -> &str {
        self.path.last().map_or("", String::as_str)
    }
}

impl EspTree {
    /// Puts everything in its place; directories that are needed come into being.
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
            return Err(TreeError::Name { path, why, rule });
        }
        if let EspNode::File { len, .. } = what
            && len > LARGEST_FILE
        {
            return Err(TreeError::TooLarge { path, why, len });
        }
        if names.is_empty() {
            let rule = "a file needs a name there";
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

    /// Everything, parents before what is in them, the same order every time.
    pub fn items(&self) -> impl Iterator<Item = EspItem<'_>> {
        self.nodes.values().map(|placed| EspItem { path: &placed.path, what: placed.what, why: &placed.why })
    }

    /// How much room it takes, in entries as the fatfs crate writes them: long names for all, "." and ".." included.
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

/// As the fatfs crate compares names (0.3.6, `eq_name`), which is coarser than FAT: `ß` is `SS` to it. What it takes for one
/// name it would write into one file.
fn fold(name: &str) -> String {
    name.chars().flat_map(char::to_uppercase).collect()
}

/// The rule of long names that a name breaks (Microsoft's FAT specification, section 7), or that fatfs has (0.3.6).
fn broken_rule(name: &str) -> Option<&'static str> {
    let allowed = |letter: char| match letter {
        '"' | '*' | '/' | ':' | '<' | '>' | '?' | '\\' | '|' | '\x7f' => false,
        letter => letter >= ' ',
    };
    if name == "." || name == ".." {
        Some("paths there have no \".\" or \"..\" in them")
    } else if !name.chars().all(allowed) {
        Some("FAT takes no control characters in names, and none of \" * : < > ? |")
    } else if name.chars().any(|letter| letter > '\u{FFFF}') {
        Some("characters beyond U+FFFF cannot be written there")
    } else if name.len() > LONGEST_NAME {
        Some("names of more than 255 bytes cannot be written there")
    } else if name.ends_with(['.', ' ']) || name.starts_with(' ') {
        Some("names on FAT do not begin with a space, nor end with a dot or a space")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{EspEntry, EspNode, EspTree, TreeError};
    use crate::disk::plan::fat::FatKind;

    fn file(path: &str, len: u64) -> EspEntry {
        EspEntry { path: path.into(), what: EspNode::File { len, source: 0 }, why: format!("--add-file {path}") }
    }

    fn refused(entries: &[(&str, u64)]) -> String {
        let error = EspTree::new(entries.iter().map(|(path, len)| file(path, *len))).expect_err("refused");
        error.to_string()
    }

    #[test]
    fn parents_come_first_and_case_does_not_matter() {
        let tree = EspTree::new([file("EFI/BOOT/BOOTX64.EFI", 5), file("/efi\\boot/x.cfg", 1), file("a", 0)]);
        let paths: Vec<String> = tree.expect("a tree").items().map(|item| item.path.join("/")).collect();
        assert_eq!(paths, ["a", "EFI", "EFI/BOOT", "EFI/BOOT/BOOTX64.EFI", "efi/boot/x.cfg"]);
    }

    #[test]
    fn two_sources_for_one_place_are_both_named() {
        assert_eq!(
            refused(&[("EFI/BOOT/BOOTX64.EFI", 1), ("efi/boot/bootx64.efi", 1)]),
            "planning efi/boot/bootx64.efi on the ESP: wanted by --add-file EFI/BOOT/BOOTX64.EFI and by --add-file \
             efi/boot/bootx64.efi; FAT knows no case"
        );
        assert_eq!(
            refused(&[("a", 1), ("a/b", 1)]),
            "planning a on the ESP: wanted by --add-file a and by --add-file a/b"
        );
        assert!(refused(&[("größe", 1), ("GRÖSSE", 1)]).ends_with("FAT knows no case"));
        assert!(refused(&[("a/b", 1), ("a", 1)]).contains("wanted by --add-file a/b and by --add-file a"));
    }

    #[test]
    fn names_that_fat_does_not_take_are_refused() {
        for name in ["a:b", "a*", "x/../y", "x.", "y ", " z", "\u{1F600}", "tab\t", "what?", "", "/"] {
            let error = EspTree::new([file(name, 1)]).expect_err(name);
            assert!(matches!(error, TreeError::Name { .. }), "{name}: {error}");
        }
        assert!(EspTree::new([file(&"ü".repeat(128), 1)]).is_err());
        assert!(EspTree::new([file("fine name (1) [x] {y} ~!@#$%^&'`+,;=.cfg", 1), file("größe", 1)]).is_ok());
        assert!(refused(&[("big", 1 << 32)]).ends_with("4294967296 bytes, but a file on FAT is smaller than 4 GiB"));
    }

    #[test]
    fn room_is_counted_in_entries() {
        let tree = EspTree::new([file("EFI/BOOT/BOOTX64.EFI", 5), file("a-name-of-more-than-13.conf", 600)]);
        let contents = tree.expect("a tree").contents();
        // A label, a short name, and a name of three parts, each with its own entry.
        assert_eq!(contents.root_entries(), 1 + 2 + 4);
        assert_eq!(contents.clusters(512, FatKind::Fat16), 1 + 2 + 2);
        assert_eq!(contents.clusters(512, FatKind::Fat32), 1 + 2 + 2 + 1);
    }
}
