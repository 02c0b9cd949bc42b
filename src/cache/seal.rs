//! How entries of the cache are named, and how it is known that they are what was put there.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

/// The name of an entry: a digest of what it was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// The key of a thing of this `kind` (with the version of its format) made from `parts`.
    pub fn of(kind: &str, parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in std::iter::once(kind.as_bytes()).chain(parts.iter().copied()) {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self(hex(&hash.finalize()))
    }

    /// The key of a thing made from one file, as long as that file does not change.
    pub fn of_file(kind: &str, path: &Path, metadata: &Metadata) -> Self {
        use std::os::unix::ffi::OsStrExt as _;
        Self::of(kind, &[path.as_os_str().as_bytes(), Stamp::of(metadata).to_string().as_bytes()])
    }

    /// A key that was written down by [`Key::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        hex.then(|| Self(text.to_owned()))
    }

    /// 64 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What tells a changed file from an unchanged one without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Length in bytes.
    pub len: u64,
    /// Device and inode.
    pub file: (u64, u64),
    /// Modification, in nanoseconds since the epoch.
    pub mtime: i128,
    /// Change of the inode: moves with every write, whatever is done to `mtime` afterwards.
    pub ctime: i128,
}

impl Stamp {
    /// The stamp of a file that was looked at.
    pub fn of(metadata: &Metadata) -> Self {
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

/// What an entry's `seal` says.
pub(super) enum Seal {
    /// A file, with its stamp as text and its digest.
    File { stamp: String, digest: String },
    /// A directory of about so many bytes. What is in it is checked by whoever put it there.
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
