//! Requests of the guest's kernel on a [`Tree`].

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fuse_backend_rs::abi::fuse_abi::{CreateIn, FsOptions, OpenOptions, SetattrValid, stat64, statvfs64};
use fuse_backend_rs::api::filesystem::{Context, DirEntry, Entry, FileSystem, ZeroCopyReader, ZeroCopyWriter};
use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FileType, Gid, Mode, OFlags, RenameFlags, Timespec, Timestamps, UTIME_NOW,
    UTIME_OMIT, Uid, chmodat, chownat, fallocate, linkat, mkdirat, mknodat, openat, readlinkat, renameat_with,
    symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::inodes::Inode;
use super::tree::{Tree, attributes, check_name};
use crate::sys;

/// Flags of open(2) that a guest may use. The others could create files, or open something else.
const FLAGS: OFlags = OFlags::RDWR
    .union(OFlags::WRONLY)
    .union(OFlags::APPEND)
    .union(OFlags::TRUNC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::DSYNC)
    .union(OFlags::SYNC);
/// Permissions that new files may have: set-user-ID and set-group-ID programs would run as this user on the host.
const PERMISSIONS: u32 = 0o1777;

/// A number and the flags of an open file, as the crate returns them.
type Opened = (Option<u64>, OpenOptions);

impl Tree {
    /// Returns the flags for open(2). Fails if they write to a share that the guest may not write to.
    fn flags(&self, flags: u32) -> io::Result<OFlags> {
        let flags = OFlags::from_bits_truncate(flags) & FLAGS;
        if flags.intersects(OFlags::RDWR | OFlags::WRONLY | OFlags::TRUNC) {
            self.check_writable()?;
        }
        Ok(flags)
    }

    fn remove(&self, parent: u64, name: &CStr, flags: AtFlags) -> io::Result<()> {
        self.check_writable()?;
        check_name(name)?;
        Ok(unlinkat(&*self.inodes.get(parent)?, name, flags)?)
    }

    /// Prepares the creation of a name in a directory.
    fn place(&self, parent: u64, name: &CStr) -> io::Result<std::sync::Arc<Inode>> {
        self.check_writable()?;
        check_name(name)?;
        self.inodes.get(parent)
    }
}

impl FileSystem for Tree {
    type Inode = u64;
    type Handle = u64;

    fn init(&self, capable: FsOptions) -> io::Result<FsOptions> {
        // A file that is only read needs no requests to open and close it.
        let is_unopened = capable.contains(FsOptions::ZERO_MESSAGE_OPEN) && !self.is_writable;
        self.no_open.store(is_unopened, Ordering::Relaxed);
        let is_unopened = capable.contains(FsOptions::ZERO_MESSAGE_OPENDIR);
        self.no_opendir.store(is_unopened, Ordering::Relaxed);
        Ok(FsOptions::ASYNC_READ
            | FsOptions::BIG_WRITES
            | FsOptions::MAX_PAGES
            | FsOptions::ATOMIC_O_TRUNC
            | FsOptions::AUTO_INVAL_DATA
            | FsOptions::DO_READDIRPLUS
            | FsOptions::READDIRPLUS_AUTO
            | FsOptions::PARALLEL_DIROPS
            | FsOptions::CACHE_SYMLINKS
            | FsOptions::ZERO_MESSAGE_OPEN
            | FsOptions::ZERO_MESSAGE_OPENDIR)
    }

    fn destroy(&self) {
        self.clear();
    }

    fn lookup(&self, _: &Context, parent: u64, name: &CStr) -> io::Result<Entry> {
        match self.find(&*self.inodes.get(parent)?, name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(self.no_entry()),
            other => other,
        }
    }

    fn forget(&self, _: &Context, inode: u64, count: u64) {
        Self::forget(self, inode, count);
    }

    fn getattr(&self, _: &Context, inode: u64, _: Option<u64>) -> io::Result<(stat64, Duration)> {
        Ok((attributes(&self.inodes.get(inode)?.metadata()?), self.timeout))
    }

    fn setattr(
        &self,
        context: &Context,
        inode: u64,
        attr: stat64,
        handle: Option<u64>,
        valid: SetattrValid,
    ) -> io::Result<(stat64, Duration)> {
        self.check_writable()?;
        let found = self.inodes.get(inode)?;
        if valid.contains(SetattrValid::MODE) {
            let sticky = if found.is_directory() { 0o2000 } else { 0 };
            let mode = Mode::from_raw_mode(attr.st_mode & (PERMISSIONS | sticky));
            chmodat(CWD, found.link(), mode, AtFlags::empty())?;
        }
        if valid.intersects(SetattrValid::UID | SetattrValid::GID) {
            let uid = valid.contains(SetattrValid::UID).then(|| Uid::from_raw(attr.st_uid));
            let gid = valid.contains(SetattrValid::GID).then(|| Gid::from_raw(attr.st_gid));
            chownat(&*found, c"", uid, gid, AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW)?;
        }
        if valid.contains(SetattrValid::SIZE) {
            let len = u64::try_from(attr.st_size).map_err(|_| Errno::INVAL)?;
            let open = match handle {
                Some(handle) => self.file(inode, handle)?,
                None if found.is_file() => self.open(&found, OFlags::WRONLY | OFlags::NONBLOCK)?,
                None => return Err(Errno::INVAL.into()),
            };
            open.file().set_len(len)?;
        }
        let time = |given, now, seconds, nanoseconds| {
            let nanoseconds = if valid.contains(now) {
                UTIME_NOW
            } else if valid.contains(given) {
                nanoseconds
            } else {
                UTIME_OMIT
            };
            Timespec { tv_sec: seconds, tv_nsec: nanoseconds }
        };
        if valid.intersects(SetattrValid::ATIME | SetattrValid::MTIME) {
            let (now, given) = (SetattrValid::ATIME_NOW, SetattrValid::ATIME);
            let last_access = time(given, now, attr.st_atime, attr.st_atime_nsec);
            let (now, given) = (SetattrValid::MTIME_NOW, SetattrValid::MTIME);
            let last_modification = time(given, now, attr.st_mtime, attr.st_mtime_nsec);
            let times = Timestamps { last_access, last_modification };
            utimensat(CWD, found.link(), &times, AtFlags::empty())?;
        }
        self.getattr(context, inode, handle)
    }

    fn readlink(&self, _: &Context, inode: u64) -> io::Result<Vec<u8>> {
        Ok(readlinkat(&*self.inodes.get(inode)?, c"", Vec::new())?.into_bytes())
    }

    fn symlink(&self, context: &Context, target: &CStr, parent: u64, name: &CStr) -> io::Result<Entry> {
        let parent = self.place(parent, name)?;
        symlinkat(target, &*parent, name)?;
        self.made(context, &parent, name, None)
    }

    fn mknod(&self, context: &Context, parent: u64, name: &CStr, mode: u32, _: u32, _: u32) -> io::Result<Entry> {
        let parent = self.place(parent, name)?;
        let kind = FileType::from_raw_mode(mode);
        // Devices of the guest have nothing to do with those of the host.
        if !matches!(kind, FileType::RegularFile | FileType::Fifo | FileType::Socket) {
            return Err(Errno::PERM.into());
        }
        let mode = mode & PERMISSIONS;
        mknodat(&*parent, name, kind, Mode::from_raw_mode(mode), 0)?;
        self.made(context, &parent, name, Some(mode))
    }

    fn mkdir(&self, context: &Context, parent: u64, name: &CStr, mode: u32, _: u32) -> io::Result<Entry> {
        let parent = self.place(parent, name)?;
        mkdirat(&*parent, name, Mode::from_raw_mode(mode & PERMISSIONS))?;
        // A directory may inherit its parent's group and the bit for that.
        self.made(context, &parent, name, None)
    }

    fn unlink(&self, _: &Context, parent: u64, name: &CStr) -> io::Result<()> {
        self.remove(parent, name, AtFlags::empty())
    }

    fn rmdir(&self, _: &Context, parent: u64, name: &CStr) -> io::Result<()> {
        self.remove(parent, name, AtFlags::REMOVEDIR)
    }

    fn rename(&self, _: &Context, from: u64, old: &CStr, to: u64, new: &CStr, flags: u32) -> io::Result<()> {
        let (from, to) = (self.place(from, old)?, self.place(to, new)?);
        let flags = RenameFlags::from_bits(flags).ok_or(Errno::INVAL)?;
        if flags.contains(RenameFlags::WHITEOUT) {
            return Err(Errno::INVAL.into());
        }
        Ok(renameat_with(&*from, old, &*to, new, flags)?)
    }

    fn link(&self, _: &Context, inode: u64, parent: u64, name: &CStr) -> io::Result<Entry> {
        let (found, parent) = (self.inodes.get(inode)?, self.place(parent, name)?);
        linkat(CWD, found.link(), &*parent, name, AtFlags::SYMLINK_FOLLOW)?;
        self.find(&parent, name)
    }

    fn open(&self, _: &Context, inode: u64, flags: u32, _: u32) -> io::Result<(Option<u64>, OpenOptions, Option<u32>)> {
        let flags = self.flags(flags)?;
        if self.no_open.load(Ordering::Relaxed) {
            return Err(Errno::NOSYS.into());
        }
        let handle = Self::open(self, &*self.inodes.get(inode)?, flags)?;
        Ok((Some(self.keep(handle)), OpenOptions::empty(), None))
    }

    fn create(
        &self,
        context: &Context,
        parent: u64,
        name: &CStr,
        args: CreateIn,
    ) -> io::Result<(Entry, Option<u64>, OpenOptions, Option<u32>)> {
        let parent = self.place(parent, name)?;
        let is_exclusive = OFlags::from_bits_truncate(args.flags).contains(OFlags::EXCL);
        let (flags, mode) = (self.flags(args.flags)?, args.mode & PERMISSIONS);
        let new = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (entry, handle) = match openat(&*parent, name, new, Mode::from_raw_mode(mode)) {
            Ok(file) => {
                let entry = self.made(context, &parent, name, Some(mode))?;
                (entry, self.adopt(entry.inode, File::from(file))?)
            }
            Err(Errno::EXIST) if !is_exclusive => {
                let entry = self.find(&parent, name)?;
                (entry, Self::open(self, &*self.inodes.get(entry.inode)?, flags)?)
            }
            Err(errno) => return Err(errno.into()),
        };
        Ok((entry, Some(self.keep(handle)), OpenOptions::empty(), None))
    }

    fn read(
        &self,
        _: &Context,
        inode: u64,
        handle: u64,
        to: &mut dyn ZeroCopyWriter,
        size: u32,
        offset: u64,
        _: Option<u64>,
        _: u32,
    ) -> io::Result<usize> {
        let handle = self.file(inode, handle)?;
        let mut file = handle.file();
        to.write_from(&mut *file, size as usize, offset)
    }

    fn write(
        &self,
        _: &Context,
        inode: u64,
        handle: u64,
        from: &mut dyn ZeroCopyReader,
        size: u32,
        offset: u64,
        _: Option<u64>,
        _: bool,
        _: u32,
        _: u32,
    ) -> io::Result<usize> {
        self.check_writable()?;
        let handle = self.file(inode, handle)?;
        let mut file = handle.file();
        from.read_to(&mut *file, size as usize, offset)
    }

    fn fsync(&self, _: &Context, inode: u64, is_data: bool, handle: u64) -> io::Result<()> {
        let handle = self.file(inode, handle)?;
        let file = handle.file();
        if is_data { file.sync_data() } else { file.sync_all() }
    }

    fn fallocate(&self, _: &Context, inode: u64, handle: u64, mode: u32, offset: u64, length: u64) -> io::Result<()> {
        self.check_writable()?;
        let mode = FallocateFlags::from_bits(mode).ok_or(Errno::OPNOTSUPP)?;
        let handle = self.file(inode, handle)?;
        Ok(fallocate(&*handle.file(), mode, offset, length)?)
    }

    fn release(
        &self,
        _: &Context,
        inode: u64,
        _: u32,
        handle: u64,
        _: bool,
        _: bool,
        _: Option<u64>,
    ) -> io::Result<()> {
        self.close(inode, handle)
    }

    fn statfs(&self, _: &Context, inode: u64) -> io::Result<statvfs64> {
        sys::file_system_status(&*self.inodes.get(inode)?)
    }

    fn opendir(&self, _: &Context, inode: u64, _: u32) -> io::Result<Opened> {
        if self.no_opendir.load(Ordering::Relaxed) {
            return Err(Errno::NOSYS.into());
        }
        let handle = Self::open(self, &*self.inodes.get(inode)?, OFlags::RDONLY | OFlags::DIRECTORY)?;
        Ok((Some(self.keep(handle)), OpenOptions::empty()))
    }

    fn readdir(
        &self,
        _: &Context,
        inode: u64,
        handle: u64,
        _: u32,
        offset: u64,
        add: &mut dyn FnMut(DirEntry<'_>) -> io::Result<usize>,
    ) -> io::Result<()> {
        self.list(inode, handle, offset, add)
    }

    fn readdirplus(
        &self,
        _: &Context,
        inode: u64,
        handle: u64,
        _: u32,
        offset: u64,
        add: &mut dyn FnMut(DirEntry<'_>, Entry) -> io::Result<usize>,
    ) -> io::Result<()> {
        let parent = self.inodes.get(inode)?;
        self.list(inode, handle, offset, &mut |entry| {
            let name: Vec<u8> = entry.name.iter().copied().chain([0]).collect();
            let Ok(name) = CStr::from_bytes_with_nul(&name) else { return Ok(1) };
            // A name without attributes is only listed (inode 0): the kernel looks it up, and gets the reason.
            let found = self.find(&parent, name).unwrap_or_default();
            let inode = found.inode;
            let taken = add(entry, found);
            if inode != 0 && !matches!(taken, Ok(1..)) {
                Self::forget(self, inode, 1);
            }
            taken
        })
    }

    fn releasedir(&self, _: &Context, inode: u64, _: u32, handle: u64) -> io::Result<()> {
        self.close(inode, handle)
    }

    fn lseek(&self, _: &Context, inode: u64, handle: u64, offset: u64, whence: u32) -> io::Result<u64> {
        let handle = self.file(inode, handle)?;
        let to = match i32::try_from(whence) {
            Ok(libc::SEEK_DATA) => rustix::fs::SeekFrom::Data(offset),
            Ok(libc::SEEK_HOLE) => rustix::fs::SeekFrom::Hole(offset),
            _ => return Err(Errno::INVAL.into()),
        };
        Ok(rustix::fs::seek(&*handle.file(), to)?)
    }
}
