//! A guest from what is wanted to what QEMU can be started with: kernel, machine, and an initrd in memory.
//!
//! [`prepare()`] is what `bootling run` does before QEMU starts, [`run()`] is the rest; [`image`] is what `bootling build`
//! does before it writes. [`Vm`] is all of it for Rust programs, tests above all.
//! Prints nothing: what a person may want to hear goes to a [`Listener`]. Refuses what cannot be booted, with the stages'
//! own errors in one [`VmError`].

pub mod console;
pub mod expect;
pub mod hang;
pub mod health;
pub mod launch;
pub mod outlet;
pub mod plain;
pub mod screen;
pub mod session;
pub mod talk;
pub mod terminal;
pub mod transcript;
pub mod unpack;
pub mod verdict;

pub mod again;
pub mod bases;
pub mod brought;
pub mod builder;
pub mod command;
pub mod compose;
pub mod error;
pub mod evidence;
pub mod handle;
pub mod image;
pub mod initrd;
pub mod inputs;
pub mod limits;
pub mod listener;
pub mod output;
pub mod prepare;
pub mod ready_made;
pub mod recorded;
pub mod recorder;
pub mod run;
pub mod site;
pub mod snapshot;
pub mod stay;

use std::ffi::OsString;
use std::path::PathBuf;

use self::health::HealthSpec;
use crate::cache::{Cache, CacheError, DEFAULT_LIMIT};
use crate::{
    initrd::spec::InitrdSpec,
    qemu::spec::BootSpec,
    root::request::{KernelRef, ModuleRequest},
};

pub use self::builder::Builder;
pub use self::command::Command;
pub use self::error::VmError;
pub use self::handle::Vm;
pub use self::inputs::Inputs;
pub use self::listener::{Listener, Silent};
pub use self::output::Output;
pub use self::prepare::{Prepared, Unprepared, Way, prepare};
pub use self::run::{Ran, run};
pub use self::site::Site;
pub use self::snapshot::Warm;

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
    /// The directory the command starts in.
    pub cwd: Cwd,
    /// `TERM` for a command that has a terminal.
    pub term: Option<OsString>,
    /// What the kernel's health does to the verdict.
    pub health: HealthSpec,
    /// Where what is slow to make is kept; `None`: where the environment says (see [`crate::cache::Cache::open`]).
    pub cache: Option<PathBuf>,
}

impl RunSpec {
    /// Opens the cache that is to be used.
    fn open_cache(&self) -> Result<Cache, CacheError> {
        match &self.cache {
            Some(directory) => Cache::at(directory, DEFAULT_LIMIT),
            None => Cache::open(),
        }
    }
}

/// The directory a command starts in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Cwd {
    /// `/`.
    #[default]
    Root,
    /// This one, which a person is in: `/` where the image has no such directory.
    Here(PathBuf),
    /// This one of the guest's: `/` where it is not there, which pid 1 tells.
    At(PathBuf),
}
