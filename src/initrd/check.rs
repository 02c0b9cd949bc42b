//! The rules of newc and of the kernel that unpacks it (`init/initramfs.c`), checked once.
//!
//! The kernel skips what it does not like in silence, so everything it would skip is refused here.

use std::collections::{BTreeMap, HashMap};

use super::entry::describe;
use super::{NameRule, PlanError, build::Plan, entry::Entry};
use crate::format::archive_path::{ArchivePath, PATH_MAX};
use crate::root::fact::Node;

/// The kernel's `NAME_MAX`.
const NAME_MAX: usize = 255;
/// The name that ends an archive.
const TRAILER: &[u8] = b"TRAILER!!!";

/// What an archive is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A whole image: the kernel must find `/init` in it.
    Image,
    /// A segment behind another archive, which may have `/init` already.
    Overlay,
}

/// A plan that can be written: what is left to fail is the output, and sources that have changed since.
#[derive(Debug, Clone)]
pub struct CheckedPlan {
    plan: Plan,
    /// One for each entry, in the entries' order.
    numbers: Vec<Number>,
}

/// What an entry is numbered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Number {
    ino: u32,
    nlink: u32,
    carries_data: bool,
}

/// One member of the archive to be.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    /// Its name.
    pub path: &'a ArchivePath,
    /// What it is.
    pub entry: &'a Entry,
    /// Inode number: unique but for hard links of one file.
    pub ino: u32,
    /// How many members are this file.
    pub nlink: u32,
    /// False for all but the last hard link of a file: GNU cpio and `gen_init_cpio` put the data there.
    pub carries_data: bool,
}

impl Plan {
    /// Checks everything that can be checked without looking at the sources.
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

    /// The kernel runs `/init` if it may execute it (`init/main.c`, `kernel_init_freeable`), else it looks for a root file system.
    fn check_init(&self) -> Result<(), PlanError> {
        let place = self.follow(&ArchivePath::new("/init"));
        match place.and_then(|place| self.entries.get(&place)).map(|entry| &entry.node) {
            Some(Node::File { mode, .. }) if mode & 0o111 != 0 => Ok(()),
            Some(Node::File { mode, .. }) => Err(PlanError::Init(format!("mode {mode:04o} lets nobody execute it"))),
            Some(other) => Err(PlanError::Init(format!("{} is nothing the kernel can execute", describe(other)))),
            None => Err(PlanError::Init("the image has no such program for the kernel to start".to_owned())),
        }
    }
}

impl CheckedPlan {
    /// The members, in the order of the archive.
    pub fn members(&self) -> impl Iterator<Item = Member<'_>> {
        self.plan.entries.iter().zip(&self.numbers).map(|((path, entry), number)| Member {
            path,
            entry,
            ino: number.ino,
            nlink: number.nlink,
            carries_data: number.carries_data,
        })
    }

    /// The plan itself.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}

/// Names the kernel would skip, cut or refuse.
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

/// What the header's fields and the kernel's buffers can hold.
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

/// What makes two files one: device and inode on the host; mode and length too, should the host have changed meanwhile.
fn link_key(entry: &Entry) -> Option<(u64, u64, u16, u64)> {
    match &entry.node {
        Node::File { hardlink: Some((dev, ino)), mode, content } => Some((*dev, *ino, *mode, content.len())),
        _ => None,
    }
}

/// Gives out inode numbers by order; hard links of a file share one.
fn number(entries: &BTreeMap<ArchivePath, Entry>) -> Vec<Number> {
    let mut groups: HashMap<(u64, u64, u16, u64), Vec<usize>> = HashMap::new();
    for (index, entry) in entries.values().enumerate() {
        if let Some(key) = link_key(entry) {
            groups.entry(key).or_default().push(index);
        }
    }
    // Nobody plans four thousand million entries: each of them is larger than a byte.
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
    fn names_and_targets_are_held_to_what_the_kernel_takes() {
        let long = format!("/{}", vec!["x".repeat(199); 21].join("/"));
        assert!(refused(fact(&long, file(0o644, 0, None))).ends_with(
            "(requested by test): name of 4200 bytes with its NUL, but the kernel skips names of more than 4096"
        ));
        let fits = format!("/{}/{}", vec!["x".repeat(199); 20].join("/"), "y".repeat(95));
        assert_eq!(fits.len(), 4096);
        let plan = Plan::from_facts([fact(&fits, file(0o644, 0, None))]).expect("a plan");
        assert!(plan.check(Purpose::Overlay).is_ok());
        assert!(refused(fact(&"y".repeat(256), file(0o644, 0, None))).contains("component of 256 bytes"));
        assert!(refused(fact("a\0b", file(0o644, 0, None))).contains("NUL"));
        assert!(refused(fact("TRAILER!!!", file(0o644, 0, None))).contains("end of a newc archive"));
        assert!(refused(fact("a", Node::Symlink { target: vec![] })).contains("without a target"));
        assert!(refused(fact("a", Node::Symlink { target: vec![b'x'; 4096] })).contains("of 4097 bytes"));
        assert!(refused(fact("a", Node::Symlink { target: b"x\0y".to_vec() })).contains("target with a NUL"));
    }

    #[test]
    fn a_member_of_4_gib_is_refused_by_name_and_size() {
        assert_eq!(
            refused(fact("/big", file(0o644, 1 << 32, None))),
            "planning /big (requested by test): 4294967296 bytes, but a member of a newc archive is smaller than 4 GiB"
        );
        let plan = Plan::from_facts([fact("/big", file(0o644, (1 << 32) - 1, None))]).expect("a plan");
        assert!(plan.check(Purpose::Overlay).is_ok());
    }

    #[test]
    fn nothing_stands_below_a_file() {
        let plan = Plan::from_facts([fact("/a", file(0o644, 1, None)), fact("/a/b", file(0o644, 1, None))]);
        let error = plan.expect("a plan").check(Purpose::Overlay).expect_err("refused");
        assert_eq!(
            error.to_string(),
            "planning /a/b (requested by test): /a is file /nowhere (1 bytes, mode 0644), not a directory"
        );
    }

    #[test]
    fn an_image_needs_an_init_that_can_be_executed() {
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
    fn hard_links_share_a_number_and_the_last_one_carries_the_data() {
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
