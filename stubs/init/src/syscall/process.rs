//! Processes, signals, clocks, and machine control.

use super::file::Fd;
use super::{Errno, Result, arch, done};
use core::ffi::CStr;

/// Signal numbers (include/uapi/asm-generic/signal.h).
pub mod signal {
    pub const INT: u32 = 2;
    pub const USR1: u32 = 10;
    pub const USR2: u32 = 12;
    pub const TERM: u32 = 15;
    pub const CHLD: u32 = 17;
    pub const PWR: u32 = 30;
    /// `SIGRTMIN` of the C libraries: the first signal that glibc does not reserve.
    pub const RTMIN: u32 = 34;
}

/// Result of `wait4`.
pub struct Ending {
    pub pid: usize,
    /// Status in the encoding of `wait4`.
    pub status: u32,
    pub user_us: u64,
    pub system_us: u64,
    pub max_rss_kib: u64,
}

/// Flags of `clone(2)`: the child shares this program's memory; the caller is stopped until the child executes another
/// program or ends.
const CLONE_VM: usize = 0x100;
const CLONE_VFORK: usize = 0x4000;
/// Signal to the parent at the end of a child.
pub const SIGCHLD: usize = 17;

/// Data that a parent passes to its child.
struct Handover<'a, T> {
    entry: fn(&T) -> !,
    data: &'a T,
}

impl<T> Handover<'_, T> {
    /// Runs in the child.
    extern "C" fn take(handover: usize) -> ! {
        // SAFETY: `start` passed this pointer, and its caller waits while it is used.
        let handover = unsafe { &*(handover as *const Handover<'_, T>) };
        (handover.entry)(handover.data)
    }

    /// Starts a child that shares the parent's memory. The caller must not return before the child uses another memory.
    fn start(&self, flags: usize, stack: &mut [u8]) -> Result<usize> {
        let top = (stack.as_mut_ptr() as usize + stack.len()) & !15;
        // SAFETY: the callers keep stack and data borrowed while the child uses them; `take` never returns.
        unsafe { arch::clone_on(CLONE_VM | SIGCHLD | flags, top, Self::take, &raw const *self as usize) }
    }
}

/// Starts a child that runs `entry(data)` with a copy of the parent's memory, on its copy of `stack`. `signal` is sent to the
/// parent at the child's end; if it is 0, only [`end_process`] waits for the child.
pub fn fork<T>(signal: usize, stack: &mut [u8], entry: fn(&T) -> !, data: &T) -> Result<usize> {
    let handover = Handover { entry, data };
    let top = (stack.as_mut_ptr() as usize + stack.len()) & !15;
    // SAFETY: the child has its own copy of the stack and the data; `take` never returns.
    unsafe { arch::clone_on(signal, top, Handover::<T>::take, &raw const handover as usize) }
}

/// Kills a child, and waits for its end.
pub fn end_process(pid: usize) {
    const SIGKILL: usize = 9;
    const WALL: usize = 0x4000_0000;
    // SAFETY: no memory is involved. A child is not reused before it is waited for.
    unsafe {
        let _ = arch::call(arch::KILL, pid, SIGKILL, 0, 0, 0);
        while arch::call(arch::WAIT4, pid, 0, WALL, 0, 0) == Err(Errno::INTR) {}
    }
}

/// Gives the calling process a private copy of its mount namespace.
pub fn unshare_mounts() -> Result<()> {
    const CLONE_NEWNS: usize = 0x2_0000;
    // SAFETY: no memory is involved.
    done(unsafe { arch::call(arch::UNSHARE, CLONE_NEWNS, 0, 0, 0, 0) })
}

/// Runs `entry(data)` on `stack` in a child that shares the parent's memory; returns when the child executes a program
/// or ends. `entry` may make system calls and write through cells in `data`, but must not access other memory of the
/// parent.
pub fn vfork<T>(stack: &mut [u8], entry: fn(&T) -> !, data: &T) -> Result<usize> {
    Handover { entry, data }.start(CLONE_VFORK, stack)
}

/// Like [`vfork`], but waits for the end of the child, and returns the signal that killed it, or 0. The parent is not
/// blocked (state D) meanwhile, as a parent of `vfork` is.
pub fn in_child<T>(stack: &mut [u8], entry: fn(&T) -> !, data: &T) -> Result<usize> {
    let handover = Handover { entry, data };
    let pid = handover.start(0, stack)?;
    let mut status = 0_u32;
    loop {
        // SAFETY: the kernel writes an int.
        match unsafe { arch::call(arch::WAIT4, pid, &raw mut status as usize, 0, 0, 0) } {
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
            Ok(_) => return Ok(status as usize & 0x7f),
        }
    }
}

/// Sets the calling process's name, as `ps` shows it: at most 15 bytes.
pub fn set_name(kind: &[u8], name: &[u8]) {
    const PR_SET_NAME: usize = 15;
    let mut text = [0; 16];
    for (to, from) in text.iter_mut().take(15).zip(kind.iter().chain(name)) {
        *to = *from;
    }
    // SAFETY: the kernel reads a string of at most 16 bytes.
    let _ = unsafe { arch::call(arch::PRCTL, PR_SET_NAME, text.as_ptr() as usize, 0, 0, 0) };
}

/// Executes a program; returns only on an error. The lists are NULL-terminated.
pub fn execute(path: &CStr, arguments: &[*const u8], environment: &[*const u8]) -> Result<()> {
    let ended = |list: &[*const u8]| list.last().is_some_and(|last| last.is_null());
    if !ended(arguments) || !ended(environment) {
        return Err(Errno::INVAL);
    }
    // SAFETY: the path and the lists are terminated. The kernel checks the pointers in them itself (EFAULT).
    done(unsafe {
        arch::call(
            arch::EXECVE,
            path.as_ptr() as usize,
            arguments.as_ptr() as usize,
            environment.as_ptr() as usize,
            0,
            0,
        )
    })
}

/// Ends the calling process.
pub fn exit(status: usize) -> ! {
    loop {
        // SAFETY: no memory is involved.
        let _ = unsafe { arch::call(arch::EXIT, status, 0, 0, 0, 0) };
    }
}

/// Sets the groups and the user of the calling process; the first group is its own.
pub fn set_user(uid: u32, groups: &[u32]) -> Result<()> {
    let Some(&gid) = groups.first() else { return Err(Errno::INVAL) };
    let (uid, gid) = (uid as usize, gid as usize);
    // SAFETY: the kernel reads the slice; the others involve no memory.
    unsafe {
        arch::call(arch::SETGROUPS, groups.len(), groups.as_ptr() as usize, 0, 0, 0)?;
        arch::call(arch::SETRESGID, gid, gid, gid, 0, 0)?;
        done(arch::call(arch::SETRESUID, uid, uid, uid, 0, 0))
    }
}

pub fn new_session() -> Result<()> {
    // SAFETY: no memory is involved.
    done(unsafe { arch::call(arch::SETSID, 0, 0, 0, 0, 0) })
}

/// Makes a directory the root directory, also of the kernel's threads: they share it with pid 1 (`init/main.c`, `CLONE_FS`).
pub fn change_root(path: &CStr) -> Result<()> {
    // SAFETY: the path is NUL-terminated.
    done(unsafe { arch::call(arch::CHROOT, path.as_ptr() as usize, 0, 0, 0, 0) })
}

pub fn change_directory(path: &CStr) -> Result<()> {
    // SAFETY: the path is NUL-terminated.
    done(unsafe { arch::call(arch::CHDIR, path.as_ptr() as usize, 0, 0, 0, 0) })
}

/// Kills a process.
pub fn kill(pid: usize) {
    const SIGKILL: usize = 9;
    // SAFETY: no memory is involved. The process may have ended.
    let _ = unsafe { arch::call(arch::KILL, pid, SIGKILL, 0, 0, 0) };
}

/// Sends a signal to a process group.
pub fn kill_group(group: usize, number: u8) -> Result<()> {
    // SAFETY: no memory is involved.
    done(unsafe { arch::call(arch::KILL, group.wrapping_neg(), usize::from(number), 0, 0, 0) })
}

/// Kills every process except this one and kernel threads.
pub fn kill_all() {
    const SIGKILL: usize = 9;
    // SAFETY: no memory is involved. It is not an error if no process exists.
    let _ = unsafe { arch::call(arch::KILL, usize::MAX, SIGKILL, 0, 0, 0) };
}

/// Sets the file mode creation mask; returns the old one.
pub fn set_umask(mask: usize) -> usize {
    // SAFETY: no memory is involved. The call cannot fail.
    unsafe { arch::call(arch::UMASK, mask, 0, 0, 0, 0) }.unwrap_or(0)
}

/// Reaps an ended child, if any; does not block.
pub fn reap() -> Option<Ending> {
    wait().ok().flatten()
}

/// Reaps all ended children. Returns true if others remain: orphans of a command become children of pid 1.
pub fn reap_all() -> bool {
    loop {
        match wait() {
            Ok(Some(_)) => {}
            Ok(None) => return true,
            // ECHILD
            Err(_) => return false,
        }
    }
}

/// Reaps an ended child; `None` if none has ended, an error if there is no child.
fn wait() -> Result<Option<Ending>> {
    const WNOHANG: usize = 1;
    let mut status = 0_u32;
    // struct rusage: user and system time as seconds and microseconds, then the maximum resident set size, ...
    let mut usage = [0_u64; 18];
    // SAFETY: the kernel writes an int and a struct rusage of 144 bytes.
    let pid = unsafe {
        arch::call(arch::WAIT4, usize::MAX, &raw mut status as usize, WNOHANG, usage.as_mut_ptr() as usize, 0)
    };
    let pid = match pid? {
        0 => return Ok(None),
        pid => pid,
    };
    let [user_s, user_us, system_s, system_us, max_rss_kib, ..] = usage;
    let micros = |seconds: u64, micros: u64| seconds.wrapping_mul(1_000_000).wrapping_add(micros);
    let (user_us, system_us) = (micros(user_s, user_us), micros(system_s, system_us));
    Ok(Some(Ending { pid, status, user_us, system_us, max_rss_kib }))
}

/// Sets the signal mask: bit n - 1 blocks signal n.
pub fn block_signals(mask: u64) -> Result<()> {
    const SIG_SETMASK: usize = 2;
    // SAFETY: the kernel reads 8 bytes.
    done(unsafe { arch::call(arch::RT_SIGPROCMASK, SIG_SETMASK, &raw const mask as usize, 0, 8, 0) })
}

/// Takes one of the blocked signals in `mask`, if one is pending.
pub fn take_signal(mask: u64) -> Option<u32> {
    let now = [0_u64; 2];
    // SAFETY: the kernel reads 8 bytes and a struct timespec.
    let taken = unsafe {
        arch::call(arch::RT_SIGTIMEDWAIT, &raw const mask as usize, 0, now.as_ptr() as usize, 8, 0)
    };
    taken.ok().map(|number| number as u32)
}

/// Creates a signalfd for blocked signals.
pub fn signal_file(mask: u64) -> Result<Fd> {
    const SFD_FLAGS: usize = super::file::CLOSE_ON_EXEC | super::file::NONBLOCKING;
    // SAFETY: the kernel reads 8 bytes.
    unsafe { arch::call(arch::SIGNALFD4, usize::MAX, &raw const mask as usize, 8, SFD_FLAGS, 0) }.map(Fd::from_number)
}

/// Way to stop the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    PowerOff,
    Restart,
    Halt,
}

/// Stops the machine; returns only on an error.
pub fn stop_machine(how: Stop) -> Result<()> {
    reboot(match how {
        Stop::PowerOff => 0x4321_fedc,
        Stop::Restart => 0x0123_4567,
        Stop::Halt => 0xcdef_0123,
    })
}

/// Makes Ctrl-Alt-Del send a signal to pid 1 instead of resetting.
pub fn take_ctrl_alt_del() -> Result<()> {
    reboot(0)
}

fn reboot(command: usize) -> Result<()> {
    // SAFETY: no memory is involved; the first two are the magic numbers of reboot(2).
    done(unsafe { arch::call(arch::REBOOT, 0xfee1_dead, 672_274_793, command, 0, 0) })
}

/// Returns the time since the kernel started, including suspend, in nanoseconds (`CLOCK_BOOTTIME`).
pub fn uptime() -> u64 {
    const CLOCK_BOOTTIME: usize = 7;
    let mut time = [0_u64; 2];
    // SAFETY: the kernel writes a struct timespec. On failure it stays zero.
    let _ = unsafe { arch::call(arch::CLOCK_GETTIME, CLOCK_BOOTTIME, time.as_mut_ptr() as usize, 0, 0, 0) };
    let [seconds, nanos] = time;
    seconds.wrapping_mul(1_000_000_000).wrapping_add(nanos)
}

/// Sets the clock, in nanoseconds since 1970.
pub fn set_clock(nanos: u64) -> Result<()> {
    const CLOCK_REALTIME: usize = 0;
    let time = [nanos / 1_000_000_000, nanos % 1_000_000_000];
    // SAFETY: the kernel reads a struct timespec.
    done(unsafe { arch::call(arch::CLOCK_SETTIME, CLOCK_REALTIME, time.as_ptr() as usize, 0, 0, 0) })
}

pub fn sleep(nanos: u64) {
    let time = [nanos / 1_000_000_000, nanos % 1_000_000_000];
    // SAFETY: the kernel reads a struct timespec. Waking early is harmless.
    let _ = unsafe { arch::call(arch::NANOSLEEP, time.as_ptr() as usize, 0, 0, 0, 0) };
}

/// Sets the limit of open files (soft, hard).
pub fn limit_files(soft: u64, hard: u64) -> Result<()> {
    const RLIMIT_NOFILE: usize = 7;
    let limit = [soft, hard];
    // SAFETY: the kernel reads a struct rlimit64.
    done(unsafe { arch::call(arch::PRLIMIT64, 0, RLIMIT_NOFILE, limit.as_ptr() as usize, 0, 0) })
}

pub fn set_host_name(name: &[u8]) -> Result<()> {
    // SAFETY: the kernel reads at most the slice's length.
    done(unsafe { arch::call(arch::SETHOSTNAME, name.as_ptr() as usize, name.len(), 0, 0, 0) })
}

/// `struct new_utsname`: six strings of 65 bytes.
pub struct SystemName([[u8; 65]; 6]);

impl SystemName {
    pub fn read() -> Self {
        let mut names = [[0; 65]; 6];
        // SAFETY: the kernel fills a struct new_utsname. On failure the strings stay empty.
        let _ = unsafe { arch::call(arch::UNAME, names.as_mut_ptr() as usize, 0, 0, 0, 0) };
        Self(names)
    }

    /// Returns the kernel release (`uname -r`).
    pub fn release(&self) -> &[u8] {
        let [_, _, release, ..] = &self.0;
        CStr::from_bytes_until_nul(release).map_or(&[], CStr::to_bytes)
    }
}
