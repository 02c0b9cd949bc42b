//! System calls: the only `unsafe` code of pid 1.
//!
//! Wrappers take slices, C strings and open files, so that no caller can pass an invalid pointer to the kernel.

#![allow(unsafe_code)]

pub mod file;
pub mod memory;
pub mod network;
pub mod process;
pub mod random;
pub mod socket;
pub mod start;
pub mod terminal;

#[cfg(target_arch = "aarch64")]
#[path = "aarch64.rs"]
mod arch;
#[cfg(target_arch = "x86_64")]
#[path = "x86_64.rs"]
mod arch;

/// Kernel error number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub usize);

impl Errno {
    pub const NOENT: Self = Self(2);
    pub const INTR: Self = Self(4);
    pub const PERM: Self = Self(1);
    pub const NOEXEC: Self = Self(8);
    pub const AGAIN: Self = Self(11);
    pub const NOMEM: Self = Self(12);
    pub const ACCES: Self = Self(13);
    pub const BUSY: Self = Self(16);
    pub const EXIST: Self = Self(17);
    pub const NODEV: Self = Self(19);
    pub const NOTDIR: Self = Self(20);
    pub const INVAL: Self = Self(22);
    pub const PIPE: Self = Self(32);
    pub const TIMEDOUT: Self = Self(110);

    /// Returns the number for the protocol.
    pub fn code(self) -> u32 {
        self.0 as u32
    }
}

pub type Result<T> = core::result::Result<T, Errno>;

/// Converts the result of a system call: the kernel returns -4095..-1 for an error.
fn answer(result: isize) -> Result<usize> {
    if (-4095..0).contains(&result) { Err(Errno(result.unsigned_abs())) } else { Ok(result.unsigned_abs()) }
}

/// Discards the value of a successful call.
fn done(result: Result<usize>) -> Result<()> {
    result.map(|_| ())
}
