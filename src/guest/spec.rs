//! Specification of one guest: initrd, kernel, machine, command, and how its result is judged.

use std::ffi::OsString;
use std::path::PathBuf;

use super::collect::request::CollectRequest;
use super::health::HealthSpec;
use super::snapshot::Warm;
use crate::cache::{Cache, CacheError, DEFAULT_LIMIT};
use crate::qemu::spec::BootSpec;
use crate::root::request::{KernelRef, ModuleRequest};
use crate::root::spec::InitrdSpec;

/// Specification of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunSpec {
    /// Contents of the initrd and the command. With [`RunSpec::ready_made`] only the root, the modules and the command
    /// are used.
    pub initrd: InitrdSpec,
    /// The kernel; `None`: the newest readable one.
    pub kernel: Option<KernelRef>,
    /// The machine.
    pub boot: BootSpec,
    /// An existing initrd to boot instead of building one.
    pub ready_made: Option<PathBuf>,
    /// Environment of the command: `NAME=VALUE`, or `NAME` to pass this process's value.
    pub env: Vec<OsString>,
    /// User of the command: `NAME|UID[:GROUP[,GROUP...]]`; `None`: root.
    pub user: Option<String>,
    /// Host name; `None`: `bootling`.
    pub hostname: Option<String>,
    /// True if the command line is printed for the user to boot by hand: pid 1 then uses only the console.
    pub print_only: bool,
    /// Whether to restore a guest from a snapshot instead of booting.
    pub warm: Warm,
    /// Modules that are loaded before the guest is saved.
    pub base_modules: Vec<ModuleRequest>,
    /// The command's working directory.
    pub cwd: Cwd,
    /// `TERM` for a command with a terminal.
    pub term: Option<OsString>,
    /// Effect of the kernel's health on the verdict.
    pub health: HealthSpec,
    /// Files to copy to the host after the command.
    pub collect: Vec<CollectRequest>,
    /// Most bytes of such files; `None`: 1 GiB.
    pub collect_limit: Option<u64>,
    /// The cache directory; `None`: see [`Cache::open`].
    pub cache: Option<PathBuf>,
}

impl RunSpec {
    /// Opens the cache.
    pub(super) fn open_cache(&self) -> Result<Cache, CacheError> {
        match &self.cache {
            Some(directory) => Cache::at(directory, DEFAULT_LIMIT),
            None => Cache::open(),
        }
    }
}

/// Working directory of a command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Cwd {
    /// `/`.
    #[default]
    Root,
    /// The host's directory of this name if the image has it, else `/`.
    Here(PathBuf),
    /// This directory of the guest. If it is missing, pid 1 reports it and uses `/`.
    At(PathBuf),
}
