//! Detects the type of a file to inspect (disk image, EFI program or initrd) and opens it, unpacked if necessary.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};

use super::container::unpack::{packed_disk, spool_directory, unpack};
use super::container::{self, Access, Container, Content, Image, ImageError, Opening};
use crate::format::compression::Compression;
use crate::format::pe::Pe;
use crate::format::{Stream, gpt, newc};

/// A file opened for reading, by type.
#[derive(Debug)]
pub enum Opened {
    /// Disk image or block device.
    Disk(Image),
    /// PE file: a UKI, a boot loader or a kernel.
    Program(Image),
    /// Initrd or other compressed file, or a pipe.
    Initrd(File),
}

impl Opened {
    /// Returns a sequential reader for the content of any type.
    pub fn into_read(self) -> Box<dyn Read> {
        match self {
            Self::Disk(image) | Self::Program(image) => Box::new(Stream::new(image)),
            Self::Initrd(file) => Box::new(file),
        }
    }
}

/// Error from opening a file of unknown type. The file's name is not part of the messages.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be opened.
    #[error("failed to open")]
    Open(#[source] io::Error),
    /// The file is a directory.
    #[error("is a directory")]
    Directory,
    /// The file cannot be read.
    #[error("failed to read the first bytes")]
    Read(#[source] io::Error),
    /// The compressed disk image cannot be unpacked.
    #[error("failed to unpack it into {}", directory.display())]
    Unpack {
        /// Directory for temporary files.
        directory: PathBuf,
        /// Error from the decoder or the operating system.
        source: io::Error,
    },
    /// The unpacked file cannot be opened.
    #[error("unpacked content")]
    Unpacked(#[source] Box<Self>),
    /// The disk image cannot be opened.
    #[error(transparent)]
    Image(#[from] ImageError),
}

impl OpenError {
    /// Returns one line of advice, if there is any.
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::Image(error) => error.advice(),
            Self::Unpacked(error) => error.advice(),
            Self::Unpack { .. } => Some("set TMPDIR to use another directory".into()),
            Self::Open(_) | Self::Directory | Self::Read(_) => None,
        }
    }
}

/// Number of bytes that [`is_initrd`] needs.
pub const HEAD: usize = 8;

/// Returns true for the first bytes of an initrd. Those of unsupported formats count, too: they are reported as such,
/// not as a disk without partitions.
pub fn is_initrd(head: &[u8]) -> bool {
    head.starts_with(b"07070") || Compression::detect(head).reads_segments() || newc::is_unsupported(head)
}

/// Opens `path`. Unknown types are opened as a disk. `backing`: also open the backing files of an overlay. Calls `note`
/// before steps that take time.
pub fn open(path: &Path, backing: bool, note: &mut dyn FnMut(&str)) -> Result<Opened, OpenError> {
    open_as(path, path, backing, note)
}

/// Same as [`open`]; notes contain `name` instead of `path`.
fn open_as(path: &Path, name: &Path, backing: bool, note: &mut dyn FnMut(&str)) -> Result<Opened, OpenError> {
    let file = File::open(path).map_err(OpenError::Open)?;
    let kind = file.metadata().map_err(OpenError::Open)?.file_type();
    if kind.is_dir() {
        return Err(OpenError::Directory);
    }
    if !kind.is_file() && !kind.is_block_device() {
        // Pipes can only be read sequentially, which is sufficient for an initrd.
        return Ok(Opened::Initrd(file));
    }
    let mut head = [0; HEAD];
    let read = file.read_at(&mut head, 0).map_err(OpenError::Read)?;
    let head = head.get(..read).unwrap_or_default();
    if let Some(compression) = packed_disk(&file) {
        note(&format!("unpacking {} ({compression})", name.display()));
        let directory = spool_directory();
        let unpacked = unpack(&file, compression, &directory);
        let unpacked = unpacked.map_err(|source| OpenError::Unpack { directory, source })?;
        let inner = PathBuf::from(format!("/proc/self/fd/{}", unpacked.as_raw_fd()));
        return open_as(&inner, path, false, note).map_err(|error| OpenError::Unpacked(Box::new(error)));
    }
    if is_initrd(head) || read == 0 && kind.is_file() {
        return Ok(Opened::Initrd(file));
    }
    if head.starts_with(b"MZ") && kind.is_file() {
        let raw = Opening { content: Some(Content::Raw), ..Opening::new(Access::Read) };
        let image = container::open_as(path, raw)?;
        // The boot sectors of hybrid images also start with "MZ".
        if Pe::read(&image).is_ok() || gpt::probe(&image).is_empty() {
            return Ok(Opened::Program(image));
        }
    }
    let image = container::open_as(path, Opening { backing, foreign: true, ..Opening::new(Access::Read) })?;
    if let Container::Foreign(format) = image.container() {
        note(&format!("reading {} ({format}) through {}", name.display(), container::foreign::PROGRAM));
    }
    Ok(Opened::Disk(image))
}
