//! Files, directories, mounts, pipes, and waiting for them.

use super::{Result, arch, done};
use core::ffi::CStr;

pub const READ_ONLY: usize = 0;
pub const WRITE_ONLY: usize = 1;
pub const READ_WRITE: usize = 2;
pub const NO_TERMINAL: usize = 0o400;
pub const NONBLOCKING: usize = 0o4000;
pub const DIRECTORY: usize = 0o20_0000;
pub(super) const CLOSE_ON_EXEC: usize = 0o200_0000;
/// Paths are absolute, or relative to the current directory.
const AT_FDCWD: usize = -100_isize as usize;

/// An open file; closed when dropped. Every one is closed in the command, too.
#[derive(Debug)]
pub struct Fd(u32);

impl Fd {
    /// One that is open already: 0, 1 or 2.
    pub const fn standard(number: u32) -> Self {
        Self(number)
    }

    /// As the kernel wants it.
    pub(super) fn from_number(number: usize) -> Self {
        Self(number as u32)
    }

    pub fn number(&self) -> usize {
        self.0 as usize
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        // SAFETY: the number is ours alone. Nothing can be done about an error.
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

/// Opens a new file for writing; fails if there is anything of that name.
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

/// Its length in bytes.
pub fn size(file: &Fd) -> Result<usize> {
    // struct stat: st_size is the seventh word (arch/x86/include/uapi/asm/stat.h), 144 bytes in all.
    let mut stat = [0_u64; 18];
    // SAFETY: the buffer is as large as struct stat.
    unsafe { arch::call(arch::FSTAT, file.number(), stat.as_mut_ptr() as usize, 0, 0, 0) }?;
    let [_, _, _, _, _, _, size, ..] = stat;
    Ok(size as usize)
}

/// Is the descriptor open?
pub fn is_open(number: usize) -> bool {
    const F_GETFD: usize = 1;
    // SAFETY: no memory is involved.
    unsafe { arch::call(arch::FCNTL, number, F_GETFD, 0, 0, 0) }.is_ok()
}

/// Makes reads and writes answer EAGAIN where they would wait.
pub fn set_nonblocking(file: &Fd) -> Result<()> {
    const F_SETFL: usize = 4;
    // SAFETY: no memory is involved.
    done(unsafe { arch::call(arch::FCNTL, file.number(), F_SETFL, NONBLOCKING, 0, 0) })
}

/// Asks for a larger pipe; the kernel may refuse.
pub fn set_pipe_size(file: &Fd, size: usize) -> Result<()> {
    const F_SETPIPE_SZ: usize = 1031;
    // SAFETY: no memory is involved.
    done(unsafe { arch::call(arch::FCNTL, file.number(), F_SETPIPE_SZ, size, 0, 0) })
}

/// A pipe: the end to read from, the end to write to.
pub fn pipe() -> Result<(Fd, Fd)> {
    let mut ends = [0_u32; 2];
    // SAFETY: the kernel writes two ints.
    unsafe { arch::call(arch::PIPE2, ends.as_mut_ptr() as usize, CLOSE_ON_EXEC, 0, 0, 0) }?;
    let [reader, writer] = ends;
    Ok((Fd(reader), Fd(writer)))
}

/// Gives `file` a second number, which the command keeps.
pub fn duplicate(file: &Fd, number: usize) -> Result<()> {
    // SAFETY: no memory is involved.
    done(unsafe { arch::call(arch::DUP3, file.number(), number, 0, 0, 0) })
}

pub fn make_directory(path: &CStr, mode: usize) -> Result<()> {
    // SAFETY: the path is NUL-terminated.
    done(unsafe { arch::call(arch::MKDIRAT, AT_FDCWD, address(path), mode, 0, 0) })
}

pub fn set_mode(path: &CStr, mode: usize) -> Result<()> {
    // SAFETY: the path is NUL-terminated.
    done(unsafe { arch::call(arch::FCHMODAT, AT_FDCWD, address(path), mode, 0, 0) })
}

/// Fails unless it is empty.
pub fn remove_directory(path: &CStr) -> Result<()> {
    const AT_REMOVEDIR: usize = 0x200;
    // SAFETY: the path is NUL-terminated.
    done(unsafe { arch::call(arch::UNLINKAT, AT_FDCWD, address(path), AT_REMOVEDIR, 0, 0) })
}

/// Whatever it is, unless it is a directory.
pub fn remove(path: &CStr) -> Result<()> {
    // SAFETY: the path is NUL-terminated.
    done(unsafe { arch::call(arch::UNLINKAT, AT_FDCWD, address(path), 0, 0, 0) })
}

/// A second name for a file.
pub fn make_hard_link(first: &CStr, second: &CStr) -> Result<()> {
    // SAFETY: both are NUL-terminated.
    done(unsafe { arch::call(arch::LINKAT, AT_FDCWD, address(first), AT_FDCWD, address(second), 0) })
}

/// Both times of a file, in seconds since 1970.
pub fn set_times(file: &Fd, seconds: u32) -> Result<()> {
    let times = [u64::from(seconds), 0, u64::from(seconds), 0];
    // SAFETY: the kernel reads two of struct timespec; without a path the file itself is meant.
    done(unsafe { arch::call(arch::UTIMENSAT, file.number(), 0, times.as_ptr() as usize, 0, 0) })
}

pub fn make_link(target: &CStr, path: &CStr) -> Result<()> {
    // SAFETY: both are NUL-terminated.
    done(unsafe { arch::call(arch::SYMLINKAT, address(target), AT_FDCWD, address(path), 0, 0) })
}

/// Anything that `mknod(2)` makes: the mode says what.
pub fn make_node(path: &CStr, mode: usize, major: usize, minor: usize) -> Result<()> {
    let device = (major << 8) | (minor & 0xff) | ((minor & !0xff) << 12);
    // SAFETY: the path is NUL-terminated.
    done(unsafe { arch::call(arch::MKNODAT, AT_FDCWD, address(path), mode, device, 0) })
}

/// A character device's node.
pub fn make_device(path: &CStr, mode: usize, major: usize, minor: usize) -> Result<()> {
    const S_IFCHR: usize = 0o020_000;
    make_node(path, S_IFCHR | mode, major, minor)
}

pub fn exists(path: &CStr) -> bool {
    // SAFETY: the path is NUL-terminated.
    unsafe { arch::call(arch::FACCESSAT, AT_FDCWD, address(path), 0, 0, 0) }.is_ok()
}

pub fn mount(kind: &CStr, at: &CStr, flags: usize, options: &CStr) -> Result<()> {
    // SAFETY: all are NUL-terminated. The source says where the file system comes from: its own kind.
    done(unsafe { arch::call(arch::MOUNT, address(kind), address(at), address(kind), flags, address(options)) })
}

/// Takes away what is mounted there last, even if it is in use.
pub fn unmount(at: &CStr) -> Result<()> {
    const MNT_DETACH: usize = 2;
    // SAFETY: the path is NUL-terminated.
    done(unsafe { arch::call(arch::UMOUNT2, address(at), MNT_DETACH, 0, 0, 0) })
}

/// Reads directory entries as the kernel packs them: `struct linux_dirent64`, one after the other.
pub fn read_directory(directory: &Fd, into: &mut [u8]) -> Result<usize> {
    // SAFETY: the kernel writes at most the slice's length.
    unsafe { arch::call(arch::GETDENTS64, directory.number(), into.as_mut_ptr() as usize, into.len(), 0, 0) }
}

pub fn load_module(file: &Fd, parameters: &CStr) -> Result<()> {
    // SAFETY: the parameters are NUL-terminated.
    done(unsafe { arch::call(arch::FINIT_MODULE, file.number(), address(parameters), 0, 0, 0) })
}

/// Writes everything back to disks.
pub fn sync() {
    // SAFETY: no memory is involved. The call cannot fail.
    let _ = unsafe { arch::call(arch::SYNC, 0, 0, 0, 0, 0) };
}

pub const POLL_IN: u16 = 1;
pub const POLL_OUT: u16 = 4;
pub const POLL_HANGUP: u16 = 16;

/// What to wait for (`struct pollfd`).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Watch {
    fd: i32,
    events: u16,
    pub ready: u16,
}

impl Watch {
    /// Hangups and errors are always waited for.
    pub fn new(file: &Fd, events: u16) -> Self {
        Self { fd: file.0 as i32, events, ready: 0 }
    }

    /// Waits for nothing.
    pub const NOTHING: Self = Self { fd: -1, events: 0, ready: 0 };
}

/// Waits until one of the files is ready.
pub fn poll(watches: &mut [Watch]) -> Result<()> {
    // SAFETY: `Watch` is struct pollfd; no timeout, no signal mask.
    done(unsafe { arch::call(arch::PPOLL, watches.as_mut_ptr() as usize, watches.len(), 0, 0, 0) })
}
