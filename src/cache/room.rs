//! Cache listing and eviction.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};

use super::seal::Seal;
use super::{Cache, CacheError, GRACE, Key, UNFINISHED, failed};

impl Cache {
    /// Returns the keys of all entries, the most recently used first.
    pub(crate) fn keys(&self) -> Result<Vec<Key>, CacheError> {
        let mut found = Vec::new();
        for item in fs::read_dir(&self.directory).map_err(failed("list", &self.directory))? {
            let item = item.map_err(failed("list", &self.directory))?;
            // Skip an entry that has vanished in the meantime.
            if let Some(key) = item.file_name().to_str().and_then(Key::parse)
                && let Ok(metadata) = fs::metadata(item.path().join("seal"))
            {
                found.push((metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), key));
            }
        }
        found.sort_by_key(|(used, _)| std::cmp::Reverse(*used));
        Ok(found.into_iter().map(|(_, key)| key).collect())
    }

    /// Returns the content path of an entry, if it exists, and the time of its last use. Does not count as a use.
    pub(crate) fn peek(&self, key: &Key) -> Option<(PathBuf, SystemTime)> {
        let entry = self.directory.join(key.as_str());
        let used = fs::metadata(entry.join("seal")).and_then(|seal| seal.modified()).ok()?;
        Some((entry.join("data"), used))
    }

    /// Discards an entry. Files of it that are open or mapped stay usable.
    pub fn discard(&self, key: &Key) -> Result<(), CacheError> {
        self.discard_named(key.as_str())
    }

    /// Discards the entry that contains `path`, if any.
    pub(crate) fn discard_holder(&self, path: &Path) -> Result<(), CacheError> {
        let inside = path.strip_prefix(&self.directory).ok().and_then(|rest| rest.iter().next());
        match inside.and_then(|name| name.to_str()).and_then(Key::parse) {
            Some(key) => self.discard(&key),
            None => Ok(()),
        }
    }

    pub(super) fn discard_named(&self, name: &str) -> Result<(), CacheError> {
        let entry = self.directory.join(name);
        if !entry.exists() {
            return Ok(());
        }
        let grave = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempdir_in(&self.directory)
            .map_err(failed("create a directory in", &self.directory))?;
        // Rename first, so that the entry disappears atomically, then delete file by file.
        match fs::rename(&entry, grave.path().join("data")) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("discard", &entry)(error)),
        }
        let path = grave.path().to_owned();
        grave.close().map_err(failed("remove", &path))
    }

    /// Evicts the least recently used entries, except `keep`, until the limit is met. Also removes what killed builders
    /// left.
    pub(super) fn shrink(&self, keep: &Key) -> Result<(), CacheError> {
        let mut entries: Vec<(SystemTime, u64, String)> = Vec::new();
        let listing = fs::read_dir(&self.directory).map_err(failed("list", &self.directory))?;
        for item in listing {
            let item = item.map_err(failed("list", &self.directory))?;
            let Some(name) = item.file_name().to_str().map(str::to_owned) else { continue };
            if name.starts_with(UNFINISHED) {
                remove_if_abandoned(&item.path());
            } else if Key::parse(&name).is_some() {
                let seal = item.path().join("seal");
                // An entry that has vanished in the meantime takes no space.
                let Ok(metadata) = fs::metadata(&seal) else { continue };
                let Ok(text) = fs::read_to_string(&seal) else { continue };
                let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                entries.push((used, Seal::parse(&text).map_or(0, |seal| seal.bytes()), name));
            }
        }
        entries.sort();
        let mut total = entries.iter().fold(0_u64, |sum, entry| sum.saturating_add(entry.1));
        for (_, bytes, name) in entries {
            if total <= self.limit {
                break;
            }
            if name != keep.as_str() {
                self.discard_named(&name)?;
                total = total.saturating_sub(bytes);
            }
        }
        Ok(())
    }
}

/// Removes an unfinished entry, unless a live builder has locked it. Best effort: the next eviction tries again.
fn remove_if_abandoned(path: &Path) {
    let old = fs::metadata(path).and_then(|found| found.modified()).ok().and_then(|time| time.elapsed().ok());
    if old.is_none_or(|age| age < GRACE) {
        return;
    }
    if let Ok(handle) = File::open(path)
        && flock(&handle, FlockOperation::NonBlockingLockExclusive).is_ok()
    {
        drop(fs::remove_dir_all(path));
    }
}

/// Returns the disk usage of a tree in bytes. Allocated blocks count: guest memory files are mostly holes.
pub(super) fn size_of(tree: &Path) -> Result<u64, CacheError> {
    let mut sum = 0_u64;
    for item in walkdir::WalkDir::new(tree) {
        let item = item.map_err(|error| failed("walk", tree)(error.into()))?;
        let metadata = item.metadata().map_err(|error| failed("walk", tree)(error.into()))?;
        sum = sum.saturating_add(if metadata.is_file() { metadata.len().min(metadata.blocks() * 512) } else { 4096 });
    }
    Ok(sum)
}
