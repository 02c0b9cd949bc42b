//! Names of cache entries, and seals that verify their contents.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
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

/// Way in which a seal detects damage to the files of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sealing {
    /// By the contents of the files, which are read if their stamps have changed.
    Contents,
    /// By the contents, except for files whose names end in this suffix, which the caller checks.
    ContentsExcept(&'static str),
    /// By the stamps only, since reading the files takes too long: every write, and every copy, counts as damage.
    Stamps,
}

/// Contents of an entry's `seal`.
pub(super) enum Seal {
    /// A file, with its stamp as text and its digest.
    File { stamp: String, digest: String },
    /// A directory, its approximate size in bytes, and its files and links.
    Directory { bytes: u64, files: Vec<SealedFile> },
}

/// A file or link in a directory, with properties that reveal damage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SealedFile {
    /// Path relative to the directory.
    path: String,
    /// Type and permissions.
    mode: u32,
    /// Length in bytes.
    len: u64,
    /// Times of the last write and the last inode change, in nanoseconds since the epoch. The kernel advances the second
    /// with every write.
    times: (i128, i128),
    /// CRC-32 of the contents. It is only compared if the times differ; damage is not malice.
    crc: Option<u32>,
}

/// Comparison of a file with its seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Not written since it was sealed.
    Unchanged,
    /// Written, but with the same contents, such as by a copy of the cache: the seal of the new file.
    Copied(SealedFile),
    /// Missing, or with other contents.
    Damaged,
}

impl SealedFile {
    /// Seals the file at `path` below `directory`; with its contents if `reads`.
    pub(crate) fn of(directory: &Path, path: &str, reads: bool) -> io::Result<Self> {
        let file = directory.join(path);
        let crc = if reads { Some(crc_of(&file)?) } else { None };
        let stamp = Stamp::of(&fs::symlink_metadata(&file)?);
        let mode = fs::symlink_metadata(&file)?.mode();
        Ok(Self { path: path.to_owned(), mode, len: stamp.len, times: (stamp.mtime, stamp.ctime), crc })
    }

    /// Compares the file below `directory`.
    pub(crate) fn check(&self, directory: &Path) -> Condition {
        let Ok(found) = Self::of(directory, &self.path, false) else { return Condition::Damaged };
        let found = Self { crc: self.crc, ..found };
        if found == *self {
            return Condition::Unchanged;
        }
        let is_same = (found.mode, found.len) == (self.mode, self.len)
            && self.crc.is_some()
            && crc_of(&directory.join(&self.path)).ok() == self.crc;
        if is_same { Condition::Copied(found) } else { Condition::Damaged }
    }

    /// Returns the line of the file in a seal.
    pub(crate) fn line(&self) -> String {
        let Self { path, mode, len, times: (mtime, ctime), crc } = self;
        let crc = crc.map_or_else(|| "-".to_owned(), |crc| format!("{crc:08x}"));
        format!("{mode:o} {len} {mtime} {ctime} {crc}\t{path}\n")
    }

    /// Parses a line without its end.
    fn parse(line: &str) -> Option<Self> {
        let (stamp, path) = line.split_once('\t')?;
        let mut words = stamp.split(' ');
        let mode = u32::from_str_radix(words.next()?, 8).ok()?;
        let len = words.next()?.parse().ok()?;
        let times = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let crc = match words.next()? {
            "-" => None,
            crc => Some(u32::from_str_radix(crc, 16).ok()?),
        };
        Some(Self { path: path.to_owned(), mode, len, times, crc })
    }

    /// Finds the line of the file with this path.
    pub(crate) fn find(lines: &str, path: &str) -> Option<Self> {
        let at = lines.find(&format!("\t{path}\n"))?;
        let start = lines.get(..at)?.rfind('\n').map_or(0, |end| end + 1);
        lines.get(start..)?.lines().next().and_then(Self::parse)
    }
}

/// Returns the CRC-32 of a file's contents, or of a link's target.
fn crc_of(path: &Path) -> io::Result<u32> {
    use std::os::unix::ffi::OsStrExt as _;
    if fs::symlink_metadata(path)?.is_symlink() {
        return Ok(crc32fast::hash(fs::read_link(path)?.as_os_str().as_bytes()));
    }
    let mut file = File::open(path)?;
    let mut crc = crc32fast::Hasher::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(crc.finalize()),
            count => crc.update(buffer.get(..count).unwrap_or_default()),
        }
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
                let is_whole = hex(&Sha256::digest(files)) == digest;
                let files = files.lines().map(SealedFile::parse).collect::<Option<_>>().filter(|_| is_whole)?;
                Some(Self::Directory { bytes: bytes.parse().ok()?, files })
            }
            _ => None,
        }
    }

    pub(super) fn text(&self) -> String {
        match self {
            Self::File { stamp, digest } => format!("file {digest} {stamp}\n"),
            Self::Directory { bytes, files } => {
                let lines = files.iter().map(SealedFile::line).collect::<String>();
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
