//! Bundles: a reproducible run in one file, with kernel, initrd, machine, result, and instructions to repeat it with
//! only QEMU.
//!
//! A bundle is a tar archive: plain, or compressed with zstd or gzip. All entries are in one directory, named after the
//! digest of the manifest. The manifest comes first and lists every other file with its length and SHA-256. The same
//! inputs give the same bytes: a bundle contains no times, owners or host paths.
//!
//! Bundles may come from untrusted sources. Reading is bounded. Links, paths outside the directory, unknown names, and
//! extra or missing files are refused. Nothing is unpacked to a path that the bundle names. bootling builds QEMU's
//! command line itself, from the manifest fields that cannot name host files; further QEMU arguments require the user's
//! permission.

pub(crate) mod archive;
pub(crate) mod instructions;
pub(crate) mod machine;
pub(crate) mod manifest;
pub(crate) mod record;

use std::io;

use crate::guest::VmError;

pub use self::archive::{Bundle, inspect, is_bundle, read, read_file};
pub use self::manifest::{FileDigest, KernelInfo, MachineInfo, Manifest, QemuInfo};

/// Name of the manifest.
pub const MANIFEST: &str = "manifest.json";
/// Kernel image.
pub(crate) const KERNEL: &str = "kernel";
/// Initrd; its pid 1 uses the control channel.
pub(crate) const INITRD: &str = "initrd";
/// Archive that, appended to the initrd, makes pid 1 use the console.
pub(crate) const CONSOLE_ARCHIVE: &str = "console.cpio";
/// Standard output of the command.
pub(crate) const STDOUT: &str = "expected/stdout";
/// Standard error of the command.
pub(crate) const STDERR: &str = "expected/stderr";
/// Last lines of the console.
pub(crate) const CONSOLE: &str = "expected/console";
/// Instructions.
pub(crate) const README: &str = "README.txt";
/// Script that repeats the run with a shell and QEMU.
pub const SCRIPT: &str = "run.sh";
/// Initrd for the console, created by the script.
const CONSOLE_INITRD: &str = "initrd.console";
/// All files allowed besides the manifest, in archive order: small, readable ones first.
const FILE_NAMES: [&str; 8] = [README, SCRIPT, STDOUT, STDERR, CONSOLE, CONSOLE_ARCHIVE, INITRD, KERNEL];

/// Maximum length of the manifest, in bytes.
const MAX_MANIFEST_BYTES: u64 = 1 << 20;
/// Maximum total length of the files, in bytes.
const MAX_FILE_BYTES: u64 = 2 << 30;

/// Maximum total length of the files that are checked when a bundle is listed, in bytes.
const MAX_INSPECTED: u64 = 256 << 20;

/// A bundle that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Read error.
    #[error("failed to read the archive")]
    Read(#[source] io::Error),
    /// Write error.
    #[error("failed to write the archive")]
    Write(#[source] io::Error),
    /// Not a bundle.
    #[error("not a bundle: {0}")]
    NotABundle(&'static str),
    /// Unsupported manifest version.
    #[error("unsupported manifest version {0}, expected {VERSION}")]
    Version(u64),
    /// Malformed manifest.
    #[error("failed to parse the manifest")]
    Manifest(#[source] serde_json::Error),
    /// The manifest does not match the directory's name.
    #[error("the manifest's digest does not match the directory name {0:?}")]
    DigestMismatch(String),
    /// Invalid entry.
    #[error("invalid entry {name}: {reason}")]
    Entry {
        /// Entry name in the archive.
        name: String,
        /// Reason.
        reason: String,
    },
    /// Missing file.
    #[error("missing file {0}")]
    Missing(String),
    /// The files are too large.
    #[error("total size {0} bytes exceeds the limit of {mib} MiB", mib = MAX_FILE_BYTES >> 20)]
    TooLarge(u64),
    /// Invalid machine.
    #[error("invalid machine: {0}")]
    Machine(String),
    /// The machine requires the user's permission.
    #[error("invalid machine: QEMU arguments that require permission: {0}")]
    Permission(String),
    /// The run cannot be bundled.
    #[error("cannot bundle {0}")]
    Unsupported(String),
    /// A file for the bundle cannot be read.
    #[error("failed to read the {0}")]
    Input(&'static str, #[source] io::Error),
    /// The initrd cannot be extended for the console.
    #[error(transparent)]
    Initrd(Box<VmError>),
}

/// The only supported bundle version.
const VERSION: u64 = 1;
