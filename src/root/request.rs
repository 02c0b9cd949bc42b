//! Requests that are resolved below a root: a kernel, a module, files to copy.

use std::ffi::OsString;
use std::path::PathBuf;

/// `--kernel` as typed. Resolution determines what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KernelRef {
    /// The newest readable kernel under the root.
    Newest,
    /// A path (image, build tree, package) or, if no such path exists, a release under the root.
    Named(OsString),
}

/// `--copy SRC[=DST]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// Path or glob pattern below the root. Relative ones start at the current directory.
    pub source: PathBuf,
    /// Destination; `None`: the same path as on the host.
    pub destination: Option<PathBuf>,
}

/// `--kmod 'NAME [param=value...]'`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleRequest {
    /// Module name or alias, or the path of a `.ko` file.
    pub name: OsString,
    /// Parameters for `finit_module(2)`, separated by spaces; may be empty.
    pub params: OsString,
}
