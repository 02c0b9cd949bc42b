//! What a FAT volume is to hold, by size alone.

use super::fat::{ENTRY, FatKind};

/// Lengths of files, and of directories in entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// Bytes of each file.
    files: Vec<u64>,
    /// Entries of each directory but the root.
    dirs: Vec<u64>,
    /// Entries of the root directory, the volume's label among them.
    root: u64,
}

impl Contents {
    /// Nothing but a label.
    pub fn new() -> Self {
        Self { root: 1, ..Self::default() }
    }

    /// Files of these lengths and directories of these numbers of entries, for tests.
    #[cfg(test)]
    pub fn of(files: &[u64], dirs: &[u64]) -> Self {
        Self { files: files.to_vec(), dirs: dirs.to_vec(), root: 3 }
    }

    /// A file of so many bytes.
    pub fn add_file(&mut self, len: u64) {
        self.files.push(len);
    }

    /// A directory of so many entries of 32 bytes, "." and ".." among them.
    pub fn add_dir(&mut self, entries: u64) {
        self.dirs.push(entries);
    }

    /// Further entries of the root directory.
    pub fn add_to_root(&mut self, entries: u64) {
        self.root += entries;
    }

    /// Entries of the root directory.
    pub fn root_entries(&self) -> u64 {
        self.root
    }

    /// How many clusters of so many bytes it takes. In FAT32 the root directory is one like others.
    pub fn clusters(&self, cluster: u64, kind: FatKind) -> u64 {
        let directory = |entries: u64| (entries * ENTRY).div_ceil(cluster).max(1);
        let files: u64 = self.files.iter().map(|len| len.div_ceil(cluster)).sum();
        let dirs: u64 = self.dirs.iter().map(|entries| directory(*entries)).sum();
        let root = match kind {
            FatKind::Fat12 | FatKind::Fat16 => 0,
            FatKind::Fat32 => directory(self.root),
        };
        files + dirs + root
    }
}
