//! aarch64: the `svc` instruction, system call numbers, and the entry point.
//!
//! All code and numbers specific to 64-bit Arm are in this file.
//! Numbers: `include/uapi/asm-generic/unistd.h`. Registers: `arch/arm64/kernel/entry.S`; the procedure call standard
//! (AAPCS64) preserves x19 to x28 across calls.

use super::{Result, answer};
use core::arch::{asm, global_asm};

pub const DUP3: usize = 24;
pub const FCNTL: usize = 25;
pub const IOCTL: usize = 29;
pub const MKNODAT: usize = 33;
pub const MKDIRAT: usize = 34;
pub const UNLINKAT: usize = 35;
pub const SYMLINKAT: usize = 36;
pub const LINKAT: usize = 37;
pub const UMOUNT2: usize = 39;
pub const MOUNT: usize = 40;
pub const FACCESSAT: usize = 48;
pub const CHDIR: usize = 49;
pub const CHROOT: usize = 51;
pub const FCHMODAT: usize = 53;
pub const FCHOWN: usize = 55;
pub const OPENAT: usize = 56;
pub const CLOSE: usize = 57;
pub const PIPE2: usize = 59;
pub const GETDENTS64: usize = 61;
pub const READ: usize = 63;
pub const WRITE: usize = 64;
pub const PPOLL: usize = 73;
pub const SIGNALFD4: usize = 74;
pub const FSTAT: usize = 80;
pub const SYNC: usize = 81;
pub const UTIMENSAT: usize = 88;
pub const EXIT: usize = 93;
pub const UNSHARE: usize = 97;
pub const NANOSLEEP: usize = 101;
pub const INIT_MODULE: usize = 105;
pub const DELETE_MODULE: usize = 106;
pub const CLOCK_SETTIME: usize = 112;
pub const CLOCK_GETTIME: usize = 113;
pub const KILL: usize = 129;
pub const RT_SIGPROCMASK: usize = 135;
pub const RT_SIGTIMEDWAIT: usize = 137;
pub const REBOOT: usize = 142;
pub const SETRESUID: usize = 147;
pub const SETRESGID: usize = 149;
pub const SETSID: usize = 157;
pub const SETGROUPS: usize = 159;
pub const UNAME: usize = 160;
pub const SETHOSTNAME: usize = 161;
pub const UMASK: usize = 166;
pub const PRCTL: usize = 167;
pub const SOCKET: usize = 198;
pub const BIND: usize = 200;
pub const LISTEN: usize = 201;
pub const CONNECT: usize = 203;
pub const CLONE: usize = 220;
pub const EXECVE: usize = 221;
pub const MMAP: usize = 222;
pub const ACCEPT4: usize = 242;
pub const WAIT4: usize = 260;
pub const PRLIMIT64: usize = 261;
pub const STATX: usize = 291;
pub const FINIT_MODULE: usize = 273;

/// `O_DIRECTORY` (`arch/arm64/include/uapi/asm/fcntl.h`).
pub const DIRECTORY: usize = 0o4_0000;

// The kernel enters with an aligned stack pointer, at argc. Zeroed frame and link registers end a backtrace here.
global_asm!(
    ".globl _start",
    ".type _start, %function",
    "_start:",
    "mov x29, xzr",
    "mov x30, xzr",
    "mov x0, sp",
    "bl {start}",
    "brk #1",
    start = sym super::start::start,
);

/// Makes a system call. The sixth argument is always 0: only `mmap` uses it, as an offset.
///
/// # Safety
/// The arguments must be valid for this system call: pointers to live memory of the right size and type.
#[inline(never)]
pub unsafe fn call(number: usize, a: usize, b: usize, c: usize, d: usize, e: usize) -> Result<usize> {
    let result: isize;
    // SAFETY: the kernel keeps all registers but x0; the caller guarantees what the arguments point to.
    unsafe {
        asm!(
            "svc #0",
            inlateout("x0") a as isize => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e, in("x5") 0, in("x8") number,
            options(nostack)
        );
    }
    answer(result)
}

/// Starts a child that runs `entry(data)` on its own stack.
///
/// # Safety
/// `stack_top` must be the aligned end of memory that only the child uses until it ends, and `data` valid for `entry`,
/// which must never return.
pub unsafe fn clone_on(
    flags: usize,
    stack_top: usize,
    entry: extern "C" fn(usize) -> !,
    data: usize,
) -> Result<usize> {
    let result: isize;
    // SAFETY: the child leaves this block only through `entry`, on its own stack; the parent continues at the label
    // with its registers unchanged. The block's memory clobber covers what the child writes.
    unsafe {
        asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x30, xzr",
            "mov x0, x21",
            "blr x20",
            "brk #1",
            "2:",
            inlateout("x0") flags as isize => result,
            in("x1") stack_top, in("x2") 0, in("x3") 0, in("x4") 0, in("x8") CLONE,
            in("x20") entry, in("x21") data,
        );
    }
    answer(result)
}
