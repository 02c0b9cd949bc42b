//! Private cache directory for data that is reused between runs: unpacked packages, kernels, module indexes.
//!
//! An entry is a directory `KEY/` with its content (`data`, a file or a directory) and a seal (`seal`), which contains
//! the content's size, time stamps and SHA-256. An entry is built under an unpredictable name and renamed into place,
//! so it is either complete or absent. If two processes build the same entry, the second one uses the first one's.
//! Nothing is fsynced: after a power failure the seal does not match, and the entry is built again.
//!
//! Rejects a directory that other users can access. Discards an entry whose content no longer matches its seal.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};

pub(crate) mod room;
pub(crate) mod seal;

pub(crate) use self::seal::{Key, Stamp};
use self::seal::{Seal, hex};

/// Default size limit in bytes; `BOOTLING_CACHE_LIMIT` overrides it.
pub(crate) const DEFAULT_LIMIT: u64 = 4 << 30;

/// Name prefix of unfinished entries.
const UNFINISHED: &str = ".new-";
/// Unfinished entries younger than this may belong to a builder that has not locked them yet.
const GRACE: Duration = Duration::from_secs(60);
/// Interval between two attempts to acquire a lock.
const LOCK_NAP: Duration = Duration::from_millis(5);
/// Maximum size of a seal, which is one short line.
const SEAL_LIMIT: u64 = 4096;

/// Failure to use the cache.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// No environment variable determines the cache directory.
    #[error("no cache directory: none of BOOTLING_CACHE_DIR, XDG_CACHE_HOME and HOME is set")]
    NoPlace,
    /// Other users can access the cache directory.
    #[error("unusable cache directory {}: {why}", path.display())]
    NotPrivate {
        /// The directory.
        path: PathBuf,
        /// The fault, and how to fix it.
        why: String,
    },
    /// `BOOTLING_CACHE_LIMIT` is not a size.
    #[error("invalid BOOTLING_CACHE_LIMIT {}: expected a number of bytes (suffixes K, M, G)", .0.display())]
    BadLimit(OsString),
    /// An I/O error.
    #[error("failed to {doing} {}", path.display())]
    Io {
        /// Verb, in the infinitive.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The underlying error.
        source: io::Error,
    },
}

/// Converts an [`io::Error`] to a [`CacheError`].
fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CacheError {
    let path = path.to_owned();
    move |source| CacheError::Io { doing, path, source }
}

/// The cache.
#[derive(Debug, Clone)]
pub struct Cache {
    directory: PathBuf,
    limit: u64,
}

impl Cache {
    /// Opens the user's cache: `$BOOTLING_CACHE_DIR`, `$XDG_CACHE_HOME/bootling` or `~/.cache/bootling`.
    pub fn open() -> Result<Self, CacheError> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let directory = set("BOOTLING_CACHE_DIR")
            // XDG Base Directory Specification: relative paths are invalid and must be ignored.
            .or_else(|| set("XDG_CACHE_HOME").filter(|path| path.is_absolute()).map(|path| path.join("bootling")))
            .or_else(|| set("HOME").map(|path| path.join(".cache/bootling")))
            .ok_or(CacheError::NoPlace)?;
        let limit = match std::env::var_os("BOOTLING_CACHE_LIMIT") {
            None => DEFAULT_LIMIT,
            Some(text) => text.to_str().and_then(parse_size).ok_or(CacheError::BadLimit(text))?,
        };
        Self::at(directory, limit)
    }

    /// Opens a cache in `directory`, which is created if necessary, with a limit of `limit` bytes.
    pub fn at(directory: impl Into<PathBuf>, limit: u64) -> Result<Self, CacheError> {
        let directory = directory.into();
        if let Some(parent) = directory.parent() {
            fs::create_dir_all(parent).map_err(failed("create the parent directory of the cache", parent))?;
        }
        match DirBuilder::new().mode(0o700).create(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed("create the cache directory", &directory)(error));
            }
            Ok(()) | Err(_) => {}
        }
        let directory = fs::canonicalize(&directory).map_err(failed("access the cache directory", &directory))?;
        let metadata = fs::metadata(&directory).map_err(failed("access the cache directory", &directory))?;
        let refuse = |why: String| Err(CacheError::NotPrivate { path: directory.clone(), why });
        if !metadata.is_dir() {
            return refuse("not a directory".to_owned());
        }
        let (owner, us) = (metadata.uid(), rustix::process::geteuid().as_raw());
        if owner != us {
            return refuse(format!("owned by user {owner}, not {us}; set BOOTLING_CACHE_DIR to another directory"));
        }
        if metadata.mode() & 0o077 != 0 {
            return refuse(format!("accessible to others (mode {:03o}); run chmod 700 on it", metadata.mode() & 0o777));
        }
        Ok(Self { directory, limit })
    }

    /// Returns the cache directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the size limit in bytes.
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    /// Returns the content of an entry, if it exists and is intact. Counts as a use.
    pub(crate) fn get(&self, key: &Key) -> Result<Option<PathBuf>, CacheError> {
        let entry = self.directory.join(key.as_str());
        let seal_path = entry.join("seal");
        let mut file = match File::open(&seal_path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("read", &seal_path)(error)),
        };
        let data = entry.join("data");
        if !self.intact(&mut file, &data, &seal_path)? {
            // The next builder discards it under the lock. Without the lock, this might be a new entry by now.
            return Ok(None);
        }
        // The seal's mtime is the time of the last use. If the update fails, eviction is only less fair.
        let _ = rustix::fs::utimensat(rustix::fs::CWD, &seal_path, &now(), rustix::fs::AtFlags::empty());
        Ok(Some(data))
    }

    /// Returns true if the content matches its seal. Reads the content only if its stamp has changed.
    fn intact(&self, seal: &mut File, data: &Path, seal_path: &Path) -> Result<bool, CacheError> {
        let mut text = String::new();
        if seal.take(SEAL_LIMIT).read_to_string(&mut text).is_err() {
            return Ok(false);
        }
        let metadata = match fs::symlink_metadata(data) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failed("access", data)(error)),
        };
        match Seal::parse(&text) {
            None => Ok(false),
            Some(Seal::Directory { .. }) => Ok(metadata.is_dir()),
            Some(Seal::File { stamp, digest }) => {
                let found = Stamp::of(&metadata).to_string();
                if !metadata.is_file() || found == stamp {
                    return Ok(metadata.is_file());
                }
                // Copied or damaged: check the digest.
                if digest_of(data)? != digest {
                    return Ok(false);
                }
                replace(&self.directory, seal_path, &Seal::File { stamp: found, digest }.text())?;
                Ok(true)
            }
        }
    }

    /// Returns the file of an entry; `make` writes it if the entry does not exist.
    pub(crate) fn file<E: From<CacheError>>(
        &self,
        key: &Key,
        make: impl FnOnce(&mut File) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        self.entry(key, &mut || Ok(()), |data| {
            let mut file = File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(data)
                .map_err(failed("create", data))?;
            make(&mut file)?;
            drop(file);
            let metadata = fs::symlink_metadata(data).map_err(failed("access", data))?;
            Ok(Seal::File { stamp: Stamp::of(&metadata).to_string(), digest: digest_of(data)? })
        })
    }

    /// Returns the directory of an entry; `make` fills it if the entry does not exist.
    pub(crate) fn tree<E: From<CacheError>>(
        &self,
        key: &Key,
        make: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        self.tree_after(key, &mut || Ok(()), make)
    }

    /// Like [`Cache::tree`]. While another process builds the entry, `wait` is called repeatedly; an error ends the
    /// wait.
    pub(crate) fn tree_after<E: From<CacheError>>(
        &self,
        key: &Key,
        wait: &mut dyn FnMut() -> Result<(), E>,
        make: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        self.entry(key, wait, |data| {
            DirBuilder::new().mode(0o700).create(data).map_err(failed("create", data))?;
            make(data)?;
            Ok(Seal::Directory { bytes: room::size_of(data)? })
        })
    }

    /// Finds an entry, or builds it and renames it into place.
    fn entry<E: From<CacheError>>(
        &self,
        key: &Key,
        wait: &mut dyn FnMut() -> Result<(), E>,
        make: impl FnOnce(&Path) -> Result<Seal, E>,
    ) -> Result<PathBuf, E> {
        if let Some(found) = self.get(key)? {
            return Ok(found);
        }
        // One builder at a time, to save the others the work. The rename below is what keeps entries complete.
        let lock_path = self.directory.join(format!(".lock-{}", &key.as_str()[..16]));
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock_path)
            .map_err(failed("create", &lock_path))?;
        loop {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => wait()?,
                Err(errno) => return Err(failed("lock", &lock_path)(errno.into()).into()),
            }
            std::thread::sleep(LOCK_NAP);
        }
        if let Some(found) = self.get(key)? {
            return Ok(found);
        }
        self.discard(key)?;
        let new = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempdir_in(&self.directory)
            .map_err(failed("create a directory in", &self.directory))?;
        let handle = File::open(new.path()).map_err(failed("open", new.path()))?;
        flock(&handle, FlockOperation::LockExclusive).map_err(|errno| failed("lock", new.path())(errno.into()))?;
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
}

/// Returns the current time for both timestamps of a file.
fn now() -> rustix::fs::Timestamps {
    let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
    rustix::fs::Timestamps { last_access: now, last_modification: now }
}

/// Replaces a small file atomically.
fn replace(directory: &Path, path: &Path, text: &str) -> Result<(), CacheError> {
    let new = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(directory).map_err(failed("write", path))?;
    fs::write(new.path(), text).map_err(failed("write", path))?;
    new.persist(path).map_err(|error| failed("write", path)(error.error))?;
    Ok(())
}

/// Returns the SHA-256 of a file, in hexadecimal.
fn digest_of(path: &Path) -> Result<String, CacheError> {
    let mut file = File::open(path).map_err(failed("read", path))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer).map_err(failed("read", path))? {
            0 => return Ok(hex(&hash.finalize())),
            count => hash.update(buffer.get(..count).unwrap_or_default()),
        }
    }
}

/// Parses a size such as `512M`.
fn parse_size(text: &str) -> Option<u64> {
    let (digits, shift) = match text.trim().as_bytes().split_last()? {
        (b'k' | b'K', rest) => (rest, 10),
        (b'm' | b'M', rest) => (rest, 20),
        (b'g' | b'G', rest) => (rest, 30),
        _ => (text.trim().as_bytes(), 0),
    };
    std::str::from_utf8(digits).ok()?.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::{Cache, CacheError, Key, parse_size};
    use std::fs::{self, File};
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, SystemTime};

    fn cache(limit: u64) -> (tempfile::TempDir, Cache) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let cache = Cache::at(dir.path().join("cache"), limit).expect("a cache");
        (dir, cache)
    }

    fn put(cache: &Cache, name: &str, bytes: &[u8]) -> std::path::PathBuf {
        cache
            .file::<CacheError>(&Key::of("test", &[name.as_bytes()]), |file| {
                file.write_all(bytes).expect("written");
                Ok(())
            })
            .expect("an entry")
    }

    #[test]
    fn an_entry_is_built_once_and_found_again() {
        let (_dir, cache) = cache(1 << 20);
        let made = put(&cache, "a", b"one");
        let again = cache.file::<CacheError>(&Key::of("test", &[b"a"]), |_| panic!("made twice")).expect("found");
        assert_eq!(made, again);
        assert_eq!(fs::read(again).expect("read"), b"one");
    }

    #[test]
    fn a_damaged_entry_is_detected_and_rebuilt() {
        let (_dir, cache) = cache(1 << 20);
        for damage in ["flipped", "truncated", "gone", "seal", "no seal"] {
            let path = put(&cache, "a", b"the real content");
            match damage {
                "flipped" => fs::write(&path, b"the reAl content").expect("written"),
                "truncated" => fs::write(&path, b"the").expect("written"),
                "gone" => fs::remove_file(&path).expect("removed"),
                "seal" => fs::write(path.with_file_name("seal"), b"x").expect("written"),
                _ => fs::remove_file(path.with_file_name("seal")).expect("removed"),
            }
            assert_eq!(cache.get(&Key::of("test", &[b"a"])).expect("looked up"), None, "{damage}");
            let path = put(&cache, "a", b"the real content");
            assert_eq!(fs::read(path).expect("read"), b"the real content", "{damage}");
        }
    }

    #[test]
    fn a_copied_entry_is_checked_by_digest_and_sealed_again() {
        let (_dir, cache) = cache(1 << 20);
        let path = put(&cache, "a", b"content");
        fs::write(&path, b"content").expect("written");
        let key = Key::of("test", &[b"a"]);
        let before = fs::read(path.with_file_name("seal")).expect("read");
        assert!(cache.get(&key).expect("looked up").is_some());
        assert_ne!(before, fs::read(path.with_file_name("seal")).expect("read"), "the new stamp is recorded");
    }

    #[test]
    fn a_failed_build_leaves_no_entry() {
        let (_dir, cache) = cache(1 << 20);
        let key = Key::of("test", &[b"a"]);
        let failed: Result<_, CacheError> = cache.file(&key, |_| Err(CacheError::NoPlace));
        assert!(failed.is_err());
        assert_eq!(cache.get(&key).expect("looked up"), None);
        let left = fs::read_dir(cache.directory()).expect("listed").map(|item| item.expect("an item").file_name());
        assert!(left.into_iter().all(|name| name.to_string_lossy().starts_with(".lock-")));
    }

    #[test]
    fn concurrent_builders_of_one_entry_share_one_build() {
        let (_dir, cache) = cache(1 << 20);
        let made = AtomicUsize::new(0);
        let key = Key::of("test", &[b"a"]);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let path = cache
                        .file::<CacheError>(&key, |file| {
                            made.fetch_add(1, Ordering::Relaxed);
                            file.write_all(&vec![7; 100_000]).expect("written");
                            Ok(())
                        })
                        .expect("an entry");
                    assert_eq!(fs::read(path).expect("read"), vec![7; 100_000]);
                });
            }
        });
        assert_eq!(made.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn the_least_recently_used_entry_is_evicted_first_and_open_files_stay_usable() {
        let (_dir, cache) = cache(2500);
        let old = put(&cache, "old", &[1; 1000]);
        let used = put(&cache, "used", &[2; 1000]);
        for (path, age) in [(&old, 100), (&used, 200)] {
            let seal = File::options().write(true).open(path.with_file_name("seal")).expect("opened");
            seal.set_modified(SystemTime::now() - Duration::from_secs(age)).expect("set");
        }
        assert!(cache.get(&Key::of("test", &[b"used"])).expect("looked up").is_some());
        let open = File::open(&old).expect("opened");
        let new = put(&cache, "new", &[3; 1000]);
        assert!(!old.exists() && used.exists() && new.exists());
        assert_eq!(open.metadata().expect("metadata").len(), 1000);
        let large = put(&cache, "large", &[4; 9000]);
        assert!(large.exists() && !used.exists() && !new.exists());
    }

    #[test]
    fn a_directory_accessible_to_other_users_is_refused() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        let refused = Cache::at(dir.path(), 1).expect_err("refused").to_string();
        assert!(refused.contains("mode 755") && refused.contains("chmod 700"), "{refused}");
    }

    #[test]
    fn entries_of_killed_builders_are_removed_but_not_those_of_live_ones() {
        let (_dir, cache) = cache(1 << 20);
        let [dead, alive] = [".new-dead", ".new-alive"].map(|name| cache.directory().join(name));
        for path in [&dead, &alive] {
            fs::create_dir(path).expect("made");
            let past = SystemTime::now() - Duration::from_secs(3600);
            File::open(path).expect("opened").set_modified(past).expect("set");
        }
        let handle = File::open(&alive).expect("opened");
        rustix::fs::flock(&handle, rustix::fs::FlockOperation::LockExclusive).expect("locked");
        put(&cache, "a", b"x");
        assert!(!dead.exists() && alive.exists());
    }

    #[test]
    fn sizes_have_suffixes() {
        assert_eq!(parse_size("4096"), Some(4096));
        assert_eq!(parse_size("2G"), Some(2 << 30));
        for bad in ["", "G", "-1", "1T", "99999999999G"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }
}
