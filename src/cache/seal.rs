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
    /// A directory, its approximate size in bytes, and its files.
    Directory { bytes: u64, files: Vec<SealedFile> },
}

/// A file in a directory, with properties that reveal damage without reading it. Unlike a [`Stamp`], this survives a
/// copy of the cache that keeps times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SealedFile {
    /// Path relative to the directory.
    path: String,
    /// Size and time of the last write.
    stamp: String,
}

impl SealedFile {
    pub(super) fn of(path: &str, metadata: &Metadata) -> Self {
        let stamp = format!("{} {}.{:09}", metadata.len(), metadata.mtime(), metadata.mtime_nsec());
        Self { path: path.to_owned(), stamp }
    }

    /// Returns true if the file below `directory` is unchanged.
    pub(super) fn is_intact(&self, directory: &Path) -> bool {
        let found = std::fs::symlink_metadata(directory.join(&self.path));
        found.is_ok_and(|found| found.is_file() && Self::of(&self.path, &found) == *self)
    }
}

impl Seal {
    /// Parses a seal; `None` if it is damaged.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (first, files) = text.split_once('\n')?;
        let (kind, rest) = first.split_once(' ')?;
        match kind {
            "file" => {
                let (digest, stamp) = rest.split_once(' ')?;
                Some(Self::File { stamp: stamp.to_owned(), digest: digest.to_owned() })
            }
            "directory" => {
                let (digest, bytes) = rest.split_once(' ')?;
                let file = |line: &str| {
                    let (stamp, path) = line.split_once('\t')?;
                    Some(SealedFile { path: path.to_owned(), stamp: stamp.to_owned() })
                };
                let is_whole = hex(&Sha256::digest(files)) == digest;
                let files = files.lines().map(file).collect::<Option<_>>().filter(|_| is_whole)?;
                Some(Self::Directory { bytes: bytes.parse().ok()?, files })
            }
            _ => None,
        }
    }

    pub(super) fn text(&self) -> String {
        match self {
            Self::File { stamp, digest } => format!("file {digest} {stamp}\n"),
            Self::Directory { bytes, files } => {
                let lines = files.iter().flat_map(|file| [&file.stamp, "\t", &file.path, "\n"]).collect::<String>();
                format!("directory {} {bytes}\n{lines}", hex(&Sha256::digest(lines.as_bytes())))
            }
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::File { stamp, .. } => stamp.split(' ').next().and_then(|len| len.parse().ok()).unwrap_or(0),
            Self::Directory { bytes, .. } => *bytes,
        }
    }
}
