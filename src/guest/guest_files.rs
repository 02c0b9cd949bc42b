//! Files that earlier commands have copied into a persistent guest, so that they are not copied again.
//!
//! Writing a program again costs more than the copy: under TCG all of its code is translated again.

use std::collections::{HashMap, HashSet};
use std::fs;

use crate::cache::Stamp;
use crate::format::archive_path::ArchivePath;
use crate::initrd::{
    PlanError,
    check::{CheckedPlan, Purpose},
    entry::Entry,
};
use crate::root::fact::{Content, Node, Why};

/// Files of the host and links, as they were when they were copied.
#[derive(Debug, Default)]
pub(super) struct GuestFiles(HashMap<ArchivePath, FileState>);

/// State of one path.
#[derive(Debug, PartialEq, Eq)]
struct FileState {
    node: Node,
    /// Identity of the host's file; `None` for a link.
    stamp: Option<Stamp>,
}

impl FileState {
    /// Returns `None` for entries that must be copied each time, such as the job.
    fn of(entry: &Entry) -> Option<Self> {
        // A command may change files that the user named: the next command gets the host's version again.
        if entry.whys.iter().any(|why| matches!(why, Why::Asked(_))) {
            return None;
        }
        let stamp = match &entry.node {
            Node::Symlink { .. } => None,
            Node::File { content: Content::Host { path, .. }, .. } => Some(Stamp::of(&fs::metadata(path).ok()?)),
            Node::File { .. }
            | Node::Dir { .. }
            | Node::Char { .. }
            | Node::Block { .. }
            | Node::Fifo { .. }
            | Node::Socket { .. } => return None,
        };
        Some(Self { node: entry.node.clone(), stamp })
    }
}

/// Identity of a host file with several names.
fn linked(entry: &Entry) -> Option<(u64, u64)> {
    match &entry.node {
        Node::File { hardlink, .. } => *hardlink,
        Node::Dir { .. }
        | Node::Symlink { .. }
        | Node::Char { .. }
        | Node::Block { .. }
        | Node::Fifo { .. }
        | Node::Socket { .. } => None,
    }
}

impl GuestFiles {
    /// Returns the part of a payload that the guest lacks or has in another version. All names of a file stay together, so that
    /// hard links stay links.
    pub(crate) fn missing_part(&self, payload: &CheckedPlan) -> Result<CheckedPlan, PlanError> {
        let entries = payload.plan().entries();
        let is_there = |path: &ArchivePath, entry: &Entry| {
            self.0.get(path).is_some_and(|known| FileState::of(entry).is_some_and(|thing| thing == *known))
        };
        let there: HashSet<&ArchivePath> =
            entries.iter().filter(|(path, entry)| is_there(path, entry)).map(|(path, _)| path).collect();
        let is_new = |(path, entry): (&ArchivePath, &Entry)| linked(entry).filter(|_| !there.contains(path));
        let new: HashSet<(u64, u64)> = entries.iter().filter_map(is_new).collect();
        let is_left_out = |path: &ArchivePath, entry: &Entry| {
            there.contains(path) && linked(entry).is_none_or(|file| !new.contains(&file))
        };
        payload.plan().without(is_left_out).check(Purpose::Overlay)
    }

    /// Records that all of `payload` is in the guest now.
    pub(crate) fn add(&mut self, payload: &CheckedPlan) {
        for (path, entry) in payload.plan().entries() {
            match FileState::of(entry) {
                Some(thing) => drop(self.0.insert(path.clone(), thing)),
                None => drop(self.0.remove(path)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::GuestFiles;
    use crate::format::archive_path::ArchivePath;
    use crate::initrd::{
        build::Plan,
        check::{CheckedPlan, Purpose},
    };
    use crate::root::fact::{Content, Fact, Node, Why};
    use std::path::Path;

    fn linked(file: &Path, names: &[&str]) -> CheckedPlan {
        let len = std::fs::metadata(file).expect("it is there").len();
        let facts = names.iter().map(|name| {
            let content = Content::Host { path: file.to_owned(), len };
            let node = Node::File { mode: 0o755, content, hardlink: Some((1, 2)) };
            Fact { path: ArchivePath::new(name), node, why: Why::Base }
        });
        Plan::from_facts(facts).expect("a plan").check(Purpose::Overlay).expect("a good one")
    }

    #[test]
    fn all_names_of_a_file_are_sent_together() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let mut brought = GuestFiles::default();
        brought.add(&linked(file.path(), &["/bin/a", "/bin/b"]));
        assert!(names(&brought.missing_part(&linked(file.path(), &["/bin/a", "/bin/b"])).expect("a plan")).is_empty());
        let more = brought.missing_part(&linked(file.path(), &["/bin/a", "/bin/b", "/bin/c"])).expect("a plan");
        assert_eq!(names(&more).len(), 3);
    }

    fn payload(file: &Path, job: &[u8]) -> CheckedPlan {
        let fact = |path: &str, node: Node| Fact { path: ArchivePath::new(path), node, why: Why::Base };
        let len = std::fs::metadata(file).expect("it is there").len();
        let content = Content::Host { path: file.to_owned(), len };
        let facts = [
            fact("/bin/x", Node::File { mode: 0o755, content, hardlink: None }),
            fact("/bin/y", Node::Symlink { target: b"x".to_vec() }),
            fact("/job", Node::File { mode: 0o644, content: Content::Bytes(job.into()), hardlink: None }),
        ];
        Plan::from_facts(facts).expect("a plan").check(Purpose::Overlay).expect("a good one")
    }

    fn names(plan: &CheckedPlan) -> Vec<String> {
        plan.plan().entries().keys().map(ToString::to_string).filter(|name| name.len() > 4 || name == "/job").collect()
    }

    #[test]
    fn an_unchanged_file_is_not_sent_again_and_a_changed_one_is() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("x");
        std::fs::write(&file, "one").expect("written");
        let mut brought = GuestFiles::default();
        let first = payload(&file, b"1");
        assert_eq!(names(&brought.missing_part(&first).expect("a plan")).len(), 3);
        brought.add(&first);
        // Each command has its own job.
        assert_eq!(names(&brought.missing_part(&payload(&file, b"1")).expect("a plan")).len(), 1);
        std::fs::write(&file, "other").expect("written");
        assert_eq!(names(&brought.missing_part(&payload(&file, b"2")).expect("a plan")).len(), 2);
    }
}
