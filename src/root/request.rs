//! Requests that are resolved below a root: a kernel, a module, files to copy.

use std::ffi::OsString;
use std::path::PathBuf;

/// `--kernel`, as typed: resolution finds out what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KernelRef {
    /// The newest kernel that can be read under the root.
    Newest,
    /// A path (image, build tree, package) or, where no such path exists, a release found under the root.
    Named(OsString),
}

/// `--copy SRC[=DST]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// Path or glob pattern below the root; relative ones start at the current directory.
    pub source: PathBuf,
    /// Where it goes; without it, the same path as on the host.
    pub destination: Option<PathBuf>,
}

/// `--kmod 'NAME [param=value...]'`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleRequest {
    /// A module's name or alias, or the path of a `.ko` file.
    pub name: OsString,
    /// Parameters as `finit_module(2)` takes them, joined by spaces; may be empty.
    pub params: OsString,
}
