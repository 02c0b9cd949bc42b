//! Requested initrd.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::root::request::{Copy, ModuleRequest};
/// Contents of an initrd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitrdSpec {
    /// Root of the host files: `/`, or the root of another system (`--sysroot`).
    pub root: PathBuf,
    /// True if busybox and links for all its applets are included.
    pub busybox: bool,
    /// Programs to include with their dependencies, by name on PATH or by path.
    pub binaries: Vec<OsString>,
    /// Files, directories and patterns to copy.
    pub copies: Vec<Copy>,
    /// Modules to load, in this order, each after its dependencies.
    pub modules: Vec<ModuleRequest>,
    /// Directories searched for libraries, as in `LD_LIBRARY_PATH`; also set in the guest.
    pub lib_path: Vec<PathBuf>,
    /// Command that pid 1 runs.
    pub run: RunWhat,
    /// True if a guest with a channel to the host receives modules on demand, through pid 1's `modprobe`.
    pub autoload: bool,
}

impl Default for InitrdSpec {
    fn default() -> Self {
        Self {
            root: PathBuf::from("/"),
            busybox: true,
            binaries: Vec::new(),
            copies: Vec::new(),
            modules: Vec::new(),
            lib_path: Vec::new(),
            run: RunWhat::Shell,
            autoload: true,
        }
    }
}

/// Command that pid 1 runs once the guest is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunWhat {
    /// An interactive shell.
    Shell,
    /// A shell line for `/bin/sh -c` (`--run`).
    Line(OsString),
    /// A program and its arguments, exactly as given. The program is included in the image.
    Command(Vec<OsString>),
}
