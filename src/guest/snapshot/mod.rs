//! Warm runs: a guest that has booted once is restored instead of booted again.
//!
//! A *base* is a guest that has done everything that does not depend on a command: the kernel is up, the channel open,
//! file systems mounted, pid 1 waiting. It depends on the kernel, the machine, QEMU and pid 1. It is booted once and
//! saved (a *snapshot*, see [`store`]): its memory as a file, the state of its devices as QEMU's migration stream. A
//! run maps that memory privately, restores the devices, and writes the command with its files into the guest's window
//! ([`crate::format::protocol::window`]), from which pid 1 unpacks it.
//!
//! If this is not possible (`fit`), the caller boots cold and reports why.

pub(crate) mod migrate;

pub(crate) mod base;
pub(crate) mod fit;
pub(super) mod key;
pub(crate) mod memory;
pub mod store;

use std::time::Duration;

pub(crate) use self::base::{Base, NotWarm, ReadyGuest};
pub(crate) use self::store::KernelFile;
pub use self::store::{Snapshot, Snapshots};

/// Whether to use snapshots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Warm {
    /// No: every run boots.
    #[default]
    No,
    /// Yes; make one if it is missing.
    Yes,
    /// Yes, but make a new one.
    Fresh,
}

/// Age of the snapshot that a run started from; zero if the run made it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Age(pub Duration);

impl std::fmt::Display for Age {
    /// Formats the age in the largest unit that fits: `5 s`, `12 min`, `3 h`, `2 d`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.as_secs() {
            seconds @ 0..120 => write!(f, "{seconds} s"),
            seconds @ 120..7_200 => write!(f, "{} min", seconds / 60),
            seconds @ 7_200..172_800 => write!(f, "{} h", seconds / 3_600),
            seconds => write!(f, "{} d", seconds / 86_400),
        }
    }
}
