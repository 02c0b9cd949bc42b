//! Disk images, in whatever container: opened by path, read and written as the disk that a guest sees.
//!
//! Raw files, block devices, qcow2 (by the imago crate, behind checks of our own) and fixed VHD. Everything else that has
//! a name is refused by it: dynamic VHD, VHDX, VMDK, VDI, QCOW1, QED, compressed files. An image that a QEMU has open is
//! refused by the locks that QEMU itself takes, and while one is written the same locks keep QEMU away.
//!
//! A guest writes what it likes into its disk, the signature of a container included: so a block device counts as raw
//! unless it is said to be something else, and nothing that an image names is opened for writing.

mod content;
mod error;
mod lock;
mod qcow2;

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

pub use content::Content;
pub use error::ImageError;

use crate::disk::{Medium, SectorSize};

/// What is done with an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// It is read, and must not change meanwhile.
    Read,
    /// It is read and written, by nobody else meanwhile.
    Write,
}

/// What an image is kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Container {
    /// A file with the disk's bytes and nothing else.
    Raw,
    /// A block device.
    BlockDevice,
    /// QEMU's own format.
    Qcow2,
    /// A fixed VHD: the disk's bytes, and a footer.
    Vhd,
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::BlockDevice => "block device",
            Self::Qcow2 => "qcow2",
            Self::Vhd => "VHD",
        })
    }
}

/// How an image is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// What for.
    pub access: Access,
    /// What it is, where that is known; else its first and last bytes say it.
    pub content: Option<Content>,
    /// Whether it may be in use: open in a QEMU, mounted.
    pub though_in_use: bool,
}

impl Opening {
    /// As somebody would who knows nothing of the image and wants no trouble.
    pub const fn new(access: Access) -> Self {
        Self { access, content: None, though_in_use: false }
    }
}

/// An open image: a [`Medium`] of the bytes that a guest sees.
#[derive(Debug)]
pub struct Image {
    name: String,
    container: Container,
    size: u64,
    sector: Option<SectorSize>,
    body: Body,
}

#[derive(Debug)]
enum Body {
    /// The disk's bytes are the file's, from its begin.
    Plain(File),
    Qcow2(qcow2::Disk),
}

/// Opens an image with nothing special about it.
pub fn open(path: &Path, access: Access) -> Result<Image, ImageError> {
    open_as(path, Opening::new(access))
}

/// Opens an image.
pub fn open_as(path: &Path, how: Opening) -> Result<Image, ImageError> {
    let name = path.display().to_string();
    let opening = |source| ImageError::Open { name: name.clone(), source };
    // Without O_NONBLOCK a pipe would make us wait for somebody at its other end.
    let flags = (OFlags::NONBLOCK | OFlags::CLOEXEC).bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .write(how.access == Access::Write)
        .custom_flags(flags)
        .open(path)
        .map_err(opening)?;
    let kind = file.metadata().map_err(opening)?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        return Err(ImageError::NotADisk { name });
    }
    if !how.though_in_use {
        lock::take(&file, how.access).map_err(|source| ImageError::Lock { name: name.clone(), source })?;
    }
    let length = io::Seek::seek(&mut &file, io::SeekFrom::End(0)).map_err(opening)?;
    let content = match how.content {
        Some(content) => content,
        None if kind.is_block_device() => Content::Raw,
        None => Content::detect(&file, length).map_err(opening)?,
    };
    let (container, size, body) = match content {
        Content::Raw if kind.is_block_device() => (Container::BlockDevice, length, Body::Plain(file)),
        Content::Raw => (Container::Raw, length, Body::Plain(file)),
        Content::Vhd | Content::Qcow2 | Content::Compressed(_) | Content::Foreign(_) => {
            return Err(ImageError::Unknown { name, what: content.to_string() });
        }
    };
    Ok(Image { name, container, size, sector: None, body })
}

impl Image {
    /// What the user called it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is kept in.
    pub const fn container(&self) -> Container {
        self.container
    }

    /// The size of its sectors, where something outside its bytes tells: a block device's kernel does.
    pub const fn sector(&self) -> Option<SectorSize> {
        self.sector
    }

    /// Writes bytes of the disk; an error where it ends before that.
    pub fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(bytes.len() as u64).filter(|end| *end <= self.size);
        end.ok_or(io::ErrorKind::UnexpectedEof)?;
        match &mut self.body {
            Body::Plain(file) => file.write_all_at(bytes, offset),
            Body::Qcow2(disk) => disk.write_at(bytes, offset),
        }
    }

    /// Waits until what was written is on the disk below.
    pub fn sync(&mut self) -> io::Result<()> {
        match &mut self.body {
            Body::Plain(file) => file.sync_data(),
            Body::Qcow2(disk) => disk.sync(),
        }
    }
}

impl Medium for Image {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= self.size);
        end.ok_or(io::ErrorKind::UnexpectedEof)?;
        match &self.body {
            Body::Plain(file) => file.read_exact_at(buffer, offset),
            Body::Qcow2(disk) => disk.read_at(buffer, offset),
        }
    }
}
