//! How the image is to be booted.

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

/// `--accel`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Accel {
    /// KVM where it was proven to work, else TCG.
    Auto,
    /// KVM, or an error.
    Kvm,
    /// QEMU's translator.
    Tcg,
}

/// Where the guest's console goes while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsoleTo {
    /// Kept in memory; its tail is shown when something goes wrong.
    Tail,
    /// Our standard error (`--console -`).
    Stderr,
    /// A file, written as it arrives.
    File(PathBuf),
}

/// The machine that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootSpec {
    /// The QEMU program, by path or by name on PATH; `None`: the one for the kernel's architecture.
    pub qemu: Option<PathBuf>,
    /// KVM or TCG.
    pub accel: Accel,
    /// `-machine`; `None`: our choice for the architecture.
    pub machine: Option<OsString>,
    /// `-cpu`; `None`: `max` under TCG, `host` under KVM.
    pub cpu: Option<OsString>,
    /// `-smp`, as typed.
    pub smp: Option<OsString>,
    /// Guest memory in MiB; `None`: 1 GiB, or more where the initrd needs it.
    pub memory_mib: Option<u64>,
    /// Further words for the kernel's command line (`--append`, repeatable).
    pub append: Vec<OsString>,
    /// Further QEMU arguments, word by word (`--qemu-arg`).
    pub qemu_args: Vec<OsString>,
    /// Where the console goes.
    pub console: ConsoleTo,
    /// Whether the command gets a terminal of its own in the guest.
    pub tty: bool,
}
