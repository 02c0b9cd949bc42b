//! What resolution finds out: one fact an archive entry, with the reason why it is wanted.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::format::archive_path::ArchivePath;

/// Something an image should hold, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// Where it stands in the archive. May lead through links: the plan follows them.
    pub path: ArchivePath,
    /// What stands there.
    pub node: Node,
    /// Who asked for it.
    pub why: Why,
}

/// What a path in an archive is. Modes are the twelve permission bits.
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
        /// Its bytes.
        content: Content,
        /// Device and inode on the host where the file has several names there, so that links stay links.
        hardlink: Option<(u64, u64)>,
    },
    /// A symbolic link.
    Symlink {
        /// What it points at, in bytes, exactly as on the host.
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
    /// A socket's name.
    Socket {
        /// Permission bits.
        mode: u16,
    },
}

/// A regular file's bytes: sized when resolved, opened only when written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A file of the host. Its length must still be `len` when it is written.
    Host {
        /// The file, as this process opens it.
        path: PathBuf,
        /// Length in bytes when it was resolved.
        len: u64,
    },
    /// Bytes made during resolution (decompressed modules, the job).
    Bytes(Arc<[u8]>),
    /// Bytes built into this program (pid 1).
    Static(&'static [u8]),
}

impl Content {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Host { len, .. } => *len,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Static(bytes) => bytes.len() as u64,
        }
    }

    /// True where there are no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Why an entry is in the image; `--why` prints these.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// Every image has it.
    Base,
    /// An option or argument of the user's, as typed: `--copy /etc/os-release`.
    Asked(OsString),
    /// A link to busybox. Gives way to any other entry of the same path.
    Applet,
    /// A link that makes a program be found through PATH. Gives way to any other entry of the same path.
    OnPath {
        /// The program.
        program: ArchivePath,
    },
    /// `DT_NEEDED` of a program or library.
    Library {
        /// The name that was needed.
        name: OsString,
        /// Who needed it.
        by: ArchivePath,
    },
    /// `PT_INTERP` of a program, or the `#!` line of a script.
    Interpreter {
        /// Whose interpreter it is.
        of: ArchivePath,
    },
    /// A library named by `.note.dlopen`, or known to be opened at run time.
    Dlopen {
        /// The name that may be opened.
        name: OsString,
        /// Who may open it.
        by: ArchivePath,
    },
    /// A symbolic link on the way to another entry.
    LinkTo {
        /// The entry that is reached through it.
        path: ArchivePath,
    },
    /// A dependency of a kernel module: hard (`depends`), soft or weak.
    Module {
        /// The kind of dependency: `depends`, `softdep pre`, `softdep post`, `weakdep`.
        kind: &'static str,
        /// The module that has it.
        by: String,
    },
    /// What the control channel between host and guest needs.
    Channel,
    /// Configuration that a program or the C library reads.
    Config {
        /// Who reads it.
        by: ArchivePath,
    },
    /// Something small that programs expect. Gives way to any other entry of the same path.
    Default,
    /// A directory that holds another entry.
    Parent {
        /// The first entry below it.
        of: ArchivePath,
    },
}

impl Why {
    /// True where an entry for this reason gives way to an entry of the same path for any other reason.
    pub const fn gives_way(&self) -> bool {
        matches!(self, Self::Applet | Self::OnPath { .. } | Self::Default | Self::Parent { .. })
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base => f.write_str("every image has it"),
            Self::Asked(option) => write!(f, "asked for by {}", option.display()),
            Self::Applet => f.write_str("busybox applet"),
            Self::OnPath { program } => write!(f, "so that {program} is found through PATH"),
            Self::Library { name, by } => write!(f, "library {}, needed by {by}", name.display()),
            Self::Interpreter { of } => write!(f, "interpreter of {of}"),
            Self::Dlopen { name, by } => write!(f, "library {}, opened at run time by {by}", name.display()),
            Self::LinkTo { path } => write!(f, "link on the way to {path}"),
            Self::Module { kind, by } => write!(f, "{kind} of module {by}"),
            Self::Channel => f.write_str("the control channel needs it"),
            Self::Config { by } => write!(f, "configuration read by {by}"),
            Self::Default => f.write_str("programs expect it"),
            Self::Parent { of } => write!(f, "directory of {of}"),
        }
    }
}
