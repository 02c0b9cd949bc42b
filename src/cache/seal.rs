//! Names of cache entries, and seals that verify their contents.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

/// Name of an entry: a digest of its inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// Returns the key of an entry of this `kind` (including its format version) that is built from `parts`.
    pub(crate) fn of(kind: &str, parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in std::iter::once(kind.as_bytes()).chain(parts.iter().copied()) {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self(hex(&hash.finalize()))
    }

    /// Returns the key of an entry that is built from one file, valid as long as that file does not change.
    pub(crate) fn of_file(kind: &str, path: &Path, metadata: &Metadata) -> Self {
        use std::os::unix::ffi::OsStrExt as _;
        Self::of(kind, &[path.as_os_str().as_bytes(), Stamp::of(metadata).to_string().as_bytes()])
    }

    /// Parses a key written by [`Key::as_str`].
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let hex = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        hex.then(|| Self(text.to_owned()))
    }

    /// Returns the 64 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Converts to lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// File identity that reveals a change without reading the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Length in bytes.
    pub(crate) len: u64,
    /// Device and inode.
    pub(crate) file: (u64, u64),
    /// Modification time, in nanoseconds since the epoch.
    pub(crate) mtime: i128,
    /// Inode change time, in nanoseconds since the epoch. Advances with every write, even if `mtime` is reset
    /// afterwards.
    pub(crate) ctime: i128,
}

impl Stamp {
    /// Returns the stamp of a file's metadata.
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let time = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        Self {
            len: metadata.len(),
            file: (metadata.dev(), metadata.ino()),
            mtime: time(metadata.mtime(), metadata.mtime_nsec()),
            ctime: time(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl std::fmt::Display for Stamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {} {} {}", self.len, self.file.0, self.file.1, self.mtime, self.ctime)
    }
}

/// Contents of an entry's `seal`.
pub(super) enum Seal {
    /// A file, with its stamp as text and its digest.
    File { stamp: String, digest: String },
    /// A directory and its approximate size in bytes. The caller must verify its contents.
    Directory { bytes: u64 },
}

impl Seal {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.strip_suffix('\n')?.split_once(' ')?;
        match kind {
            "file" => {
                let (digest, stamp) = rest.split_once(' ')?;
                Some(Self::File { stamp: stamp.to_owned(), digest: digest.to_owned() })
            }
            "directory" => Some(Self::Directory { bytes: rest.parse().ok()? }),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> String {
        match self {
            Self::File { stamp, digest } => format!("file {digest} {stamp}\n"),
            Self::Directory { bytes } => format!("directory {bytes}\n"),
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::File { stamp, .. } => stamp.split(' ').next().and_then(|len| len.parse().ok()).unwrap_or(0),
            Self::Directory { bytes } => *bytes,
        }
    }
}
