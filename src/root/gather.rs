//! Collects facts: one per path; entries with weak reasons give way to those with strong ones.

use std::collections::{HashMap, HashSet};
use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::directory::{Hop, Resolved, Root};
use super::fact::{Content, Fact, Node, Why};
use crate::format::archive_path::ArchivePath;

/// Facts and notes collected from a root.
#[derive(Debug)]
pub(crate) struct Gathered<'a> {
    root: &'a Root,
    facts: Vec<Fact>,
    /// Index of the last fact for each path.
    at: HashMap<ArchivePath, usize>,
    notes: Vec<String>,
    noted: HashSet<String>,
}

impl<'a> Gathered<'a> {
    /// Creates an empty collection.
    pub(crate) fn new(root: &'a Root) -> Self {
        Self { root, facts: Vec::new(), at: HashMap::new(), notes: Vec::new(), noted: HashSet::new() }
    }

    /// Returns the facts and notes, in insertion order.
    pub(crate) fn finish(self) -> (Vec<Fact>, Vec<String>) {
        (self.facts, self.notes)
    }

    /// Returns the facts collected so far, one for each path.
    pub(crate) fn current(&self) -> impl Iterator<Item = &Fact> {
        self.facts
            .iter()
            .enumerate()
            .filter(|(index, fact)| self.at.get(&fact.path) == Some(index))
            .map(|(_, fact)| fact)
    }

    /// Replaces the content of a file that is included.
    pub(crate) fn replace_content(&mut self, path: &ArchivePath, new: &Content) {
        for fact in self.facts.iter_mut().filter(|fact| fact.path == *path) {
            if let Node::File { content, hardlink, .. } = &mut fact.node {
                // Its other names keep the content of the host's file.
                (*content, *hardlink) = (new.clone(), None);
            }
        }
    }

    /// Returns true if there is a fact for exactly this path.
    pub(crate) fn has(&self, path: &ArchivePath) -> bool {
        self.at.contains_key(path)
    }

    /// Adds a note, unless it has been added before.
    pub(crate) fn note(&mut self, note: String) {
        if self.noted.insert(note.clone()) {
            self.notes.push(note);
        }
    }

    /// Adds a fact. A second reason for an identical entry is ignored. Directories are merged, and the user's mount
    /// points and device nodes replace those of the base layout. Other conflicts are left to the plan.
    pub(crate) fn add(&mut self, path: ArchivePath, node: Node, why: Why) {
        if path.is_root() {
            return;
        }
        if let Some(known) = self.at.get(&path).and_then(|index| self.facts.get_mut(*index)) {
            let both_dirs = matches!((&known.node, &node), (Node::Dir { .. }, Node::Dir { .. }));
            let both_nodes = matches!((&known.node, &node), (Node::Char { .. }, Node::Char { .. }));
            let ours = known.why == Why::Base && (both_dirs || both_nodes);
            if known.node == node || both_dirs || ours {
                if known.why.gives_way() || ours {
                    (known.node, known.why) = (node, why);
                }
                return;
            }
            if why.gives_way() {
                return;
            }
        }
        self.at.insert(path.clone(), self.facts.len());
        self.facts.push(Fact { path, node, why });
    }

    /// Adds the links that lead to `real`.
    pub(crate) fn hops(&mut self, hops: &[Hop], real: &ArchivePath) {
        for hop in hops {
            let target = hop.target.clone().into_os_string().into_vec();
            self.add(hop.link.clone(), Node::Symlink { target }, Why::LinkTo { path: real.clone() });
        }
    }

    /// Adds a file and the links that lead to it.
    pub(crate) fn file(&mut self, found: &Resolved, why: Why) {
        self.hops(&found.hops, &found.real);
        let node = regular(&found.metadata, &self.root.host_path(&found.real));
        self.add(found.real.clone(), node, why);
    }
}

/// Size limit of a file without a size, bytes.
const MAX_UNSIZED: u64 = 16 << 20;

/// Reads a file of a file system whose files have no size or a wrong one, such as procfs and sysfs. Returns `None` for
/// all other files.
fn unsized_content(metadata: &Metadata, host: &Path) -> io::Result<Option<Content>> {
    // Magic numbers of procfs, sysfs, debugfs, tracefs, cgroup, cgroup2, securityfs and configfs
    // (`include/uapi/linux/magic.h`).
    const UNSIZED: [u32; 8] =
        [0x9fa0, 0x6265_6572, 0x6462_6720, 0x7472_6163, 0x0027_e0eb, 0x6367_7270, 0x7363_6673, 0x6265_6570];
    if metadata.blocks() != 0
        || !u32::try_from(rustix::fs::statfs(host)?.f_type).is_ok_and(|kind| UNSIZED.contains(&kind))
    {
        return Ok(None);
    }
    // Reading the kernel's log must not wait for its next line.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(host)?;
    let mut bytes = Vec::new();
    if file.take(MAX_UNSIZED + 1).read_to_end(&mut bytes)? as u64 > MAX_UNSIZED {
        return Err(io::Error::other(format!("more than {} MiB", MAX_UNSIZED >> 20)));
    }
    Ok(Some(Content::Bytes(bytes.into())))
}

/// Returns the node of a regular file.
fn regular(metadata: &Metadata, host: &Path) -> Node {
    Node::File {
        mode: permissions(metadata),
        content: Content::Host { path: host.to_path_buf(), len: metadata.len() },
        hardlink: (metadata.nlink() > 1).then(|| (metadata.dev(), metadata.ino())),
    }
}

/// Returns the node of the file at `host`, links not followed.
pub(crate) fn node(metadata: &Metadata, host: &Path) -> io::Result<Node> {
    let mode = permissions(metadata);
    let kind = metadata.file_type();
    let (major, minor) = (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
    Ok(if kind.is_dir() {
        Node::Dir { mode }
    } else if kind.is_symlink() {
        Node::Symlink { target: fs::read_link(host)?.into_os_string().into_vec() }
    } else if kind.is_char_device() {
        Node::Char { mode, major, minor }
    } else if kind.is_block_device() {
        Node::Block { mode, major, minor }
    } else if kind.is_fifo() {
        Node::Fifo { mode }
    } else if kind.is_socket() {
        Node::Socket { mode }
    } else if let Some(content) = unsized_content(metadata, host)? {
        Node::File { mode, content, hardlink: None }
    } else {
        regular(metadata, host)
    })
}

fn permissions(metadata: &Metadata) -> u16 {
    (metadata.mode() & 0o7777) as u16
}
