//! Private cache directory for data that is reused between runs: unpacked packages, kernels, module indexes.
//!
//! An entry is a directory `KEY/` with its content (`data`, a file or a directory) and a seal (`seal`), which contains
//! the content's size, time stamps and checksum. An entry is built under an unpredictable name and renamed into place,
//! so it is either complete or absent. If two processes build the same entry, the second one uses the first one's.
//! Nothing is fsynced: after a power failure the seal does not match, and the entry is built again.
//!
//! Rejects a directory that other users can access. An entry whose content no longer matches its seal is built again. If
//! the directory cannot be created or written, entries are built in a temporary directory, for this process only.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

mod abandoned;
mod entry;
pub(crate) mod room;
pub(crate) mod seal;
mod spare;

pub(crate) use self::seal::{Condition, Key, SealedFile, Sealing, Stamp};
use self::seal::{Seal, hex};
use self::spare::Spare;

/// Default size limit in bytes; `BOOTLING_CACHE_LIMIT` overrides it.
pub(crate) const DEFAULT_LIMIT: u64 = 4 << 30;

/// Name prefix of unfinished entries.
const UNFINISHED: &str = ".new-";
/// Name prefix of lock files.
const LOCK: &str = ".lock-";
/// Interval between two attempts to acquire a lock.
const LOCK_NAP: Duration = Duration::from_millis(5);
/// Maximum size of a seal: a line for each of its files.
const SEAL_LIMIT: u64 = 4 << 20;

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
    /// Reason why the directory does not exist.
    unmade: Option<Unmade>,
    /// Temporary directory for entries that the directory cannot store; `None`: there is none.
    spare: Option<Arc<Spare>>,
    /// Damaged entries that could not be discarded.
    damaged: Arc<Mutex<Vec<Key>>>,
}

/// Reason why there is no cache directory.
#[derive(Debug, Clone, Copy)]
enum Unmade {
    /// See [`CacheError::NoPlace`].
    NoPlace,
    /// Error code from creating it.
    Failed(i32),
}

impl Cache {
    /// Opens the user's cache: `$BOOTLING_CACHE_DIR`, `$XDG_CACHE_HOME/bootling` or `~/.cache/bootling`. A cache that
    /// cannot be created or written is not an error: see [`Cache::unwritable`].
    pub fn open() -> Result<Self, CacheError> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let directory = set("BOOTLING_CACHE_DIR")
            // XDG Base Directory Specification: relative paths are invalid and must be ignored.
            .or_else(|| set("XDG_CACHE_HOME").filter(|path| path.is_absolute()).map(|path| path.join("bootling")))
            .or_else(|| set("HOME").map(|path| path.join(".cache/bootling")));
        let limit = match std::env::var_os("BOOTLING_CACHE_LIMIT") {
            None => DEFAULT_LIMIT,
            Some(text) => text.to_str().and_then(parse_size).ok_or(CacheError::BadLimit(text))?,
        };
        match directory {
            Some(directory) => Self::at(directory, limit),
            // Nothing exists below a file.
            None => Ok(Self::in_directory(PathBuf::from("/dev/null/cache"), limit, Some(Unmade::NoPlace))),
        }
    }

    fn in_directory(directory: PathBuf, limit: u64, unmade: Option<Unmade>) -> Self {
        Self { directory, limit, unmade, spare: Some(Arc::default()), damaged: Arc::default() }
    }

    /// Returns the same cache without a temporary directory, for entries that are of no use to this process.
    #[must_use]
    pub(crate) fn lasting(&self) -> Self {
        Self { spare: None, ..self.clone() }
    }

    /// Returns the reason why entries are not kept for later processes; `None` if they are kept.
    pub fn unwritable(&self) -> Option<CacheError> {
        let failed = |code| failed("create the cache directory", &self.directory)(io::Error::from_raw_os_error(code));
        match self.unmade {
            Some(Unmade::NoPlace) => Some(CacheError::NoPlace),
            Some(Unmade::Failed(code)) => Some(failed(code)),
            None => {
                let probe = rustix::fs::accessat(
                    rustix::fs::CWD,
                    &self.directory,
                    rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK,
                    rustix::fs::AtFlags::EACCESS,
                );
                probe.err().map(|errno| self::failed("write to the cache directory", &self.directory)(errno.into()))
            }
        }
    }

    /// Opens a cache in `directory`, which is created if necessary, with a limit of `limit` bytes.
    pub fn at(directory: impl Into<PathBuf>, limit: u64) -> Result<Self, CacheError> {
        let directory = directory.into();
        let parent = directory.parent().map_or(Ok(()), fs::create_dir_all);
        let made = parent.and_then(|()| DirBuilder::new().mode(0o700).create(&directory));
        if let Err(error) = made
            && !directory.exists()
        {
            let unmade = Unmade::Failed(error.raw_os_error().unwrap_or(libc::EIO));
            return Ok(Self::in_directory(directory, limit, Some(unmade)));
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
        Ok(Self::in_directory(directory, limit, None))
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
    pub(crate) fn get(&self, key: &Key) -> Option<PathBuf> {
        if !self.is_damaged(key)
            && let Some(found) = self.get_from(&self.directory, key)
        {
            return Some(found);
        }
        let spare = self.spare.as_ref().and_then(|spare| spare.existing());
        spare.and_then(|directory| self.get_from(directory, key))
    }

    fn is_damaged(&self, key: &Key) -> bool {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).contains(key)
    }

    /// Returns the content of an entry in `directory`. An entry that cannot be read counts as missing.
    fn get_from(&self, directory: &Path, key: &Key) -> Option<PathBuf> {
        let entry = directory.join(key.as_str());
        let seal_path = entry.join("seal");
        let mut file = File::open(&seal_path).ok()?;
        let data = entry.join("data");
        if !self.intact(&mut file, &data, &seal_path) {
            // The next builder discards it under the lock. Without the lock, this might be a new entry by now.
            return None;
        }
        // The seal's mtime is the time of the last use. If the update fails, eviction is only less fair.
        let _ = rustix::fs::utimensat(rustix::fs::CWD, &seal_path, &now(), rustix::fs::AtFlags::empty());
        Some(data)
    }

    /// Returns true if the content matches its seal. Reads the content only if its stamp has changed.
    fn intact(&self, seal: &mut File, data: &Path, seal_path: &Path) -> bool {
        let mut text = String::new();
        if seal.take(SEAL_LIMIT).read_to_string(&mut text).is_err() {
            return false;
        }
        let Ok(metadata) = fs::symlink_metadata(data) else { return false };
        match Seal::parse(&text) {
            None => false,
            Some(Seal::Directory { bytes, files }) => {
                metadata.is_dir() && self.has_files(bytes, files, data, seal_path)
            }
            Some(Seal::File { stamp, digest }) => {
                let found = Stamp::of(&metadata).to_string();
                if !metadata.is_file() || found == stamp {
                    return metadata.is_file();
                }
                // Copied or damaged: check the digest.
                let is_same = digest_of(data).is_ok_and(|now| now == digest);
                if is_same {
                    // If the new stamp is not recorded, the next check only takes longer.
                    let _ = replace(&self.directory, seal_path, &Seal::File { stamp: found, digest }.text());
                }
                is_same
            }
        }
    }

    /// Returns true if the directory `data` contains all sealed files. Reads files whose stamps have changed.
    fn has_files(&self, bytes: u64, mut files: Vec<SealedFile>, data: &Path, seal_path: &Path) -> bool {
        let mut is_copied = false;
        for file in &mut files {
            match file.check(data) {
                Condition::Unchanged => {}
                Condition::Copied(found) => (*file, is_copied) = (found, true),
                Condition::Damaged => return false,
            }
        }
        if is_copied {
            // If the new stamps are not recorded, the next check only takes longer.
            let _ = replace(&self.directory, seal_path, &Seal::Directory { bytes, files }.text());
        }
        true
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
        sealing: Sealing,
        make: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        self.tree_after(key, sealing, &mut || Ok(()), make)
    }

    /// Like [`Cache::tree`]. While another process builds the entry, `wait` is called repeatedly; an error ends the
    /// wait.
    pub(crate) fn tree_after<E: From<CacheError>>(
        &self,
        key: &Key,
        sealing: Sealing,
        wait: &mut dyn FnMut() -> Result<(), E>,
        make: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        self.entry(key, wait, |data| {
            DirBuilder::new().mode(0o700).create(data).map_err(failed("create", data))?;
            make(data)?;
            Ok(room::seal_tree(data, sealing)?)
        })
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
    use super::{Cache, CacheError, Key, Sealing, parse_size};
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
            assert_eq!(cache.get(&Key::of("test", &[b"a"])), None, "{damage}");
            let path = put(&cache, "a", b"the real content");
            assert_eq!(fs::read(path).expect("read"), b"the real content", "{damage}");
        }
    }

    fn put_tree(cache: &Cache, name: &str) -> std::path::PathBuf {
        let make = |directory: &std::path::Path| {
            fs::write(directory.join("a"), "content").expect("written");
            fs::write(directory.join("b.ko"), "content").expect("written");
            Ok(())
        };
        let key = Key::of("test", &[name.as_bytes()]);
        cache.tree::<CacheError>(&key, Sealing::ContentsExcept(".ko"), make).expect("an entry")
    }

    #[test]
    fn a_damaged_tree_is_rebuilt_except_for_files_that_the_caller_checks() {
        let (_dir, cache) = cache(1 << 20);
        for (file, text) in [("a", "c0ntent"), ("a", "con"), ("a", ""), ("../seal", "directory 9\n"), ("b.ko", "")] {
            let path = put_tree(&cache, "t").join(file);
            if text.is_empty() {
                fs::remove_file(&path).expect("removed");
            } else {
                // A disk or a program that damages a file may keep its times.
                let time = fs::metadata(&path).and_then(|found| found.modified()).expect("a time");
                fs::write(&path, text).expect("written");
                File::options().write(true).open(&path).expect("opened").set_modified(time).expect("set");
            }
            let found = cache.get(&Key::of("test", &[b"t"]));
            assert_eq!(found.is_some(), file == "b.ko", "{file} {text:?}");
            assert_eq!(fs::read(put_tree(&cache, "t").join("a")).expect("read"), b"content");
        }
    }

    #[test]
    fn entries_that_cannot_be_stored_are_built_in_a_temporary_directory() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::write(dir.path().join("file"), "").expect("written");
        let cache = Cache::at(dir.path().join("file/cache"), 1 << 20).expect("not an error");
        assert!(cache.unwritable().is_some_and(|error| error.to_string().contains("create the cache directory")));
        let path = put(&cache, "a", b"one");
        assert_eq!(fs::read(&path).expect("read"), b"one");
        assert_eq!(put(&cache.clone(), "a", b"two"), path, "built once");
        let key = Key::of("test", &[b"other"]);
        assert!(cache.lasting().file::<CacheError>(&key, |_| Ok(())).is_err());
        assert!(cache.discard_holder(&path) && cache.get(&Key::of("test", &[b"a"])).is_none());
        drop(cache);
        assert!(!path.exists() && !path.parent().and_then(|entry| entry.parent()).expect("a parent").exists());
    }

    #[test]
    fn entries_of_a_cache_that_cannot_be_written_are_used() {
        let (_dir, cache) = cache(1 << 20);
        let known = put(&cache, "known", b"one");
        // No process, not even root, can lock a directory's name for writing.
        let key = Key::of("test", &[b"new"]);
        fs::create_dir(cache.directory().join(format!(".lock-{}", &key.as_str()[..16]))).expect("made");
        assert_eq!(put(&cache, "known", b"two"), known);
        let new = put(&cache, "new", b"three");
        assert!(!new.starts_with(cache.directory()), "{}", new.display());
        assert_eq!(put(&cache, "new", b"four"), new);
    }

    #[test]
    fn a_copied_entry_is_checked_by_digest_and_sealed_again() {
        let (_dir, cache) = cache(1 << 20);
        let path = put(&cache, "a", b"content");
        fs::write(&path, b"content").expect("written");
        let key = Key::of("test", &[b"a"]);
        let before = fs::read(path.with_file_name("seal")).expect("read");
        assert!(cache.get(&key).is_some());
        assert_ne!(before, fs::read(path.with_file_name("seal")).expect("read"), "the new stamp is recorded");
    }

    #[test]
    fn a_copied_tree_is_checked_by_its_contents_and_sealed_again() {
        let (_dir, cache) = cache(1 << 20);
        let key = Key::of("test", &[b"links"]);
        let make = |sealing| {
            let made = cache.tree::<CacheError>(&key, sealing, |directory| {
                fs::write(directory.join("a"), "content").expect("written");
                std::os::unix::fs::symlink("a", directory.join("link")).expect("a link");
                Ok(())
            });
            made.expect("an entry")
        };
        let path = make(Sealing::Contents);
        let before = fs::read(path.with_file_name("seal")).expect("read");
        fs::write(path.join("a"), "content").expect("written");
        assert!(cache.get(&key).is_some());
        assert_ne!(before, fs::read(path.with_file_name("seal")).expect("read"), "the new stamp is recorded");
        fs::set_permissions(path.join("a"), fs::Permissions::from_mode(0o755)).expect("chmod");
        assert!(cache.get(&key).is_none(), "permissions are part of a file");
        fs::remove_file(make(Sealing::Contents).join("link")).expect("removed");
        assert!(cache.get(&key).is_none(), "links are sealed");
        fs::write(make(Sealing::Stamps).join("a"), "content").expect("written");
        assert!(cache.get(&key).is_none(), "a file that is not read must not be written");
    }

    #[test]
    fn a_failed_build_leaves_no_entry() {
        let (_dir, cache) = cache(1 << 20);
        let key = Key::of("test", &[b"a"]);
        let failed: Result<_, CacheError> = cache.file(&key, |_| Err(CacheError::NoPlace));
        assert!(failed.is_err());
        assert_eq!(cache.get(&key), None);
        let left = fs::read_dir(cache.directory()).expect("listed").map(|item| item.expect("an item").file_name());
        assert_eq!(left.collect::<Vec<_>>(), Vec::<std::ffi::OsString>::new());
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
        assert!(cache.get(&Key::of("test", &[b"used"])).is_some());
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
    fn no_lock_files_are_left() {
        let (_dir, cache) = cache(1 << 20);
        let past = SystemTime::now() - Duration::from_secs(3600);
        let [dead, alive] = [".lock-00000000000000aa", ".lock-00000000000000bb"].map(|name| {
            let path = cache.directory().join(name);
            let file = File::create(&path).expect("made");
            file.set_modified(past).expect("set");
            (path, file)
        });
        rustix::fs::flock(&alive.1, rustix::fs::FlockOperation::LockExclusive).expect("locked");
        put(&cache, "a", b"x");
        assert!(!dead.0.exists() && alive.0.exists());
        let left = fs::read_dir(cache.directory()).expect("listed").map(|item| item.expect("an item").file_name());
        assert_eq!(left.filter(|name| name.to_string_lossy().starts_with(".lock-")).count(), 1);
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
