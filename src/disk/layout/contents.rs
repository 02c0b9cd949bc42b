//! Sizes of the files and directories of a FAT volume.

use crate::format::fat::FatType;

/// Size of a directory entry in bytes.
pub(crate) const ENTRY: u64 = 32;

/// Sizes of files in bytes and of directories in entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// Length of each file in bytes.
    files: Vec<u64>,
    /// Number of entries of each directory except the root.
    dirs: Vec<u64>,
    /// Number of entries of the root directory, including the volume label.
    root: u64,
}

impl Contents {
    /// Returns the contents of an empty volume, which has only a label.
    pub(crate) fn new() -> Self {
        Self { root: 1, ..Self::default() }
    }

    /// Returns contents with files of these lengths and directories of these numbers of entries, for tests.
    #[cfg(test)]
    pub(crate) fn of(files: &[u64], dirs: &[u64]) -> Self {
        Self { files: files.to_vec(), dirs: dirs.to_vec(), root: 3 }
    }

    /// Adds a file of `len` bytes.
    pub(crate) fn add_file(&mut self, len: u64) {
        self.files.push(len);
    }

    /// Adds a directory of `entries` 32-byte entries, including "." and "..".
    pub(crate) fn add_dir(&mut self, entries: u64) {
        self.dirs.push(entries);
    }

    /// Adds entries to the root directory.
    pub(crate) fn add_to_root(&mut self, entries: u64) {
        self.root += entries;
    }

    /// Returns the number of entries of the root directory.
    pub(crate) fn root_entries(&self) -> u64 {
        self.root
    }

    /// Returns the number of clusters of `cluster` bytes required. A FAT32 root directory uses clusters, too.
    pub(crate) fn clusters(&self, cluster: u64, kind: FatType) -> u64 {
        let directory = |entries: u64| (entries * ENTRY).div_ceil(cluster).max(1);
        let files: u64 = self.files.iter().map(|len| len.div_ceil(cluster)).sum();
        let dirs: u64 = self.dirs.iter().map(|entries| directory(*entries)).sum();
        let root = match kind {
            FatType::Fat12 | FatType::Fat16 => 0,
            FatType::Fat32 => directory(self.root),
        };
        files + dirs + root
    }
}
