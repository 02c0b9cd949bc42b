//! Builds an entry under an unpredictable name, and renames it into place.
//!
//! One process at a time builds an entry; others wait. A cache that cannot be written passes the work to a temporary
//! directory.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};

use super::seal::{Key, Seal};
use super::{Cache, CacheError, LOCK, LOCK_NAP, UNFINISHED, failed};

impl Cache {
    /// Finds an entry, or builds it and renames it into place.
    pub(super) fn entry<E: From<CacheError>>(
        &self,
        key: &Key,
        wait: &mut dyn FnMut() -> Result<(), E>,
        make: impl FnOnce(&Path) -> Result<Seal, E>,
    ) -> Result<PathBuf, E> {
        if let Some(found) = self.get(key) {
            return Ok(found);
        }
        let claim = match self.claim(key, wait)? {
            Ok(claim) => claim,
            Err(error) => match self.in_temporary_directory() {
                Some(cache) => return cache.entry(key, wait, make),
                None => return Err(error.into()),
            },
        };
        let Claim::Build { new, lock: _lock } = claim else {
            return self.get(key).ok_or_else(|| failed("use", &self.directory)(io::ErrorKind::NotFound.into()).into());
        };
        let seal = make(&new.path().join("data"))?;
        let seal_path = new.path().join("seal");
        fs::write(&seal_path, seal.text()).map_err(failed("write", &seal_path))?;
        let entry = self.directory.join(key.as_str());
        match fs::rename(new.path(), &entry) {
            Ok(()) => drop(new.keep()),
            // Another process was faster (the lock file may have been removed in the meantime). Its entry is just as
            // good.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOTEMPTY | libc::EEXIST)) => {}
            Err(error) => return Err(failed("install", &entry)(error).into()),
        }
        // Eviction that fails now may succeed next time.
        let _ = self.shrink(key);
        Ok(entry.join("data"))
    }

    /// Waits for other builders of an entry and creates a directory for it. The inner error means that this cache cannot
    /// be written.
    fn claim<E: From<CacheError>>(
        &self,
        key: &Key,
        wait: &mut dyn FnMut() -> Result<(), E>,
    ) -> Result<Result<Claim, CacheError>, E> {
        if let (Some(_), Some(error)) = (self.unmade, self.unwritable()) {
            return Ok(Err(error));
        }
        // One builder at a time, to save the others the work. The rename is what keeps entries complete.
        let path = self.directory.join(format!("{LOCK}{}", &key.as_str()[..16]));
        let lock = loop {
            match BuildLock::attempt(&path) {
                Ok(Some(lock)) => break lock,
                Ok(None) => wait()?,
                Err(error) => return Ok(Err(failed("lock", &path)(error))),
            }
            std::thread::sleep(LOCK_NAP);
        };
        if self.get(key).is_some() {
            return Ok(Ok(Claim::Exists));
        }
        if let Err(error) = self.discard(key) {
            return Ok(Err(error));
        }
        let new = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(&self.directory);
        let new = match new {
            Ok(new) => new,
            Err(error) => return Ok(Err(failed("create a directory in", &self.directory)(error))),
        };
        // The lock keeps other processes from removing it; it ends with the process.
        let handle = File::open(new.path()).map_err(failed("open", new.path()))?;
        flock(&handle, FlockOperation::LockExclusive).map_err(|errno| failed("lock", new.path())(errno.into()))?;
        Ok(Ok(Claim::Build { new, lock: (lock, handle) }))
    }

    /// Returns a cache in the temporary directory.
    fn in_temporary_directory(&self) -> Option<Self> {
        let directory = self.spare.as_ref()?.directory().ok()?.to_owned();
        Some(Self { directory, limit: u64::MAX, unmade: None, spare: None, damaged: Arc::default() })
    }
}

/// Result of waiting for other builders.
enum Claim {
    /// Another process has built the entry.
    Exists,
    /// This process builds it.
    Build {
        /// The unfinished entry.
        new: tempfile::TempDir,
        /// Locks of the key and of the unfinished entry.
        lock: (BuildLock, File),
    },
}

/// Lock of one builder on a key: a locked file, which is removed with the lock.
struct BuildLock {
    path: PathBuf,
    _file: File,
}

impl BuildLock {
    /// Acquires the lock; `None` if another process has it.
    fn attempt(path: &Path) -> io::Result<Option<Self>> {
        let file = File::options().create(true).truncate(false).write(true).mode(0o600).open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        }
        // The last builder may have removed the file between the two calls.
        let locked = file.metadata()?.ino();
        let is_there = fs::metadata(path).is_ok_and(|found| found.ino() == locked);
        Ok(is_there.then(|| Self { path: path.to_owned(), _file: file }))
    }
}

impl Drop for BuildLock {
    /// Removes the file while it is locked. If that fails, an eviction removes it.
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
