//! Safe wrappers around system interfaces that neither std nor rustix provides. This is the only file that may use
//! `unsafe`.
#![expect(unsafe_code, reason = "system interfaces without a safe wrapper elsewhere; each block states its soundness")]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::os::unix::thread::JoinHandleExt;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;
use memmap2::MmapMut;

/// True if the process was started without a standard output.
static STDOUT_WAS_CLOSED: AtomicBool = AtomicBool::new(false);

/// Returns true if the program was started with standard output closed (`>&-`). Writes to it fail then, as on a full
/// disk.
pub fn stdout_was_closed() -> bool {
    STDOUT_WAS_CLOSED.load(Ordering::Relaxed)
}

/// Calls [`replace_closed_stdout`] before `main`, and before the standard library opens `/dev/null` in place of closed
/// standard streams, where output is lost without an error. Only the program does this, not programs with this library.
#[cfg(feature = "cli")]
#[used]
// SAFETY: the C runtime calls each function in this section once, before main, when the process has one thread. This
// one only uses system calls and an atomic variable.
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = replace_closed_stdout;

/// Opens `/dev/full` as standard output if it is closed.
#[cfg(feature = "cli")]
extern "C" fn replace_closed_stdout() {
    // SAFETY: these system calls access no memory of this process, except for a constant string; a descriptor is closed
    // only if it was opened here.
    unsafe {
        if libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) != -1 {
            return;
        }
        STDOUT_WAS_CLOSED.store(true, Ordering::Relaxed);
        // The lowest free number may be that of standard input. Without /dev/full, only the flag remains.
        let full = libc::open(c"/dev/full".as_ptr(), libc::O_WRONLY);
        if full != -1 && full != libc::STDOUT_FILENO {
            libc::dup2(full, libc::STDOUT_FILENO);
            libc::close(full);
        }
    }
}

/// Starts `command` in a new process group and lets it inherit `keep` under the same numbers.
///
/// The kernel kills it as soon as the calling thread ends, however it ends (`prctl(2)`, `PR_SET_PDEATHSIG`). Call this
/// from a thread that lives as long as the child should, usually the main thread.
pub(crate) fn spawn_tied(command: &mut Command, keep: &[BorrowedFd<'_>]) -> io::Result<Child> {
    let keep: Vec<RawFd> = keep.iter().map(AsRawFd::as_raw_fd).collect();
    let parent = rustix::process::getpid().as_raw_nonzero().get();
    let tie = move || {
        // SAFETY: prctl, getppid and fcntl are async-signal-safe and access no memory of this process.
        unsafe {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            // If the parent died before prctl, the signal would never be sent.
            if libc::getppid() != parent {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            for fd in &keep {
                if libc::fcntl(*fd, libc::F_SETFD, 0) != 0 {
                    return Err(io::Error::last_os_error());
                }
            }
        }
        Ok(())
    };
    command.process_group(0);
    // SAFETY: the closure calls only async-signal-safe functions and allocates nothing.
    unsafe { command.pre_exec(tie) };
    command.spawn()
}

/// Returns true if another open file description has a lock on this byte of a file (`F_OFD_GETLK`).
pub(crate) fn is_locked(file: &File, byte: i64) -> io::Result<bool> {
    // SAFETY: all fields of a flock are integers.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as i16;
    lock.l_whence = libc::SEEK_SET as i16;
    (lock.l_start, lock.l_len) = (byte, 1);
    // SAFETY: the kernel reads and writes a struct flock.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(lock.l_type != libc::F_UNLCK as i16)
}

/// Returns the state of the file system that contains an open file (`fstatvfs(3)`).
pub(crate) fn file_system_status(file: impl AsFd) -> io::Result<libc::statvfs64> {
    // SAFETY: all fields of a statvfs are integers, and the kernel writes at most a whole one.
    unsafe {
        let mut status: libc::statvfs64 = std::mem::zeroed();
        match libc::fstatvfs64(file.as_fd().as_raw_fd(), &raw mut status) {
            0 => Ok(status),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Maps `memory` into the virtual machine as its RAM, from guest physical address 0 on.
///
/// The reference keeps the mapping borrowed for the lifetime of the machine.
pub(crate) fn give_memory<'machine>(machine: &'machine VmFd, memory: &'machine mut MmapMut) -> io::Result<()> {
    let region = kvm_userspace_memory_region {
        slot: 0,
        flags: 0,
        guest_phys_addr: 0,
        memory_size: memory.len() as u64,
        userspace_addr: memory.as_mut_ptr() as u64,
    };
    // SAFETY: the mapping is page aligned, of the length given, and borrowed for as long as the machine is.
    unsafe { machine.set_user_memory_region(region) }.map_err(|error| io::Error::from_raw_os_error(error.errno()))
}

/// Interrupts a system call of `thread` by sending a signal whose handler does nothing.
pub(crate) fn interrupt_thread<T>(thread: &JoinHandle<T>, signal: i32) -> io::Result<()> {
    // SAFETY: the handle keeps the pthread_t valid until the thread is joined or detached.
    match unsafe { libc::pthread_kill(thread.as_pthread_t(), signal) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Sends `signal` to every process in a child's process group.
pub(crate) fn signal_group(child: &Child, signal: i32) -> io::Result<()> {
    let Ok(group) = i32::try_from(child.id()) else { return Err(io::ErrorKind::InvalidInput.into()) };
    // SAFETY: kill accesses no memory; the child is not yet reaped, so its group id cannot have been reused.
    match unsafe { libc::kill(-group, signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Returns the hour, minute and second in the user's time zone (`TZ`, else `/etc/localtime`).
pub fn local_time() -> (i32, i32, i32) {
    // SAFETY: time and localtime_r write only to their arguments, a tm consists of plain numbers and a pointer that may
    // be null, and nothing here modifies the environment, which localtime_r reads.
    let tm = unsafe {
        let now = libc::time(std::ptr::null_mut());
        let mut tm: libc::tm = std::mem::zeroed();
        libc::localtime_r(&raw const now, &raw mut tm);
        tm
    };
    (tm.tm_hour, tm.tm_min, tm.tm_sec)
}

/// Acquires a shared lock on `count` bytes of an open file from `start` on, held as long as this open file description
/// exists (`fcntl(2)`, open file description locks). Returns `false` if another one holds an exclusive lock.
pub(crate) fn lock_shared(file: &File, start: i64, count: i64) -> io::Result<bool> {
    let lock = record(libc::F_RDLCK, start, count);
    // SAFETY: the descriptor is open for as long as the borrow, and the structure is only read.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) } {
        0 => Ok(true),
        _ => match io::Error::last_os_error() {
            error if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
            error => Err(error),
        },
    }
}

/// Returns true if another open file description holds any lock on one of `count` bytes from `start` on.
pub(crate) fn locked_elsewhere(file: &File, start: i64, count: i64) -> io::Result<bool> {
    let mut lock = record(libc::F_WRLCK, start, count);
    // SAFETY: the descriptor is open for as long as the borrow, and the structure is a local variable of the right
    // size.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) } {
        0 => Ok(i32::from(lock.l_type) != libc::F_UNLCK),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Returns a byte range for an open file description lock, which requires `l_pid` to be 0.
fn record(kind: i32, start: i64, count: i64) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start,
        l_len: count,
        l_pid: 0,
    }
}
