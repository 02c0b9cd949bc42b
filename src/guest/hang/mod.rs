//! What a guest that hangs was doing, as QEMU tells it before it is killed.
//!
//! The least intrusive comes first ([`look`]): whether QEMU answers at all, registers, the queues of virtio devices, the
//! kernel's stack. Then what changes the guest, whose verdict is in by then ([`shake`]): two words of its memory are written over so that
//! it obeys sysrq and panics at an NMI, it is asked for backtraces by a BREAK on its console, and failing that an NMI makes
//! it give one. Everything has an end, and a signal to us is the end of all of it.
//! What the guest says is untrusted: bounded, and shown without control characters.

pub mod asking;
pub mod cpus;
pub mod host;
pub mod keep;
pub mod look;
pub mod poke;
pub mod registers;
pub mod report;
pub mod shake;
pub mod stack;
pub mod tasks;
pub mod virtio;

use serde::{Deserialize, Serialize};

use crate::root::kernel::symbols::Source;

pub use self::asking::{Asking, Unanswered};
pub use self::keep::Keep;
pub use self::look::{Findings, look};
pub use self::report::{Context, hang, seconds};
pub use self::shake::{dump_core, shake};

/// A hang report.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hang {
    /// What it comes to, the most telling first: a sentence each.
    pub summary: Vec<String>,
    /// The whole report, as text for people: lines without control characters.
    pub report: String,
}

/// What an inquiry is told of the guest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inquest {
    /// The symbols of its kernel, where that is known.
    pub symbols: Option<Source>,
    /// Whether the kernel may run elsewhere than where it was linked to: whatever unpacks itself may.
    pub may_move: bool,
}
