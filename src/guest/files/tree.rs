//! One directory of the host as a file system for the guest.
//!
//! Every lookup is of a single name in an open directory, without following links, so neither links nor `..` lead out of the
//! directory: the guest's kernel resolves links, in the guest. Only regular files and directories are opened; device nodes
//! and pipes of the host never are. Mounts of the host's kernel (`/proc`, `/sys`) are left out.
//!
//! The crate's own file system is not used: it sets the process's umask, keeps data about every file ever seen, and looks `..`
//! up.

use std::collections::HashMap;
use std::ffi::CStr;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fuse_backend_rs::abi::fuse_abi::{Attr, stat64};
use fuse_backend_rs::api::filesystem::{Context, Entry};
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid, chmodat, chownat, fstatfs, openat};
use rustix::io::Errno;

use super::inodes::{Budget, Inode, Inodes, Permit};

/// Time for which the guest's kernel may use names and attributes of a share without asking again.
const SHARE: Duration = Duration::from_secs(1);
/// The same for the root: a system's files rarely change.
const ROOT: Duration = Duration::from_secs(60);
/// Maximum number of files that stay open although the guest's kernel has not opened them itself.
const MAX_IDLE: usize = 64;
/// File system types of the host's kernel (`include/uapi/linux/magic.h`): proc, sysfs, devpts, debugfs, tracefs, cgroup,
/// cgroup2, securityfs, bpf, configfs, pstore, efivarfs, mqueue, `binfmt_misc`, selinuxfs, fusectl, autofs, nsfs.
const KERNELS_OWN: [u64; 18] = [
    0x9fa0,
    0x6265_6572,
    0x1cd1,
    0x6462_6720,
    0x7472_6163,
    0x0027_e0eb,
    0x6367_7270,
    0x7363_6673,
    0xcafe_4a11,
    0x6265_6570,
    0x6165_676c,
    0xde5e_81e4,
    0x1980_0202,
    0x4249_4e4d,
    0xf97c_ff8c,
    0x6573_5543,
    0x0187,
    0x6e73_6673,
];

/// A served directory.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) inodes: Inodes,
    handles: Mutex<Handles>,
    next: AtomicU64,
    pub(super) is_writable: bool,
    pub(super) timeout: Duration,
    /// True if the kernel uses files without opening them, see [`Tree::file`].
    pub(super) no_open: AtomicBool,
    /// The same for directories.
    pub(super) no_opendir: AtomicBool,
    /// True if this process is root: new files then belong to the user who creates them in the guest.
    is_root: bool,
    budget: Arc<Budget>,
}

/// Open files.
#[derive(Debug, Default)]
struct Handles {
    open: HashMap<u64, Arc<Handle>>,
    /// By number of the inode, the oldest first.
    idle: Vec<Arc<Handle>>,
}

/// An open file or directory.
#[derive(Debug)]
pub(super) struct Handle {
    inode: u64,
    file: Mutex<File>,
    _permit: Permit,
}

impl Handle {
    /// The open file, for one user at a time.
    pub(super) fn file(&self) -> MutexGuard<'_, File> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tree {
    /// Serves `directory`. `is_system`: as the guest's root.
    pub(super) fn new(directory: File, is_writable: bool, is_system: bool, budget: &Arc<Budget>) -> io::Result<Self> {
        Ok(Self {
            inodes: Inodes::new(directory, budget)?,
            handles: Mutex::default(),
            next: AtomicU64::new(1),
            is_writable,
            timeout: if is_system { ROOT } else { SHARE },
            no_open: AtomicBool::new(false),
            no_opendir: AtomicBool::new(false),
            is_root: rustix::process::geteuid().is_root(),
            budget: Arc::clone(budget),
        })
    }

    fn handles(&self) -> MutexGuard<'_, Handles> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails if the guest may not write.
    pub(super) fn check_writable(&self) -> io::Result<()> {
        if self.is_writable { Ok(()) } else { Err(Errno::ROFS.into()) }
    }

    /// Looks up a name in a directory.
    pub(super) fn find(&self, parent: &Inode, name: &CStr) -> io::Result<Entry> {
        check_name(name)?;
        let found = openat(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        let found = File::from(found);
        if found.metadata()?.dev() != parent.device && is_kernels_own(&found)? {
            return Err(Errno::NOENT.into());
        }
        let (inode, metadata) = self.inodes.add(found)?;
        Ok(self.entry(&inode, &metadata))
    }

    /// Returns a new file as an entry, and sets its mode, which the umask of this process may have changed, and its owner.
    pub(super) fn made(&self, context: &Context, parent: &Inode, name: &CStr, mode: Option<u32>) -> io::Result<Entry> {
        let entry = self.find(parent, name)?;
        let inode = self.inodes.get(entry.inode)?;
        if self.is_root && (context.uid, context.gid) != (0, 0) {
            let (uid, gid) = (Uid::from_raw(context.uid), Gid::from_raw(context.gid));
            chownat(&*inode, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW)?;
        }
        if let Some(mode) = mode
            && inode.metadata()?.mode() & 0o7777 != mode
        {
            chmodat(CWD, inode.link(), Mode::from_raw_mode(mode), AtFlags::empty())?;
        }
        Ok(self.entry(&inode, &inode.metadata()?))
    }

    fn entry(&self, inode: &Inode, metadata: &Metadata) -> Entry {
        Entry {
            inode: inode.number,
            generation: 0,
            attr: attributes(metadata),
            attr_flags: 0,
            attr_timeout: self.timeout,
            entry_timeout: self.timeout,
        }
    }

    /// An entry that tells the kernel that there is no such name, for a while.
    pub(super) fn no_entry(&self) -> Entry {
        Entry { entry_timeout: self.timeout, ..Entry::default() }
    }

    /// Opens a regular file or a directory.
    pub(super) fn open(&self, inode: &Inode, flags: OFlags) -> io::Result<Arc<Handle>> {
        if !inode.is_file() && !inode.is_directory() {
            return Err(Errno::ACCESS.into());
        }
        let permit = self.budget.take()?;
        let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file = openat(CWD, inode.link(), flags, Mode::empty())?;
        Ok(Arc::new(Handle { inode: inode.number, file: Mutex::new(file.into()), _permit: permit }))
    }

    /// Keeps an open file for the kernel. Returns its number.
    pub(super) fn keep(&self, handle: Arc<Handle>) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.handles().open.insert(number, handle);
        number
    }

    /// Adds an open file that is new in the share.
    pub(super) fn adopt(&self, inode: u64, file: File) -> io::Result<Arc<Handle>> {
        let permit = self.budget.take()?;
        Ok(Arc::new(Handle { inode, file: Mutex::new(file), _permit: permit }))
    }

    /// Returns the open file with this number, which must be of this inode; for a kernel that does not open files, a file
    /// that is opened for reading now, and stays open for a while.
    pub(super) fn file(&self, inode: u64, handle: u64) -> io::Result<Arc<Handle>> {
        {
            let mut handles = self.handles();
            if let Some(handle) = handles.open.get(&handle).filter(|handle| handle.inode == inode) {
                return Ok(Arc::clone(handle));
            }
            if let Some(at) = handles.idle.iter().position(|handle| handle.inode == inode) {
                let handle = handles.idle.remove(at);
                handles.idle.push(Arc::clone(&handle));
                return Ok(handle);
            }
        }
        let found = self.inodes.get(inode)?;
        let is_unopened = if found.is_directory() { &self.no_opendir } else { &self.no_open };
        if !is_unopened.load(Ordering::Relaxed) {
            return Err(Errno::BADF.into());
        }
        let kind = if found.is_directory() { OFlags::DIRECTORY } else { OFlags::empty() };
        let handle = self.open(&found, OFlags::RDONLY | kind)?;
        let mut handles = self.handles();
        if handles.idle.len() >= MAX_IDLE {
            handles.idle.remove(0);
        }
        handles.idle.push(Arc::clone(&handle));
        Ok(handle)
    }

    /// Closes an open file.
    pub(super) fn close(&self, inode: u64, handle: u64) -> io::Result<()> {
        let mut handles = self.handles();
        match handles.open.get(&handle) {
            Some(open) if open.inode == inode => drop(handles.open.remove(&handle)),
            Some(_) | None => return Err(Errno::BADF.into()),
        }
        Ok(())
    }

    /// Closes idle files of an inode that the kernel has forgotten.
    pub(super) fn forget(&self, inode: u64, count: u64) {
        self.inodes.forget(inode, count);
        self.handles().idle.retain(|handle| handle.inode != inode);
    }

    /// Closes everything.
    pub(super) fn clear(&self) {
        *self.handles() = Handles::default();
        self.inodes.clear();
    }
}

/// Checks a name from the guest: a single one.
pub(super) fn check_name(name: &CStr) -> io::Result<()> {
    match name.to_bytes() {
        b"" | b"." | b".." => Err(Errno::INVAL.into()),
        bytes if bytes.contains(&b'/') => Err(Errno::INVAL.into()),
        _ => Ok(()),
    }
}

/// Returns true for a file in a file system of the host's kernel.
pub(super) fn is_kernels_own(file: &File) -> io::Result<bool> {
    let kind = fstatfs(file)?.f_type;
    Ok(KERNELS_OWN.iter().any(|known| u64::try_from(kind).is_ok_and(|kind| kind == *known)))
}

/// Converts attributes.
pub(super) fn attributes(metadata: &Metadata) -> stat64 {
    let attr = Attr {
        ino: metadata.ino(),
        size: metadata.size(),
        blocks: metadata.blocks(),
        atime: metadata.atime().cast_unsigned(),
        mtime: metadata.mtime().cast_unsigned(),
        ctime: metadata.ctime().cast_unsigned(),
        atimensec: nanoseconds(metadata.atime_nsec()),
        mtimensec: nanoseconds(metadata.mtime_nsec()),
        ctimensec: nanoseconds(metadata.ctime_nsec()),
        mode: metadata.mode(),
        nlink: u32::try_from(metadata.nlink()).unwrap_or(u32::MAX),
        uid: metadata.uid(),
        gid: metadata.gid(),
        // The kernel's encoding of the usual numbers is the low half of the C library's.
        rdev: metadata.rdev() as u32,
        blksize: u32::try_from(metadata.blksize()).unwrap_or(4096),
        flags: 0,
    };
    attr.into()
}

fn nanoseconds(value: i64) -> u32 {
    u32::try_from(value).unwrap_or(0)
}
