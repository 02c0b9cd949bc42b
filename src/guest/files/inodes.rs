//! Files that the guest's kernel knows, by number. Each is pinned by an open descriptor that can neither read nor write
//! (`O_PATH`), until the kernel forgets it.
//!
//! The number of descriptors is limited, so that a guest that looks up everything gets EMFILE, and bootling keeps some.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

/// Number of the share's own directory (`FUSE_ROOT_ID`).
pub(super) const ROOT: u64 = 1;

/// Descriptors that one guest's shares may use together.
#[derive(Debug)]
pub(super) struct Budget {
    limit: u64,
    used: AtomicU64,
}

impl Budget {
    /// Creates a budget.
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, used: AtomicU64::new(0) }
    }

    /// Reserves a descriptor.
    pub(super) fn take(self: &Arc<Self>) -> io::Result<Permit> {
        let taken = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| (used < self.limit).then_some(used + 1));
        match taken {
            Ok(_) => Ok(Permit(Arc::clone(self))),
            Err(_) => Err(Errno::MFILE.into()),
        }
    }
}

/// A reserved descriptor.
#[derive(Debug)]
pub(super) struct Permit(Arc<Budget>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.used.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A file that the kernel knows.
#[derive(Debug)]
pub(super) struct Inode {
    /// Its number.
    pub(super) number: u64,
    /// The pinned file.
    path: File,
    /// Type and permissions when it was found. The type never changes.
    mode: u32,
    /// The file system.
    pub(super) device: u64,
    _permit: Permit,
}

impl Inode {
    /// Its attributes.
    pub(super) fn metadata(&self) -> io::Result<Metadata> {
        self.path.metadata()
    }

    /// A path to the same file, through which it can be opened: it is neither followed nor looked up again.
    pub(super) fn link(&self) -> String {
        format!("/proc/self/fd/{}", self.path.as_raw_fd())
    }

    /// Returns true for a regular file.
    pub(super) fn is_file(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFREG
    }

    /// Returns true for a directory.
    pub(super) fn is_directory(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFDIR
    }
}

impl AsFd for Inode {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.path.as_fd()
    }
}

/// The known files of a share.
#[derive(Debug)]
pub(super) struct Inodes {
    tables: Mutex<Tables>,
    budget: Arc<Budget>,
}

#[derive(Debug, Default)]
struct Tables {
    by_number: HashMap<u64, Known>,
    /// By file system and inode number: all names of a file are one inode.
    by_id: HashMap<(u64, u64), u64>,
    last: u64,
}

#[derive(Debug)]
struct Known {
    inode: Arc<Inode>,
    id: (u64, u64),
    /// Number of lookups by the kernel.
    lookups: u64,
}

impl Inodes {
    /// Starts with the share's directory.
    pub(super) fn new(root: File, budget: &Arc<Budget>) -> io::Result<Self> {
        let inodes = Self { tables: Mutex::new(Tables::default()), budget: Arc::clone(budget) };
        inodes.add(root)?;
        Ok(inodes)
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the file with a number.
    pub(super) fn get(&self, number: u64) -> io::Result<Arc<Inode>> {
        match self.tables().by_number.get(&number) {
            Some(known) => Ok(Arc::clone(&known.inode)),
            None => Err(Errno::BADF.into()),
        }
    }

    /// Adds a file that the kernel has looked up, or counts the lookup if it is known.
    pub(super) fn add(&self, path: File) -> io::Result<(Arc<Inode>, Metadata)> {
        let metadata = path.metadata()?;
        let id = (metadata.dev(), metadata.ino());
        let mut tables = self.tables();
        if let Some(number) = tables.by_id.get(&id).copied()
            && let Some(known) = tables.by_number.get_mut(&number)
        {
            known.lookups = known.lookups.saturating_add(1);
            return Ok((Arc::clone(&known.inode), metadata));
        }
        let permit = self.budget.take()?;
        tables.last += 1;
        let number = tables.last;
        let inode = Inode { number, path, mode: metadata.mode(), device: metadata.dev(), _permit: permit };
        let inode = Arc::new(inode);
        tables.by_id.insert(id, number);
        tables.by_number.insert(number, Known { inode: Arc::clone(&inode), id, lookups: 1 });
        Ok((inode, metadata))
    }

    /// Takes back lookups of the kernel. The file is closed when none is left.
    pub(super) fn forget(&self, number: u64, count: u64) {
        let mut tables = self.tables();
        if number == ROOT {
            return;
        }
        let Some(known) = tables.by_number.get_mut(&number) else { return };
        known.lookups = known.lookups.saturating_sub(count);
        if known.lookups == 0 {
            let id = known.id;
            tables.by_id.remove(&id);
            tables.by_number.remove(&number);
        }
    }

    /// Forgets everything but the share's directory.
    pub(super) fn clear(&self) {
        let mut tables = self.tables();
        let Tables { by_number, by_id, .. } = &mut *tables;
        by_number.retain(|number, _| *number == ROOT);
        by_id.retain(|_, number| *number == ROOT);
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, Inodes, ROOT};
    use rustix::fs::{CWD, Mode, OFlags, openat};
    use std::fs::File;
    use std::path::Path;
    use std::sync::Arc;

    fn pin(path: &Path) -> File {
        openat(CWD, path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()).expect("it exists").into()
    }

    #[test]
    fn all_names_of_a_file_are_one_inode_until_it_is_forgotten() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("a"), "").expect("written");
        std::fs::hard_link(at("a"), at("b")).expect("linked");
        let budget = Arc::new(Budget::new(2));
        let inodes = Inodes::new(pin(dir.path()), &budget).expect("a root");
        assert!(inodes.get(ROOT).expect("the root").is_directory());
        let first = inodes.add(pin(&at("a"))).expect("new").0.number;
        assert_eq!(inodes.add(pin(&at("b"))).expect("known").0.number, first);
        inodes.forget(first, 1);
        assert!(inodes.get(first).expect("still known").is_file());
        std::fs::write(at("c"), "").expect("written");
        let error = inodes.add(pin(&at("c"))).expect_err("no descriptor is left");
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
        inodes.forget(first, 7);
        inodes.get(first).expect_err("forgotten");
        assert_ne!(inodes.add(pin(&at("c"))).expect("a descriptor is free").0.number, first);
        inodes.forget(ROOT, u64::MAX);
        inodes.clear();
        inodes.get(ROOT).expect("always known");
    }
}
