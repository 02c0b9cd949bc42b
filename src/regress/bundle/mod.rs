//! Bundles: a run that anybody can repeat, in one file. Kernel, initrd, the machine, what came of it, and how to repeat it
//! with nothing but QEMU.
//!
//! A bundle is a tar archive, compressed with zstd or gzip or not at all. All of it stands below one directory, which is
//! named after its manifest's digest; the manifest comes first and names every other file with its length and its SHA-256.
//! The same inputs give the same bytes: no times, no owners, no paths of the host are in it.
//!
//! Whoever opens one need not trust whoever made it. Reading is bounded; a link, a path that leads elsewhere, a name that
//! is not known here, a file too many or too few is refused; nothing is ever unpacked to a path that the bundle names.
//! QEMU is started with a line of ours, made from the few words of the manifest that cannot name files of the host;
//! further arguments are given to it only where the user says so.

pub mod guide;
pub mod manifest;
pub mod read;
pub mod vet;
pub mod write;

pub use self::guide::JOINED;
pub use self::manifest::{ACCELERATORS, Digested, Expected, KernelNote, MachineNote, Manifest, QemuNote};
pub use self::read::{Bundle, is_bundle, read};
pub use self::vet::{needs_leave, vetted};
pub use self::write::{Contents, Packing, write};

/// The manifest's name.
pub const MANIFEST: &str = "manifest.json";
/// The kernel image.
pub const KERNEL: &str = "kernel";
/// The initrd, which talks with bootling.
pub const INITRD: &str = "initrd";
/// What makes that one talk on the console, when put behind it.
pub const ON_CONSOLE: &str = "console.cpio";
/// What the command wrote.
pub const STDOUT: &str = "expected/stdout";
/// What it wrote to its standard error.
pub const STDERR: &str = "expected/stderr";
/// The console's last lines.
pub const CONSOLE: &str = "expected/console";
/// For people.
pub const README: &str = "README.txt";
/// For people with a shell and QEMU.
pub const SCRIPT: &str = "run.sh";
/// All that a bundle may hold beside its manifest.
pub const NAMES: [&str; 8] = [README, SCRIPT, KERNEL, INITRD, ON_CONSOLE, STDOUT, STDERR, CONSOLE];

/// The longest manifest.
pub const MANIFEST_BYTES: u64 = 1 << 20;
/// The most that all files of a bundle may have.
pub const FILE_BYTES: u64 = 2 << 30;

/// Why a bundle cannot be made, or is none.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// It cannot be read.
    #[error("reading the archive")]
    Read(#[source] std::io::Error),
    /// It cannot be written.
    #[error("writing the archive")]
    Write(#[source] std::io::Error),
    /// It is no bundle.
    #[error("it is no bundle: {0}")]
    NoBundle(&'static str),
    /// A manifest of another program, or of another time.
    #[error("reading the manifest: it is of version {0}, and this is bootling for version {VERSION}")]
    Version(u64),
    /// A manifest that is none.
    #[error("reading the manifest")]
    Manifest(#[source] serde_json::Error),
    /// A manifest that was changed.
    #[error("reading the manifest: it is not the one that the directory {directory:?} is named after")]
    Renamed {
        /// The directory in the archive.
        directory: String,
    },
    /// Something that a bundle never holds.
    #[error("reading {name}: {what}")]
    Entry {
        /// Its name in the archive.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// Something that a bundle always holds.
    #[error("looking for {0}: it is not there")]
    Missing(String),
    /// More than any bundle holds.
    #[error("packing {bytes} bytes: a bundle holds {} MiB at most", FILE_BYTES >> 20)]
    Large {
        /// How many there are.
        bytes: u64,
    },
    /// A word of the machine that is no word.
    #[error("reading the machine: {0}")]
    Machine(String),
}

/// The version of bundles that are written, and the only one that is read.
pub const VERSION: u64 = 1;
