//! Checks of a plan against the rules of the newc format and of the kernel's unpacker (`init/initramfs.c`).
//!
//! The kernel silently skips invalid members. This module refuses everything that the kernel would skip.

use std::collections::{BTreeMap, HashMap};

use super::entry::describe;
use super::{NameRule, PlanError, build::Plan, entry::Entry};
use crate::format::archive_path::{ArchivePath, PATH_MAX};
use crate::format::newc::TRAILER;
use crate::root::fact::Node;

/// The kernel's `NAME_MAX`.
const NAME_MAX: usize = 255;

/// Purpose of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A complete image: it must contain `/init`.
    Image,
    /// A segment that follows another archive, which may already contain `/init`.
    Overlay,
}

/// A plan that can be written. Only output errors and changed sources can still make the write fail.
#[derive(Debug, Clone)]
pub struct CheckedPlan {
    plan: Plan,
    /// One element per entry, in the order of the entries.
    numbers: Vec<Number>,
}

/// Inode number and link count of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Number {
    ino: u32,
    nlink: u32,
    carries_data: bool,
}

/// A planned member of the archive.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    /// Name.
    pub path: &'a ArchivePath,
    /// Entry of the plan.
    pub entry: &'a Entry,
    /// Inode number: unique, except that hard links of one file share it.
    pub ino: u32,
    /// Link count: the number of members that are this file.
    pub nlink: u32,
    /// True for all members except hard links before the last one of a file. GNU cpio and `gen_init_cpio` store the
    /// data with the last link, too.
    pub carries_data: bool,
}

impl Plan {
    /// Checks everything that can be checked without reading the sources.
    pub fn check(self, purpose: Purpose) -> Result<CheckedPlan, PlanError> {
        for (path, entry) in &self.entries {
            check_name(path, entry)?;
            check_node(path, entry)?;
            if let Some(parent) = path.parent()
                && let Some(above) = self.entries.get(&parent)
                && !matches!(above.node, Node::Dir { .. })
            {
                let (path, why) = (path.clone(), Box::new(entry.first_why()));
                return Err(PlanError::ParentNotDirectory { path, why, parent, what: describe(&above.node) });
            }
        }
        match purpose {
            Purpose::Image => self.check_init()?,
            Purpose::Overlay => {}
        }
        let numbers = number(&self.entries);
        Ok(CheckedPlan { plan: self, numbers })
    }

    /// Checks that `/init` is an executable file. Otherwise, the kernel would search for a root file system
    /// (`init/main.c`, `kernel_init_freeable`).
    fn check_init(&self) -> Result<(), PlanError> {
        let place = self.follow(&ArchivePath::new("/init"));
        match place.and_then(|place| self.entries.get(&place)).map(|entry| &entry.node) {
            Some(Node::File { mode, .. }) if mode & 0o111 != 0 => Ok(()),
            Some(Node::File { mode, .. }) => Err(PlanError::Init(format!("mode {mode:04o} has no execute permission"))),
            Some(other) => Err(PlanError::Init(format!("expected an executable file, found {}", describe(other)))),
            None => Err(PlanError::Init("missing from the image, so the kernel has no program to start".to_owned())),
        }
    }
}

impl CheckedPlan {
    /// Returns the members in archive order.
    pub fn members(&self) -> impl Iterator<Item = Member<'_>> {
        self.plan.entries.iter().zip(&self.numbers).map(|((path, entry), number)| Member {
            path,
            entry,
            ino: number.ino,
            nlink: number.nlink,
            carries_data: number.carries_data,
        })
    }

    /// Returns the underlying plan.
    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }
}

/// Refuses names that the kernel would skip, truncate or refuse.
fn check_name(path: &ArchivePath, entry: &Entry) -> Result<(), PlanError> {
    let name = path.as_bytes();
    let longest = name.split(|byte| *byte == b'/').map(<[u8]>::len).max().unwrap_or(0);
    let rule = if name.contains(&0) {
        NameRule::Nul
    } else if name.len() >= PATH_MAX {
        NameRule::TooLong(name.len() + 1)
    } else if longest > NAME_MAX {
        NameRule::ComponentTooLong(longest)
    } else if name == TRAILER {
        NameRule::Trailer
    } else {
        return Ok(());
    };
    Err(PlanError::Name { path: path.clone(), why: Box::new(entry.first_why()), rule })
}

/// Refuses nodes that do not fit the header fields or the kernel's buffers.
fn check_node(path: &ArchivePath, entry: &Entry) -> Result<(), PlanError> {
    match &entry.node {
        Node::File { content, .. } if u32::try_from(content.len()).is_err() => {
            let (path, why) = (path.clone(), Box::new(entry.first_why()));
            Err(PlanError::TooLarge { path, why, len: content.len() })
        }
        Node::Symlink { target } => {
            let rule = if target.is_empty() {
                NameRule::TargetEmpty
            } else if target.contains(&0) {
                NameRule::TargetNul
            } else if target.len() >= PATH_MAX {
                NameRule::TargetTooLong(target.len() + 1)
            } else {
                return Ok(());
            };
            Err(PlanError::Name { path: path.clone(), why: Box::new(entry.first_why()), rule })
        }
        Node::Dir { .. }
        | Node::File { .. }
        | Node::Char { .. }
        | Node::Block { .. }
        | Node::Fifo { .. }
        | Node::Socket { .. } => Ok(()),
    }
}

/// Key that hard links of one file share: device and inode on the host. Mode and length are part of it because the file
/// may have changed between two lookups.
fn link_key(entry: &Entry) -> Option<(u64, u64, u16, u64)> {
    match &entry.node {
        Node::File { hardlink: Some((dev, ino)), mode, content } => Some((*dev, *ino, *mode, content.len())),
        _ => None,
    }
}

/// Assigns inode numbers in entry order. Hard links of a file share a number.
fn number(entries: &BTreeMap<ArchivePath, Entry>) -> Vec<Number> {
    let mut groups: HashMap<(u64, u64, u16, u64), Vec<usize>> = HashMap::new();
    for (index, entry) in entries.values().enumerate() {
        if let Some(key) = link_key(entry) {
            groups.entry(key).or_default().push(index);
        }
    }
    // A plan with 2^32 entries does not fit in memory.
    let own = |index: usize| u32::try_from(index + 1).unwrap_or(u32::MAX);
    let numbered = entries.values().enumerate().map(|(index, entry)| {
        let group = link_key(entry).and_then(|key| groups.get(&key)).map(Vec::as_slice);
        match group {
            Some(&[first, .., last]) => {
                let nlink = group.map_or(1, |group| u32::try_from(group.len()).unwrap_or(u32::MAX));
                Number { ino: own(first), nlink, carries_data: index == last }
            }
            Some([] | [_]) | None => Number { ino: own(index), nlink: 1, carries_data: true },
        }
    });
    numbered.collect()
}

#[cfg(test)]
mod tests {
    use super::{Plan, PlanError, Purpose};
    use crate::format::archive_path::ArchivePath;
    use crate::root::fact::{Content, Fact, Node, Why};
    use std::path::PathBuf;

    fn fact(path: &str, node: Node) -> Fact {
        Fact { path: ArchivePath::new(path), node, why: Why::Asked("test".into()) }
    }

    fn file(mode: u16, len: u64, hardlink: Option<(u64, u64)>) -> Node {
        Node::File { mode, content: Content::Host { path: PathBuf::from("/nowhere"), len }, hardlink }
    }

    fn refused(fact: Fact) -> String {
        let plan = Plan::from_facts([fact]).expect("a plan");
        plan.check(Purpose::Overlay).expect_err("refused").to_string()
    }

    #[test]
    fn names_and_targets_that_the_kernel_cannot_unpack_are_refused() {
        let long = format!("/{}", vec!["x".repeat(199); 21].join("/"));
        assert!(refused(fact(&long, file(0o644, 0, None))).ends_with(
            "(requested by test): name of 4200 bytes including its NUL; the kernel skips names longer than 4096 bytes"
        ));
        let fits = format!("/{}/{}", vec!["x".repeat(199); 20].join("/"), "y".repeat(95));
        assert_eq!(fits.len(), 4096);
        let plan = Plan::from_facts([fact(&fits, file(0o644, 0, None))]).expect("a plan");
        assert!(plan.check(Purpose::Overlay).is_ok());
        assert!(refused(fact(&"y".repeat(256), file(0o644, 0, None))).contains("component of 256 bytes"));
        assert!(refused(fact("a\0b", file(0o644, 0, None))).contains("NUL"));
        assert!(refused(fact("TRAILER!!!", file(0o644, 0, None))).contains("end of a newc archive"));
        assert!(refused(fact("a", Node::Symlink { target: vec![] })).contains("empty link target"));
        assert!(refused(fact("a", Node::Symlink { target: vec![b'x'; 4096] })).contains("of 4097 bytes"));
        assert!(refused(fact("a", Node::Symlink { target: b"x\0y".to_vec() })).contains("target contains a NUL"));
    }

    #[test]
    fn the_error_for_a_file_of_4_gib_names_the_file_and_its_size() {
        assert_eq!(
            refused(fact("/big", file(0o644, 1 << 32, None))),
            "/big (requested by test): file of 4294967296 bytes is too large for a newc archive (must be smaller than 4 GiB)"
        );
        let plan = Plan::from_facts([fact("/big", file(0o644, (1 << 32) - 1, None))]).expect("a plan");
        assert!(plan.check(Purpose::Overlay).is_ok());
    }

    #[test]
    fn an_entry_below_a_file_is_refused() {
        let plan = Plan::from_facts([fact("/a", file(0o644, 1, None)), fact("/a/b", file(0o644, 1, None))]);
        let error = plan.expect("a plan").check(Purpose::Overlay).expect_err("refused");
        assert_eq!(
            error.to_string(),
            "/a/b (requested by test): expected a directory at /a, found file /nowhere (1 bytes, mode 0644)"
        );
    }

    #[test]
    fn an_image_without_an_executable_init_is_refused() {
        let check = |facts: Vec<Fact>| Plan::from_facts(facts).expect("a plan").check(Purpose::Image);
        assert!(matches!(check(vec![]), Err(PlanError::Init(_))));
        assert!(matches!(check(vec![fact("/init", file(0o644, 1, None))]), Err(PlanError::Init(_))));
        assert!(matches!(check(vec![fact("/init", Node::Dir { mode: 0o755 })]), Err(PlanError::Init(_))));
        assert!(check(vec![fact("/init", file(0o755, 1, None))]).is_ok());
        let link = Node::Symlink { target: b"bin/sh".to_vec() };
        assert!(check(vec![fact("/init", link.clone()), fact("/bin/sh", file(0o755, 1, None))]).is_ok());
        assert!(matches!(check(vec![fact("/init", link)]), Err(PlanError::Init(_))));
    }

    #[test]
    fn hard_links_share_an_inode_number_and_the_last_one_carries_the_data() {
        let plan = Plan::from_facts([
            fact("/a", file(0o644, 5, Some((1, 7)))),
            fact("/b", file(0o644, 5, Some((2, 7)))),
            fact("/c", file(0o644, 5, Some((1, 7)))),
            fact("/d", file(0o644, 5, None)),
            fact("/e", file(0o644, 5, Some((1, 7)))),
        ]);
        let checked = plan.expect("a plan").check(Purpose::Overlay).expect("sound");
        let numbers: Vec<_> = checked.members().map(|m| (m.ino, m.nlink, m.carries_data)).collect();
        assert_eq!(numbers, [(1, 3, false), (2, 1, true), (1, 3, false), (4, 1, true), (1, 3, true)]);
    }
}
