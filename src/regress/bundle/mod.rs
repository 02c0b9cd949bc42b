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

pub mod instructions;
pub mod machine;
pub mod manifest;
pub mod read;
pub mod write;

pub use self::instructions::JOINED;
pub use self::machine::{needs_leave, vetted};
pub use self::manifest::{ACCELERATORS, Digested, Expected, KernelNote, MachineNote, Manifest, QemuNote};
pub use self::read::{Bundle, is_bundle, read};
pub use self::write::{Contents, Packing, write};

/// Name of the manifest.
pub const MANIFEST: &str = "manifest.json";
/// Kernel image.
pub const KERNEL: &str = "kernel";
/// Initrd; its pid 1 uses the control channel.
pub const INITRD: &str = "initrd";
/// Archive that, appended to the initrd, makes pid 1 use the console.
pub const ON_CONSOLE: &str = "console.cpio";
/// Standard output of the command.
pub const STDOUT: &str = "expected/stdout";
/// Standard error of the command.
pub const STDERR: &str = "expected/stderr";
/// Last lines of the console.
pub const CONSOLE: &str = "expected/console";
/// Instructions.
pub const README: &str = "README.txt";
/// Script that repeats the run with a shell and QEMU.
pub const SCRIPT: &str = "run.sh";
/// All files allowed besides the manifest.
pub const NAMES: [&str; 8] = [README, SCRIPT, KERNEL, INITRD, ON_CONSOLE, STDOUT, STDERR, CONSOLE];

/// Maximum length of the manifest, in bytes.
pub const MANIFEST_BYTES: u64 = 1 << 20;
/// Maximum total length of the files, in bytes.
pub const FILE_BYTES: u64 = 2 << 30;

/// A bundle that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Read error.
    #[error("failed to read the archive")]
    Read(#[source] std::io::Error),
    /// Write error.
    #[error("failed to write the archive")]
    Write(#[source] std::io::Error),
    /// Not a bundle.
    #[error("not a bundle: {0}")]
    NoBundle(&'static str),
    /// Unsupported manifest version.
    #[error("unsupported manifest version {0}, expected {VERSION}")]
    Version(u64),
    /// Malformed manifest.
    #[error("failed to parse the manifest")]
    Manifest(#[source] serde_json::Error),
    /// The manifest does not match the directory's name.
    #[error("the manifest's digest does not match the directory name {directory:?}")]
    Renamed {
        /// Directory in the archive.
        directory: String,
    },
    /// Invalid entry.
    #[error("invalid entry {name}: {what}")]
    Entry {
        /// Entry name in the archive.
        name: String,
        /// Reason.
        what: String,
    },
    /// Missing file.
    #[error("missing file {0}")]
    Missing(String),
    /// The files are too large.
    #[error("total size {bytes} bytes exceeds the limit of {} MiB", FILE_BYTES >> 20)]
    Large {
        /// Total length.
        bytes: u64,
    },
    /// Invalid machine.
    #[error("invalid machine: {0}")]
    Machine(String),
}

/// The only supported bundle version.
pub const VERSION: u64 = 1;
