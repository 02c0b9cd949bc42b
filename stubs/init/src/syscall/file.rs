//! Files, directories, mounts, pipes and polling.

use super::{Result, arch, done};
use core::ffi::CStr;

pub const READ_ONLY: usize = 0;
pub const WRITE_ONLY: usize = 1;
pub const READ_WRITE: usize = 2;
pub const NO_TERMINAL: usize = 0o400;
pub const NONBLOCKING: usize = 0o4000;
pub const DIRECTORY: usize = arch::DIRECTORY;
pub(super) const CLOSE_ON_EXEC: usize = 0o200_0000;
/// Directory for relative paths: the current one.
const AT_FDCWD: usize = -100_isize as usize;

/// An open file; closed on drop. All are close-on-exec.
#[derive(Debug)]
pub struct Fd(u32);

impl Fd {
    /// A standard descriptor: 0, 1 or 2.
    pub const fn standard(number: u32) -> Self {
        Self(number)
    }

    /// Returns the descriptor as a system call argument.
    pub(super) fn from_number(number: usize) -> Self {
        Self(number as u32)
    }

    pub fn number(&self) -> usize {
        self.0 as usize
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        // SAFETY: this value owns the descriptor. Errors cannot be handled.
        let _ = unsafe { arch::call(arch::CLOSE, self.number(), 0, 0, 0, 0) };
    }
}

fn address(text: &CStr) -> usize {
    text.as_ptr() as usize
}

pub fn open(path: &CStr, flags: usize) -> Result<Fd> {
    // SAFETY: the path is NUL-terminated.
    unsafe { arch::call(arch::OPENAT, AT_FDCWD, address(path), flags | CLOSE_ON_EXEC, 0, 0) }.map(Fd::from_number)
}

/// Creates a file for writing; fails if the name exists.
pub fn create(path: &CStr, mode: usize) -> Result<Fd> {
    const CREATE: usize = 0o100;
    const EXCLUSIVE: usize = 0o200;
    let flags = WRITE_ONLY | CREATE | EXCLUSIVE | CLOSE_ON_EXEC;
    // SAFETY: the path is NUL-terminated.
    unsafe { arch::call(arch::OPENAT, AT_FDCWD, address(path), flags, mode, 0) }.map(Fd::from_number)
}

pub fn read(file: &Fd, into: &mut [u8]) -> Result<usize> {
    // SAFETY: the kernel writes at most the slice's length.
    unsafe { arch::call(arch::READ, file.number(), into.as_mut_ptr() as usize, into.len(), 0, 0) }
}

pub fn write(file: &Fd, from: &[u8]) -> Result<usize> {
    // SAFETY: the kernel reads at most the slice's length.
    unsafe { arch::call(arch::WRITE, file.number(), from.as_ptr() as usize, from.len(), 0, 0) }
}

/// Returns the length in bytes.
pub fn size(file: &Fd) -> Result<usize> {
    // struct stat: st_size is the seventh word (arch/x86/include/uapi/asm/stat.h) of 144 bytes.
    let mut stat = [0_u64; 18];
    // SAFETY: the buffer is as large as struct stat.
    unsafe { arch::call(arch::FSTAT, file.number(), stat.as_mut_ptr() as usize, 0, 0, 0) }?;
    let [_, _, _, _, _, _, size, ..] = stat;
    Ok(size as usize)
}

/// Type of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    Regular,
    Directory,
    Link,
    Other,
}

/// Returns the type and the permission bits of a file. `follow`: of the target of a symbolic link.
pub fn status_of(path: &CStr, follow: bool) -> Result<(FileKind, u16)> {
    const AT_SYMLINK_NOFOLLOW: usize = 0x100;
    statx(AT_FDCWD, path, if follow { 0 } else { AT_SYMLINK_NOFOLLOW })
}

/// Like [`status_of`], for an open file.
pub fn status_of_file(file: &Fd) -> Result<(FileKind, u16)> {
    const AT_EMPTY_PATH: usize = 0x1000;
    statx(file.number(), c"", AT_EMPTY_PATH)
}

fn statx(directory: usize, path: &CStr, flags: usize) -> Result<(FileKind, u16)> {
    /// `STATX_TYPE | STATX_MODE`
    const MASK: usize = 3;
    // struct statx (include/uapi/linux/stat.h): 256 bytes, the same on all architectures; stx_mode is at 28.
    let mut buffer = [0_u64; 32];
    // SAFETY: the path is NUL-terminated; the kernel fills a struct statx.
    unsafe { arch::call(arch::STATX, directory, address(path), flags, MASK, buffer.as_mut_ptr() as usize) }?;
    let [_, _, _, word, ..] = buffer;
    let mode = (word >> 32) as u16;
    let kind = match mode & 0o170_000 {
        0o100_000 => FileKind::Regular,
        0o040_000 => FileKind::Directory,
        0o120_000 => FileKind::Link,
        _ => FileKind::Other,
    };
    Ok((kind, mode & 0o777))
}

/// Returns true if the descriptor is open.
pub fn is_open(number: usize) -> bool {
    const F_GETFD: usize = 1;
    // SAFETY: no memory is involved.
    unsafe { arch::call(arch::FCNTL, number, F_GETFD, 0, 0, 0) }.is_ok()
}

/// Makes reads and writes return EAGAIN instead of blocking.
pub fn set_nonblocking(file: &Fd) -> Result<()> {
    const F_SETFL: usize = 4;
    // SAFETY: no memory is involved.
    done(unsafe { arch::call(arch::FCNTL, file.number(), F_SETFL, NONBLOCKING, 0, 0) })
}

/// Requests a larger pipe; the kernel may refuse.
pub fn set_pipe_size(file: &Fd, size: usize) -> Result<()> {
    const F_SETPIPE_SZ: usize = 1031;
    // SAFETY: no memory is involved.
    done(unsafe { arch::call(arch::FCNTL, file.number(), F_SETPIPE_SZ, size, 0, 0) })
}

/// Creates a pipe: read end, write end.
pub fn pipe() -> Result<(Fd, Fd)> {
    let mut ends = [0_u32; 2];
    // SAFETY: the kernel writes two ints.
    unsafe { arch::call(arch::PIPE2, ends.as_mut_ptr() as usize, CLOSE_ON_EXEC, 0, 0, 0) }?;
    let [reader, writer] = ends;
    Ok((Fd(reader), Fd(writer)))
}

/// Duplicates `file` to a descriptor that stays open in the command.
pub fn duplicate(file: &Fd, number: usize) -> Result<()> {
    // SAFETY: no memory is involved.
    done(unsafe { arch::call(arch::DUP3, file.number(), number, 0, 0, 0) })
}

pub fn make_directory(path: &CStr, mode: usize) -> Result<()> {
    // SAFETY: the path is NUL-terminated.
    done(unsafe { arch::call(arch::MKDIRAT, AT_FDCWD, address(path), mode, 0, 0) })
}

/// Sets the owner of an open file, and keeps its group.
pub fn set_owner(file: &Fd, uid: u32) -> Result<()> {
    // SAFETY: no memory is involved.
    done(unsafe { arch::call(arch::FCHOWN, file.number(), uid as usize, u32::MAX as usize, 0, 0) })
}

pub fn set_mode(path: &CStr, mode: usize) -> Result<()> {
    // SAFETY: the path is NUL-terminated.
    done(unsafe { arch::call(arch::FCHMODAT, AT_FDCWD, address(path), mode, 0, 0) })
}

/// Removes an empty directory.
pub fn remove_directory(path: &CStr) -> Result<()> {
    const AT_REMOVEDIR: usize = 0x200;
    // SAFETY: the path is NUL-terminated.
    done(unsafe { arch::call(arch::UNLINKAT, AT_FDCWD, address(path), AT_REMOVEDIR, 0, 0) })
}

/// Removes a file that is not a directory.
pub fn remove(path: &CStr) -> Result<()> {
    // SAFETY: the path is NUL-terminated.
    done(unsafe { arch::call(arch::UNLINKAT, AT_FDCWD, address(path), 0, 0, 0) })
}

/// Creates a hard link.
pub fn make_hard_link(first: &CStr, second: &CStr) -> Result<()> {
    // SAFETY: both are NUL-terminated.
    done(unsafe { arch::call(arch::LINKAT, AT_FDCWD, address(first), AT_FDCWD, address(second), 0) })
}

/// Sets both times of a file, in seconds since 1970.
pub fn set_times(file: &Fd, seconds: u32) -> Result<()> {
    let times = [u64::from(seconds), 0, u64::from(seconds), 0];
    // SAFETY: the kernel reads two of struct timespec; a null path means the file itself.
    done(unsafe { arch::call(arch::UTIMENSAT, file.number(), 0, times.as_ptr() as usize, 0, 0) })
}

pub fn make_link(target: &CStr, path: &CStr) -> Result<()> {
    // SAFETY: both are NUL-terminated.
    done(unsafe { arch::call(arch::SYMLINKAT, address(target), AT_FDCWD, address(path), 0, 0) })
}

/// Creates a node of any type (`mknod(2)`); the mode contains the type.
pub fn make_node(path: &CStr, mode: usize, major: usize, minor: usize) -> Result<()> {
    let device = (major << 8) | (minor & 0xff) | ((minor & !0xff) << 12);
    // SAFETY: the path is NUL-terminated.
    done(unsafe { arch::call(arch::MKNODAT, AT_FDCWD, address(path), mode, device, 0) })
}

/// Creates a character device node.
pub fn make_device(path: &CStr, mode: usize, major: usize, minor: usize) -> Result<()> {
    const S_IFCHR: usize = 0o020_000;
    make_node(path, S_IFCHR | mode, major, minor)
}

pub fn exists(path: &CStr) -> bool {
    // SAFETY: the path is NUL-terminated.
    unsafe { arch::call(arch::FACCESSAT, AT_FDCWD, address(path), 0, 0, 0) }.is_ok()
}

pub fn mount(kind: &CStr, at: &CStr, flags: usize, options: &CStr) -> Result<()> {
    // SAFETY: all are NUL-terminated. The source is the file system type.
    done(unsafe { arch::call(arch::MOUNT, address(kind), address(at), address(kind), flags, address(options)) })
}

/// Detaches the topmost mount, even if it is in use.
pub fn unmount(at: &CStr) -> Result<()> {
    const MNT_DETACH: usize = 2;
    // SAFETY: the path is NUL-terminated.
    done(unsafe { arch::call(arch::UMOUNT2, address(at), MNT_DETACH, 0, 0, 0) })
}

/// Reads directory entries: consecutive `struct linux_dirent64`.
pub fn read_directory(directory: &Fd, into: &mut [u8]) -> Result<usize> {
    // SAFETY: the kernel writes at most the slice's length.
    unsafe { arch::call(arch::GETDENTS64, directory.number(), into.as_mut_ptr() as usize, into.len(), 0, 0) }
}

pub fn load_module(file: &Fd, parameters: &CStr) -> Result<()> {
    // SAFETY: the parameters are NUL-terminated.
    done(unsafe { arch::call(arch::FINIT_MODULE, file.number(), address(parameters), 0, 0, 0) })
}

/// Loads a module from memory.
pub fn load_module_image(image: &[u8], parameters: &CStr) -> Result<()> {
    // SAFETY: the kernel reads at most the slice's length; the parameters are NUL-terminated.
    done(unsafe {
        arch::call(arch::INIT_MODULE, image.as_ptr() as usize, image.len(), address(parameters), 0, 0)
    })
}

/// Removes a module that is not in use.
pub fn remove_module(name: &CStr) -> Result<()> {
    // SAFETY: the name is NUL-terminated.
    done(unsafe { arch::call(arch::DELETE_MODULE, address(name), NONBLOCKING, 0, 0, 0) })
}

/// Flushes all file systems to disk.
pub fn sync() {
    // SAFETY: no memory is involved. The call cannot fail.
    let _ = unsafe { arch::call(arch::SYNC, 0, 0, 0, 0, 0) };
}

pub const POLL_IN: u16 = 1;
pub const POLL_OUT: u16 = 4;
pub const POLL_HANGUP: u16 = 16;

/// Events to poll for (`struct pollfd`).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Watch {
    fd: i32,
    events: u16,
    pub ready: u16,
}

impl Watch {
    /// Hangups and errors are always reported.
    pub fn new(file: &Fd, events: u16) -> Self {
        Self { fd: file.0 as i32, events, ready: 0 }
    }

    /// Ignored entry.
    pub const NOTHING: Self = Self { fd: -1, events: 0, ready: 0 };
}

/// Waits until one of the files is ready, or the time is over (nanoseconds, less than a second).
pub fn poll(watches: &mut [Watch], limit: Option<u64>) -> Result<()> {
    let time = limit.map(|nanos| [0, nanos]);
    let time = time.as_ref().map_or(0, |time| time.as_ptr() as usize);
    // SAFETY: `Watch` is struct pollfd; the kernel reads a struct timespec, if any; no signal mask.
    done(unsafe { arch::call(arch::PPOLL, watches.as_mut_ptr() as usize, watches.len(), time, 0, 0) })
}
