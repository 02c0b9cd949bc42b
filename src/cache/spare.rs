//! A stand-in for a cache that cannot be written: a temporary directory, removed with the last use of the cache.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

use super::abandoned::remove_if_abandoned;

/// Name prefix of the directories.
const PREFIX: &str = "bootling-cache.";

/// A temporary directory that is created when it is first needed.
#[derive(Debug, Default)]
pub(super) struct Spare(OnceLock<Place>);

/// The directory, and its lock, which marks it as in use.
#[derive(Debug)]
struct Place {
    directory: TempDir,
    _lock: File,
}

impl Spare {
    /// Returns the directory, if it has been created.
    pub(super) fn existing(&self) -> Option<&Path> {
        self.0.get().map(|place| place.directory.path())
    }

    /// Returns the directory; creates it if necessary.
    pub(super) fn directory(&self) -> io::Result<&Path> {
        if self.0.get().is_none() {
            let parent = std::env::temp_dir();
            remove_abandoned(&parent);
            let directory = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
            let lock = File::open(directory.path())?;
            flock(&lock, FlockOperation::LockExclusive)?;
            // If another thread was faster, this directory is removed.
            drop(self.0.set(Place { directory, _lock: lock }));
        }
        self.existing().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// Removes the directories of killed processes of this user.
fn remove_abandoned(parent: &Path) {
    let us = rustix::process::geteuid().as_raw();
    for item in fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_ours = item.metadata().is_ok_and(|found| found.is_dir() && found.uid() == us);
        if is_ours && item.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX)) {
            remove_if_abandoned(&item.path());
        }
    }
}
