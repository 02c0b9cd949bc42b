//! Path lookup below a root directory, as a process chrooted there would see it.
//!
//! Absolute symbolic links stay inside the root, `..` never leaves it, and every lookup is recorded. Rejects link loops
//! (the kernel's limit of 40, `fs/namei.c`, `MAXSYMLINKS`).

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::format::archive_path::ArchivePath;

/// The kernel's `MAXSYMLINKS`.
const MAX_HOPS: usize = 40;

/// A directory that is used as `/`.
#[derive(Debug)]
pub struct Root {
    directory: PathBuf,
    read: RefCell<BTreeSet<PathBuf>>,
    missed: RefCell<BTreeSet<PathBuf>>,
    listed: RefCell<BTreeSet<PathBuf>>,
    /// One `lstat`/`readlink` per path: closures walk the same directories thousands of times.
    seen: RefCell<HashMap<ArchivePath, Seen>>,
}

/// Type of one path, not followed.
#[derive(Debug, Clone)]
enum Seen {
    Missing,
    Link(Arc<Path>),
    Other(Arc<Metadata>),
}

/// A symbolic link that was followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hop {
    /// Path of the link; all directories in it are real.
    pub(crate) link: ArchivePath,
    /// Its target, as stored.
    pub(crate) target: PathBuf,
}

/// A path with all its links followed.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The path inside the root, free of links.
    pub real: ArchivePath,
    /// The links on the way, in the order they were followed.
    pub(crate) hops: Vec<Hop>,
    /// Metadata of the real file (not of a link).
    pub(crate) metadata: Arc<Metadata>,
}

/// Failed path lookup.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// The path does not exist.
    #[error("{}: no such file or directory", path.display())]
    Missing {
        /// Path on the host.
        path: PathBuf,
    },
    /// A link loop, or too many links.
    #[error("{}: more than {MAX_HOPS} symbolic links, or a loop", path.display())]
    Loop {
        /// The requested path.
        path: PathBuf,
    },
    /// An I/O error.
    #[error("failed to read {}", path.display())]
    Io {
        /// Path on the host.
        path: PathBuf,
        /// The underlying error.
        source: io::Error,
    },
}

impl RootError {
    /// Returns true if the path does not exist.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. })
    }
}

impl Root {
    /// Creates a view below `directory`, which must be a directory.
    pub fn new(directory: impl Into<PathBuf>) -> Result<Self, RootError> {
        let directory = directory.into();
        let metadata = fs::metadata(&directory).map_err(|source| RootError::Io { path: directory.clone(), source })?;
        if !metadata.is_dir() {
            return Err(RootError::Io { path: directory, source: io::ErrorKind::NotADirectory.into() });
        }
        // Paths are passed to QEMU and printed in errors, so they must not depend on the current directory.
        let directory = fs::canonicalize(&directory).map_err(|source| RootError::Io { path: directory, source })?;
        Ok(Self {
            directory,
            read: RefCell::default(),
            missed: RefCell::default(),
            listed: RefCell::default(),
            seen: RefCell::default(),
        })
    }

    /// Returns the root directory, as an absolute path.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns true if the root is this system's own `/`.
    pub(crate) fn is_host(&self) -> bool {
        self.directory == Path::new("/")
    }

    /// Returns the path under which this process opens `path`. Follows no links.
    pub fn host_path(&self, path: &ArchivePath) -> PathBuf {
        let mut host = self.directory.clone();
        host.push(std::ffi::OsStr::from_bytes(path.as_bytes()));
        host
    }

    /// Converts a path typed by the user to a path inside the root. Relative paths start at the current directory on
    /// the host's own root, and at `/` in any other. A path that starts with the root directory is taken as inside it.
    pub(crate) fn typed(&self, path: &Path) -> ArchivePath {
        if self.is_host() {
            if path.is_absolute() {
                return ArchivePath::new(path);
            }
            let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
            return ArchivePath::new(here.join(path));
        }
        ArchivePath::new(path.strip_prefix(&self.directory).unwrap_or(path))
    }

    /// Follows all links of `path`.
    pub fn resolve(&self, path: &ArchivePath) -> Result<Resolved, RootError> {
        let mut hops: Vec<Hop> = Vec::new();
        let mut real = ArchivePath::default();
        // Remaining components, the next one last.
        let mut ahead: Vec<OsString> = components(path);
        let mut metadata = None;
        while let Some(name) = ahead.pop() {
            if name == ".." {
                real = real.parent().unwrap_or_default();
                metadata = None;
                continue;
            }
            let next = real.join(&name);
            match self.lookup(&next)? {
                Seen::Missing => return Err(RootError::Missing { path: self.host_path(path) }),
                Seen::Link(target) => {
                    if hops.len() >= MAX_HOPS {
                        return Err(RootError::Loop { path: self.host_path(path) });
                    }
                    if target.is_absolute() {
                        real = ArchivePath::default();
                    }
                    hops.push(Hop { link: next, target: target.to_path_buf() });
                    ahead.extend(link_components(&target));
                    metadata = None;
                }
                Seen::Other(found) => {
                    if !ahead.is_empty() && !found.is_dir() {
                        return Err(RootError::Io {
                            path: self.host_path(&next),
                            source: io::ErrorKind::NotADirectory.into(),
                        });
                    }
                    real = next;
                    metadata = Some(found);
                }
            }
        }
        let metadata = match metadata {
            Some(found) => found,
            None => match self.lookup(&real)? {
                Seen::Other(found) => found,
                Seen::Missing | Seen::Link(_) => return Err(RootError::Missing { path: self.host_path(path) }),
            },
        };
        Ok(Resolved { real, hops, metadata })
    }

    /// Like [`Root::resolve`], but returns `None` for a path that does not exist or cannot be entered.
    ///
    /// The dynamic loader continues at `ENOENT`, `ENOTDIR` and `EACCES` alike (`elf/dl-load.c`, `open_path`).
    pub fn find(&self, path: &ArchivePath) -> Option<Resolved> {
        self.resolve(path).ok()
    }

    /// Returns true if `path` exists, even as a dangling link.
    pub(crate) fn exists(&self, path: &ArchivePath) -> bool {
        self.unfollowed(path).is_some()
    }

    /// Returns true if `path` is a directory, and not a link to one.
    pub(crate) fn is_real_dir(&self, path: &ArchivePath) -> bool {
        self.unfollowed(path).is_some_and(|found| matches!(found, Seen::Other(metadata) if metadata.is_dir()))
    }

    /// Resolves the directory of `path`, but not its last component, which may be a link.
    pub(crate) fn place(&self, path: &ArchivePath) -> Result<Resolved, RootError> {
        let mut place = self.resolve(&path.parent().unwrap_or_default())?;
        place.real = place.real.join(path.file_name());
        match self.lookup(&place.real)? {
            Seen::Missing => return Err(RootError::Missing { path: self.host_path(path) }),
            Seen::Link(_) => {
                let host = self.host_path(&place.real);
                let found = fs::symlink_metadata(&host).map_err(|source| RootError::Io { path: host, source })?;
                place.metadata = Arc::new(found);
            }
            Seen::Other(metadata) => place.metadata = metadata,
        }
        Ok(place)
    }

    /// Records a path that was found by other means than a lookup here, such as a directory walk.
    pub(crate) fn record(&self, host: PathBuf) {
        self.read.borrow_mut().insert(host);
    }

    /// Records a directory that was listed by other means than [`Root::list`].
    pub(crate) fn record_listing(&self, host: PathBuf) {
        self.listed.borrow_mut().insert(host);
    }

    fn unfollowed(&self, path: &ArchivePath) -> Option<Seen> {
        let parent = self.find(&path.parent().unwrap_or_default())?;
        self.lookup(&parent.real.join(path.file_name())).ok().filter(|seen| !matches!(seen, Seen::Missing))
    }

    /// Opens the file that `path` leads to.
    pub(crate) fn open(&self, path: &ArchivePath) -> Result<(Resolved, File), RootError> {
        let resolved = self.resolve(path)?;
        let host = self.host_path(&resolved.real);
        let file = File::open(&host).map_err(|source| RootError::Io { path: host, source })?;
        Ok((resolved, file))
    }

    /// Reads a whole small file; fails if it is larger than `limit` bytes.
    pub fn read(&self, path: &ArchivePath, limit: u64) -> Result<Vec<u8>, RootError> {
        let (resolved, file) = self.open(path)?;
        let host = self.host_path(&resolved.real);
        read_at_most(file, limit).map_err(|source| RootError::Io { path: host, source })
    }

    /// Returns the names in a directory, sorted by bytes. Recorded like any other lookup.
    pub(crate) fn list(&self, path: &ArchivePath) -> Result<Vec<OsString>, RootError> {
        let resolved = self.resolve(path)?;
        let host = self.host_path(&resolved.real);
        self.record_listing(host.clone());
        let listed: io::Result<Vec<OsString>> =
            fs::read_dir(&host).and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect());
        let mut names = listed.map_err(|source| RootError::Io { path: host, source })?;
        names.sort();
        Ok(names)
    }

    /// Returns every host path found so far, sorted.
    pub(crate) fn paths_read(&self) -> Vec<PathBuf> {
        self.read.borrow().iter().cloned().collect()
    }

    /// Returns every host path that was looked up but does not exist, sorted.
    pub(crate) fn paths_missed(&self) -> Vec<PathBuf> {
        self.missed.borrow().iter().cloned().collect()
    }

    /// Returns every host directory listed so far, sorted. A new name in one of them may change the result.
    pub(crate) fn paths_listed(&self) -> Vec<PathBuf> {
        self.listed.borrow().iter().cloned().collect()
    }

    /// Looks up one path without following it; asks the file system once per path.
    fn lookup(&self, path: &ArchivePath) -> Result<Seen, RootError> {
        if let Some(seen) = self.seen.borrow().get(path) {
            return Ok(seen.clone());
        }
        let host = self.host_path(path);
        let seen = match fs::symlink_metadata(&host) {
            Ok(metadata) if metadata.is_symlink() => {
                let target = fs::read_link(&host).map_err(|source| RootError::Io { path: host.clone(), source })?;
                Seen::Link(target.into())
            }
            Ok(metadata) => Seen::Other(Arc::new(metadata)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Seen::Missing
            }
            Err(source) => return Err(RootError::Io { path: host, source }),
        };
        let record = if matches!(seen, Seen::Missing) { &self.missed } else { &self.read };
        record.borrow_mut().insert(host);
        self.seen.borrow_mut().insert(path.clone(), seen.clone());
        Ok(seen)
    }
}

/// Reads everything; fails beyond `limit` bytes.
pub(crate) fn read_at_most(file: impl io::Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, limit + 1), &mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!("larger than {limit} bytes")));
    }
    Ok(bytes)
}

/// Returns the components of a normal path, last first.
fn components(path: &ArchivePath) -> Vec<OsString> {
    let bytes = path.as_bytes().split(|byte| *byte == b'/').filter(|part| !part.is_empty());
    bytes.map(|part| std::ffi::OsStr::from_bytes(part).to_owned()).rev().collect()
}

/// Returns the components of a link's target, last first. `..` is kept: it is relative to the real directory.
fn link_components(target: &Path) -> Vec<OsString> {
    let bytes = target.as_os_str().as_bytes().split(|byte| *byte == b'/');
    let parts = bytes.filter(|part| !part.is_empty() && *part != b".");
    let mut parts: Vec<OsString> = parts.map(|part| std::ffi::OsStr::from_bytes(part).to_owned()).collect();
    parts.reverse();
    parts
}

#[cfg(test)]
mod tests {
    use super::{ArchivePath, Root, RootError};
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn absolute_links_stay_inside_the_root_and_hops_are_listed_in_order() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir_all(dir.path().join("usr/lib/x")).expect("directories");
        fs::write(dir.path().join("usr/lib/x/real.so.1.2"), b"x").expect("a file");
        symlink("/usr/lib", dir.path().join("lib")).expect("a link");
        symlink("../lib/x/real.so.1.2", dir.path().join("usr/lib/so.1")).expect("a link");
        let root = Root::new(dir.path()).expect("a root");
        let found = root.resolve(&ArchivePath::new("/lib/so.1")).expect("resolves");
        assert_eq!(found.real, ArchivePath::new("/usr/lib/x/real.so.1.2"));
        let links: Vec<String> = found.hops.iter().map(|hop| hop.link.to_string()).collect();
        assert_eq!(links, ["/lib", "/usr/lib/so.1"]);
        assert!(root.paths_read().contains(&root.directory().join("usr/lib/x")));
        assert!(root.paths_listed().is_empty());
        root.list(&ArchivePath::new("/lib")).expect("listed");
        assert_eq!(root.paths_listed(), [root.directory().join("usr/lib")]);
    }

    #[test]
    fn a_loop_is_an_error_and_a_miss_is_recorded() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        symlink("b", dir.path().join("a")).expect("a link");
        symlink("a", dir.path().join("b")).expect("a link");
        let root = Root::new(dir.path()).expect("a root");
        assert!(matches!(root.resolve(&ArchivePath::new("/a")), Err(RootError::Loop { .. })));
        assert!(root.find(&ArchivePath::new("/nothing")).is_none());
        assert_eq!(root.paths_missed(), [root.directory().join("nothing")]);
    }

    #[test]
    fn dot_dot_in_a_link_never_leaves_the_root() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        symlink("../../../../etc", dir.path().join("up")).expect("a link");
        fs::create_dir(dir.path().join("etc")).expect("a directory");
        let root = Root::new(dir.path()).expect("a root");
        assert_eq!(root.resolve(&ArchivePath::new("/up")).expect("resolves").real, ArchivePath::new("/etc"));
    }
}
