//! Cache listing and eviction.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::SystemTime;

use super::abandoned::remove_if_abandoned;
use super::seal::{Seal, SealedFile, Sealing};
use super::{Cache, CacheError, Key, LOCK, UNFINISHED, failed};

impl Cache {
    /// Returns the keys of all entries, the most recently used first.
    pub(crate) fn keys(&self) -> Result<Vec<Key>, CacheError> {
        if let (Some(_), Some(error)) = (self.unmade, self.unwritable()) {
            return Err(error);
        }
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

    /// Discards the entry that contains `path`, which turned out to be damaged, and returns true if there is one. An
    /// entry that cannot be removed counts as missing from now on.
    pub fn discard_holder(&self, path: &Path) -> bool {
        let spare = self.spare.as_ref().and_then(|spare| spare.existing());
        for directory in [Some(self.directory.as_path()), spare].into_iter().flatten() {
            let inside = path.strip_prefix(directory).ok().and_then(|rest| rest.iter().next());
            let Some(key) = inside.and_then(|name| name.to_str()).and_then(Key::parse) else { continue };
            if discard_from(directory, key.as_str()).is_err() {
                self.damaged.lock().unwrap_or_else(PoisonError::into_inner).push(key);
            }
            return true;
        }
        false
    }

    pub(super) fn discard_named(&self, name: &str) -> Result<(), CacheError> {
        discard_from(&self.directory, name)
    }

    /// Evicts the least recently used entries, except `keep`, until the limit is met. Also removes unfinished entries
    /// of killed builders.
    pub(super) fn shrink(&self, keep: &Key) -> Result<(), CacheError> {
        let mut entries: Vec<(SystemTime, u64, String)> = Vec::new();
        let listing = fs::read_dir(&self.directory).map_err(failed("list", &self.directory))?;
        for item in listing {
            let item = item.map_err(failed("list", &self.directory))?;
            let Some(name) = item.file_name().to_str().map(str::to_owned) else { continue };
            if name.starts_with(UNFINISHED) || name.starts_with(LOCK) {
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

/// Discards an entry of the cache in `directory`.
fn discard_from(directory: &Path, name: &str) -> Result<(), CacheError> {
    let entry = directory.join(name);
    if !entry.exists() {
        return Ok(());
    }
    let grave = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .tempdir_in(directory)
        .map_err(failed("create a directory in", directory))?;
    // Rename first, so that the entry disappears atomically, then delete file by file.
    match fs::rename(&entry, grave.path().join("data")) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("discard", &entry)(error)),
    }
    let path = grave.path().to_owned();
    grave.close().map_err(failed("remove", &path))
}

/// Returns the seal of a tree: its files and links, and its disk usage in bytes. Allocated blocks count: guest memory
/// files are mostly holes.
pub(super) fn seal_tree(tree: &Path, sealing: Sealing) -> Result<Seal, CacheError> {
    let mut bytes = 0_u64;
    let mut files = Vec::new();
    for item in walkdir::WalkDir::new(tree).sort_by_file_name() {
        let item = item.map_err(|error| failed("walk", tree)(error.into()))?;
        let metadata = item.metadata().map_err(|error| failed("walk", tree)(error.into()))?;
        bytes =
            bytes.saturating_add(if metadata.is_file() { metadata.len().min(metadata.blocks() * 512) } else { 4096 });
        let path = item.path().strip_prefix(tree).unwrap_or(item.path()).to_string_lossy();
        let is_sealed = match sealing {
            Sealing::Contents | Sealing::Stamps => true,
            Sealing::ContentsExcept(ending) => !path.ends_with(ending),
        };
        if (metadata.is_file() || metadata.is_symlink()) && is_sealed {
            let sealed = SealedFile::of(tree, &path, sealing != Sealing::Stamps);
            files.push(sealed.map_err(failed("seal", item.path()))?);
        }
    }
    Ok(Seal::Directory { bytes, files })
}
