//! Walks the complete tree of a volume. Reads each directory once, so that a hostile volume takes bounded time.

use std::collections::HashSet;

use super::directory::{Entry, EntryKind};
use super::fault::Fault;
use super::volume::Volume;
use crate::format::Medium;

/// Maximum entries read per volume.
pub const MAX_ENTRIES: usize = 100_000;
/// Maximum depth of directories.
const MAX_DEPTH: usize = 64;
/// Maximum bytes of all directories: extents that overlap would be read again and again.
const MAX_BYTES: u64 = 64 << 20;
/// Maximum bytes of all paths.
const MAX_TEXT: usize = 64 << 20;

/// File, directory or link in the tree.
#[derive(Debug)]
pub struct Node {
    /// Path from the root, separated by `/`.
    pub path: String,
    /// Directory entry.
    pub entry: Entry,
}

/// Complete tree of a volume.
#[derive(Debug, Default)]
pub struct Tree {
    /// Entries; a directory precedes its entries.
    pub nodes: Vec<Node>,
    /// Directories that cannot be read, with the reason; an empty path is the root.
    pub faults: Vec<(String, Fault)>,
    /// True if a limit was reached and the tree is incomplete.
    pub truncated: bool,
}

impl<M: Medium> Volume<M> {
    /// Walks the complete tree.
    pub fn tree(&self) -> Tree {
        let mut tree = Tree::default();
        let mut seen = HashSet::new();
        let (mut left, mut text) = (MAX_BYTES, 0);
        let mut waiting: Vec<(Option<Entry>, String, usize)> = vec![(None, String::new(), 0)];
        while let Some((directory, path, depth)) = waiting.pop() {
            let place = match self.place(directory.as_ref()) {
                Ok(place) => place,
                Err(fault) => {
                    tree.faults.push((path, fault));
                    continue;
                }
            };
            if !seen.insert(place.0) {
                continue;
            }
            let Some(rest) = left.checked_sub(place.1).filter(|_| depth <= MAX_DEPTH) else {
                tree.truncated = true;
                continue;
            };
            left = rest;
            let entries = match self.list(directory.as_ref()) {
                Ok(entries) => entries,
                Err(fault) => {
                    tree.faults.push((path, fault));
                    continue;
                }
            };
            text += entries.iter().map(|entry| path.len() + 1 + entry.name.len()).sum::<usize>();
            if tree.nodes.len() + entries.len() > MAX_ENTRIES || text > MAX_TEXT {
                tree.truncated = true;
                continue;
            }
            let mut below = Vec::new();
            for entry in entries {
                let full = if path.is_empty() { entry.name.clone() } else { format!("{path}/{}", entry.name) };
                if entry.kind == EntryKind::Directory {
                    below.push((Some(entry.clone()), full.clone(), depth + 1));
                }
                tree.nodes.push(Node { path: full, entry });
            }
            waiting.extend(below.into_iter().rev());
        }
        tree
    }
}
