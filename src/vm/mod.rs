//! A guest from what is wanted to what QEMU can be started with: kernel, machine, and an initrd in memory.
//!
//! [`prepare()`] is what `bootling run` does before QEMU starts; [`image`] is what `bootling build` does before it writes.
//! Prints nothing: what a person may want to hear goes to a [`Listener`]. Refuses what cannot be booted, with the stages'
//! own errors in one [`VmError`].

pub mod compose;
mod error;
pub mod image;
mod initrd;
mod inputs;
mod listener;
pub mod prepare;
mod ready_made;
mod run;
pub mod warm;

use std::ffi::OsString;
use std::path::PathBuf;

use crate::spec::{BootSpec, InitrdSpec, KernelRef, ModuleRequest};

pub use self::error::VmError;
pub use self::inputs::Inputs;
pub use self::listener::{Listener, Silent};
pub use self::prepare::{Prepared, Unprepared, Way, prepare};
pub use self::run::{Ran, run};
pub use self::warm::Warm;

/// Everything that is wanted of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunSpec {
    /// What goes into the initrd, and what runs in it. Of a ready-made one only the root, the modules and what runs count.
    pub initrd: InitrdSpec,
    /// The kernel; `None`: the newest one that can be read.
    pub kernel: Option<KernelRef>,
    /// The machine.
    pub boot: BootSpec,
    /// An initrd to boot instead of making one.
    pub ready_made: Option<PathBuf>,
    /// Settings of the command's environment: `NAME=VALUE`, or `NAME` to take it over from this process.
    pub env: Vec<OsString>,
    /// Whether a person will boot it by hand: pid 1 then talks on the console alone.
    pub for_pasting: bool,
    /// Whether to restore a guest rather than boot one.
    pub warm: Warm,
    /// Modules that a guest is to have before it is saved.
    pub base_modules: Vec<ModuleRequest>,
}
