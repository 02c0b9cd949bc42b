//! Inspection of a hanging guest through QEMU, before QEMU is killed.
//!
//! The least intrusive steps come first ([`inspect`]): whether QEMU responds, registers, the queues of virtio devices,
//! the kernel's stack. Steps that affect the guest follow, after its outcome has been determined ([`sysrq`]):
//! backtraces are requested by sysrq, or else by an NMI. Neither the guest's memory nor QEMU's is written. Every step
//! has a timeout, and a signal to bootling ends the inspection.
//!
//! Guest output is untrusted: bounded, and printed without control characters.

pub(crate) mod cpus;
pub(crate) mod inspect;
pub(crate) mod recording;
pub(crate) mod registers;
pub(crate) mod report;
pub(crate) mod stack;
pub(crate) mod sysrq;
pub(crate) mod tasks;
pub(crate) mod virtio;

use serde::{Deserialize, Serialize};

use crate::root::kernel::symbols::Source;

pub(crate) use self::inspect::inspect;
pub(crate) use self::recording::Recording;
pub(crate) use self::report::{Context, hang};
pub(crate) use self::sysrq::{dump_core, request_sysrq};

/// Hang report.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hang {
    /// Most important findings, the most significant first: one sentence each.
    pub summary: Vec<String>,
    /// Complete report as text: lines without control characters.
    pub(crate) report: String,
}

/// Input for an inspection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct HangInput {
    /// Kernel symbols, if known.
    pub(crate) symbols: Option<Source>,
    /// True if the kernel may run at an address other than its link address, as every self-extracting kernel may.
    pub(crate) may_move: bool,
}
