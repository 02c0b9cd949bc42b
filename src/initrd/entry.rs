//! An entry of a plan: a node and all reasons for it.

use std::fmt::Write;
use std::fs::File;
use std::io::{self, BufRead, BufReader};

use crate::root::fact::{Content, Node, Why};

/// A node and all reasons for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The node.
    pub node: Node,
    /// Reasons for the node, in the order in which they were found. Never empty.
    pub(crate) whys: Vec<Why>,
}

impl Entry {
    /// Returns the reason that messages report.
    pub(super) fn first_why(&self) -> Why {
        self.whys.first().cloned().unwrap_or(Why::Base)
    }

    /// Returns `st_mode`: the file type and the permission bits (`inode(7)`).
    pub fn st_mode(&self) -> u32 {
        let (kind, mode) = match &self.node {
            Node::Dir { mode } => (0o040_000, *mode),
            Node::File { mode, .. } => (0o100_000, *mode),
            Node::Symlink { .. } => (0o120_000, 0o777),
            Node::Char { mode, .. } => (0o020_000, *mode),
            Node::Block { mode, .. } => (0o060_000, *mode),
            Node::Fifo { mode } => (0o010_000, *mode),
            Node::Socket { mode } => (0o140_000, *mode),
        };
        kind | u32::from(mode & 0o7777)
    }

    /// Returns the data size in bytes: the content of a file or the target of a link.
    pub fn size(&self) -> u64 {
        match &self.node {
            Node::File { content, .. } => content.len(),
            Node::Symlink { target } => target.len() as u64,
            Node::Dir { .. } | Node::Char { .. } | Node::Block { .. } | Node::Fifo { .. } | Node::Socket { .. } => 0,
        }
    }
}

/// Describes a node and its source for messages.
pub(super) fn describe(node: &Node) -> String {
    match node {
        Node::Dir { mode } => format!("a directory of mode {mode:04o}"),
        Node::File { content: Content::Host { path, len }, mode, .. } => {
            format!("file {} ({len} bytes, mode {mode:04o})", path.display())
        }
        Node::File { content: Content::Bytes(bytes), mode, .. } => {
            format!("a generated file ({} bytes, mode {mode:04o})", bytes.len())
        }
        Node::File { content: Content::Static(bytes), mode, .. } => {
            format!("a built-in file ({} bytes, mode {mode:04o})", bytes.len())
        }
        Node::Symlink { target } => format!("a link to {}", String::from_utf8_lossy(target)),
        Node::Char { major, minor, .. } => format!("character device {major}:{minor}"),
        Node::Block { major, minor, .. } => format!("block device {major}:{minor}"),
        Node::Fifo { .. } => "a named pipe".to_owned(),
        Node::Socket { .. } => "a socket".to_owned(),
    }
}

/// Returns true if two nodes are equal. Ignores the hard link information, which only one of two facts about a file may
/// have.
pub(super) fn same(one: &Node, other: &Node) -> bool {
    match (one, other) {
        (Node::File { mode, content, .. }, Node::File { mode: its_mode, content: its_content, .. }) => {
            mode == its_mode && content == its_content
        }
        _ => one == other,
    }
}

/// Returns true if two nodes are files of the same mode with the same bytes, read from two places. A file that cannot be
/// read equals no other.
pub(super) fn same_bytes(one: &Node, other: &Node) -> bool {
    let (Node::File { mode, content, .. }, Node::File { mode: its_mode, content: its_content, .. }) = (one, other)
    else {
        return false;
    };
    mode == its_mode && content.len() == its_content.len() && equal(content, its_content).unwrap_or(false)
}

fn equal(one: &Content, other: &Content) -> io::Result<bool> {
    let (mut one, mut other) = (reader(one)?, reader(other)?);
    loop {
        let (first, second) = (one.fill_buf()?, other.fill_buf()?);
        let count = first.len().min(second.len());
        if count == 0 {
            return Ok(first.len() == second.len());
        }
        if first[..count] != second[..count] {
            return Ok(false);
        }
        one.consume(count);
        other.consume(count);
    }
}

fn reader(content: &Content) -> io::Result<Box<dyn BufRead + '_>> {
    Ok(match content {
        Content::Host { path, .. } => Box::new(BufReader::with_capacity(1 << 16, File::open(path)?)),
        Content::Bytes(bytes) => Box::new(&bytes[..]),
        Content::Static(bytes) => Box::new(*bytes),
    })
}

/// Formats `st_mode` like `ls -l`: `drwxr-xr-x`.
pub fn type_and_permissions(st_mode: u32) -> String {
    let kind = match st_mode & 0o170_000 {
        0o040_000 => 'd',
        0o100_000 => '-',
        0o120_000 => 'l',
        0o020_000 => 'c',
        0o060_000 => 'b',
        0o010_000 => 'p',
        0o140_000 => 's',
        _ => '?',
    };
    let mut text = String::from(kind);
    // The set-user-ID, set-group-ID and sticky bits share the positions of the three execute bits.
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = st_mode >> shift;
        let execute = match (bits & 1 != 0, st_mode & special != 0) {
            (false, false) => '-',
            (true, false) => 'x',
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
        };
        let read = if bits & 4 == 0 { '-' } else { 'r' };
        let write = if bits & 2 == 0 { '-' } else { 'w' };
        // Writing to a String cannot fail.
        let _ = write!(text, "{read}{write}{execute}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::type_and_permissions;

    #[test]
    fn modes_are_formatted_like_ls() {
        for (mode, text) in [
            (0o100_755, "-rwxr-xr-x"),
            (0o104_755, "-rwsr-xr-x"),
            (0o102_644, "-rw-r-Sr--"),
            (0o041_777, "drwxrwxrwt"),
            (0o041_776, "drwxrwxrwT"),
            (0o120_777, "lrwxrwxrwx"),
            (0o020_600, "crw-------"),
            (0o140_000, "s---------"),
            (0o000_000, "?---------"),
        ] {
            assert_eq!(type_and_permissions(mode), text);
        }
    }
}
