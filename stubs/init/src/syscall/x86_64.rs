//! x86_64: the `syscall` instruction, system call numbers, and the entry point.
//!
//! All architecture-specific code is in this file.
//! Numbers: `arch/x86/entry/syscalls/syscall_64.tbl`. Registers: System V ABI, AMD64 supplement, appendix A.2.1.

use super::{Result, answer};
use core::arch::{asm, global_asm};

pub const READ: usize = 0;
pub const WRITE: usize = 1;
pub const CLOSE: usize = 3;
pub const FSTAT: usize = 5;
pub const MMAP: usize = 9;
pub const RT_SIGPROCMASK: usize = 14;
pub const IOCTL: usize = 16;
pub const NANOSLEEP: usize = 35;
pub const SOCKET: usize = 41;
pub const CONNECT: usize = 42;
pub const BIND: usize = 49;
pub const LISTEN: usize = 50;
pub const CLONE: usize = 56;
pub const EXECVE: usize = 59;
pub const EXIT: usize = 60;
pub const WAIT4: usize = 61;
pub const KILL: usize = 62;
pub const UNAME: usize = 63;
pub const FCNTL: usize = 72;
pub const CHDIR: usize = 80;
pub const FCHOWN: usize = 93;
pub const UMASK: usize = 95;
pub const SETSID: usize = 112;
pub const SETGROUPS: usize = 116;
pub const SETRESUID: usize = 117;
pub const SETRESGID: usize = 119;
pub const RT_SIGTIMEDWAIT: usize = 128;
pub const PRCTL: usize = 157;
pub const CHROOT: usize = 161;
pub const SYNC: usize = 162;
pub const MOUNT: usize = 165;
pub const UMOUNT2: usize = 166;
pub const REBOOT: usize = 169;
pub const SETHOSTNAME: usize = 170;
pub const INIT_MODULE: usize = 175;
pub const DELETE_MODULE: usize = 176;
pub const GETDENTS64: usize = 217;
pub const CLOCK_SETTIME: usize = 227;
pub const CLOCK_GETTIME: usize = 228;
pub const UNSHARE: usize = 272;
pub const OPENAT: usize = 257;
pub const MKDIRAT: usize = 258;
pub const FCHMODAT: usize = 268;
pub const MKNODAT: usize = 259;
pub const UNLINKAT: usize = 263;
pub const LINKAT: usize = 265;
pub const SYMLINKAT: usize = 266;
pub const FACCESSAT: usize = 269;
pub const PPOLL: usize = 271;
pub const UTIMENSAT: usize = 280;
pub const ACCEPT4: usize = 288;
pub const SIGNALFD4: usize = 289;
pub const DUP3: usize = 292;
pub const PIPE2: usize = 293;
pub const PRLIMIT64: usize = 302;
pub const FINIT_MODULE: usize = 313;
pub const STATX: usize = 332;

/// `O_DIRECTORY` (`include/uapi/asm-generic/fcntl.h`).
pub const DIRECTORY: usize = 0o20_0000;

// The kernel enters with the stack pointer at argc; a function expects a multiple of 16 minus 8, as `call` leaves it.
global_asm!(
    ".globl _start",
    ".type _start, @function",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {start}",
    "ud2",
    start = sym super::start::start,
);

/// Makes a system call. The sixth argument is always 0: only `mmap` uses it, as an offset.
///
/// # Safety
/// The arguments must be valid for this system call: pointers to live memory of the right size and type.
#[inline(never)]
pub unsafe fn call(number: usize, a: usize, b: usize, c: usize, d: usize, e: usize) -> Result<usize> {
    let result: isize;
    // SAFETY: the kernel keeps all registers but rax, rcx and r11; the caller guarantees what the arguments point to.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") 0,
            lateout("rcx") _, lateout("r11") _,
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
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r13",
            "call r12",
            "ud2",
            "2:",
            inlateout("rax") CLONE as isize => result,
            in("rdi") flags, in("rsi") stack_top, in("rdx") 0, in("r10") 0, in("r8") 0,
            in("r12") entry, in("r13") data,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    answer(result)
}
