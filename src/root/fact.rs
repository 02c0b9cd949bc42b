//! Results of resolution: one fact per archive entry, with the reason for including it.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::format::archive_path::ArchivePath;

/// An entry that the image must contain, and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// Path in the archive. May lead through links, which the plan follows.
    pub path: ArchivePath,
    /// Type and content of the entry.
    pub node: Node,
    /// Reason for including it.
    pub why: Why,
}

/// Type of an archive entry. Modes are the twelve permission bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Dir {
        /// Permission bits.
        mode: u16,
    },
    /// A regular file.
    File {
        /// Permission bits.
        mode: u16,
        /// File content.
        content: Content,
        /// Device and inode on the host, if the file has several names there; preserves hard links.
        hardlink: Option<(u64, u64)>,
    },
    /// A symbolic link.
    Symlink {
        /// Link target in bytes, exactly as on the host.
        target: Vec<u8>,
    },
    /// A character device node.
    Char {
        /// Permission bits.
        mode: u16,
        /// Major device number.
        major: u32,
        /// Minor device number.
        minor: u32,
    },
    /// A block device node.
    Block {
        /// Permission bits.
        mode: u16,
        /// Major device number.
        major: u32,
        /// Minor device number.
        minor: u32,
    },
    /// A named pipe.
    Fifo {
        /// Permission bits.
        mode: u16,
    },
    /// A socket.
    Socket {
        /// Permission bits.
        mode: u16,
    },
}

/// Content of a regular file: sized during resolution, opened only when written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A file on the host. Its length must still be `len` when it is written.
    Host {
        /// Path under which this process opens the file.
        path: PathBuf,
        /// Length in bytes during resolution.
        len: u64,
    },
    /// Bytes created during resolution (decompressed modules, the job).
    Bytes(Arc<[u8]>),
    /// Bytes built into this program (pid 1).
    Static(&'static [u8]),
}

impl Content {
    /// Returns the length in bytes.
    #[expect(clippy::len_without_is_empty, reason = "no caller needs it")]
    pub fn len(&self) -> u64 {
        match self {
            Self::Host { len, .. } => *len,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Static(bytes) => bytes.len() as u64,
        }
    }
}

/// Reason for including an entry; printed by `--why`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// Part of every image.
    Base,
    /// An option or argument of the user, as typed: `--copy /etc/os-release`.
    Asked(OsString),
    /// A link to busybox. Gives way to any other entry with the same path.
    Applet,
    /// A link that makes a program reachable through PATH. Gives way to any other entry with the same path.
    OnPath {
        /// The program.
        program: ArchivePath,
    },
    /// `DT_NEEDED` of a program or library.
    Library {
        /// The required name.
        name: OsString,
        /// The requiring file.
        by: ArchivePath,
    },
    /// `PT_INTERP` of a program, or the `#!` line of a script.
    Interpreter {
        /// File that names the interpreter.
        of: ArchivePath,
    },
    /// A library named by `.note.dlopen`, or known to be opened at run time.
    Dlopen {
        /// The library's name.
        name: OsString,
        /// File that may open it.
        by: ArchivePath,
    },
    /// A symbolic link on the path to another entry.
    LinkTo {
        /// Entry that is reached through the link.
        path: ArchivePath,
    },
    /// A dependency of a kernel module: hard (`depends`), soft or weak.
    Module {
        /// Type of the dependency: `depends`, `softdep pre`, `softdep post`, `weakdep`.
        kind: &'static str,
        /// The module with the dependency.
        by: String,
    },
    /// Required by the control channel between host and guest.
    Channel,
    /// Configuration that a program or the C library reads.
    Config {
        /// The program that reads it.
        by: ArchivePath,
    },
    /// A small file that programs expect. Gives way to any other entry with the same path.
    Default,
    /// A directory that contains another entry.
    Parent {
        /// The first entry below it.
        of: ArchivePath,
    },
}

impl Why {
    /// Returns true if an entry with this reason gives way to an entry of the same path with any other reason.
    pub const fn gives_way(&self) -> bool {
        matches!(self, Self::Applet | Self::OnPath { .. } | Self::Default | Self::Parent { .. })
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base => f.write_str("included in every image"),
            Self::Asked(option) => write!(f, "requested by {}", option.display()),
            Self::Applet => f.write_str("busybox applet"),
            Self::OnPath { program } => write!(f, "so that {program} is found through PATH"),
            Self::Library { name, by } => write!(f, "library {}, needed by {by}", name.display()),
            Self::Interpreter { of } => write!(f, "interpreter of {of}"),
            Self::Dlopen { name, by } => write!(f, "library {}, opened at run time by {by}", name.display()),
            Self::LinkTo { path } => write!(f, "link on the path to {path}"),
            Self::Module { kind, by } => write!(f, "{kind} of module {by}"),
            Self::Channel => f.write_str("required by the control channel"),
            Self::Config { by } => write!(f, "configuration read by {by}"),
            Self::Default => f.write_str("expected by programs"),
            Self::Parent { of } => write!(f, "directory of {of}"),
        }
    }
}
