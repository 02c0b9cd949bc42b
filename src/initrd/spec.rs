//! The initrd that is wanted.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::root::request::{Copy, ModuleRequest};

/// Everything an initrd is built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitrdSpec {
    /// Where host files are looked up: `/`, or the root of another system (`--sysroot`).
    pub root: PathBuf,
    /// Whether busybox and links for all its applets go in.
    pub busybox: bool,
    /// Programs to include, by name on PATH or by path, with all they need.
    pub binaries: Vec<OsString>,
    /// Files, directories and patterns to copy.
    pub copies: Vec<Copy>,
    /// Modules to load, in this order, each after its dependencies.
    pub modules: Vec<ModuleRequest>,
    /// Directories searched for libraries as if `LD_LIBRARY_PATH` named them; exported in the guest too.
    pub lib_path: Vec<PathBuf>,
    /// What pid 1 runs.
    pub run: RunWhat,
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
        }
    }
}

/// What pid 1 runs once the guest is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunWhat {
    /// An interactive shell.
    Shell,
    /// A line for `/bin/sh -c` (`--run`).
    Line(OsString),
    /// A program and its arguments, exactly as given. The program is also an entry of the image.
    Command(Vec<OsString>),
}
