//! Disk images in any supported container, opened by path, read and written as the disk that a guest sees.
//!
//! Supports raw files, block devices, qcow2 (with the imago crate, after separate checks) and fixed VHD. On request,
//! reads dynamic VHD, VHDX, VMDK, VDI, QCOW1, QED and other qcow2 images through qemu-storage-daemon. Refuses compressed
//! files, which `unpack` and `stream` handle. Uses the locks of QEMU: an image that QEMU
//! has open is refused, and QEMU cannot open an image while it is written here.
//!
//! A guest can write any data to its disk, including the signature of a container. So a block device counts as raw
//! unless the caller states its format, and a file named by an image is never opened for writing.

pub mod content;
pub(crate) mod device;
pub mod error;
pub mod foreign;
pub(crate) mod lock;
pub(crate) mod qcow2;
pub(crate) mod references;
pub mod stream;
pub mod unpack;

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, OFlags};

pub use self::content::Content;
pub use self::error::ImageError;
use self::foreign::Foreign;

use crate::format::vhd::{FOOTER, Footer};
use crate::format::{Medium, SectorSize};

/// Access to an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Read; the image must not change meanwhile.
    Read,
    /// Read and write; no other process may write meanwhile.
    Write,
}

/// Container format of an open image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Container {
    /// A file with only the disk content.
    Raw,
    /// A block device.
    BlockDevice,
    /// A qcow2 image.
    Qcow2,
    /// A fixed VHD: the disk content, followed by a footer.
    Vhd,
    /// A format with this name that is read through [`foreign::PROGRAM`].
    Foreign(&'static str),
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::BlockDevice => "block device",
            Self::Qcow2 => "qcow2",
            Self::Vhd => "VHD",
            Self::Foreign(name) => name,
        })
    }
}

/// Options for opening an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent option")]
pub struct Opening {
    /// Requested access.
    pub access: Access,
    /// Format, if known; otherwise it is detected from the first and last bytes.
    pub content: Option<Content>,
    /// True to open the image although QEMU has it open (except to write a qcow2 image), a file system on it is
    /// mounted, or it has bitmaps that a write invalidates.
    pub force: bool,
    /// True to write a block device without exclusive access, so that it may have other users.
    pub shared: bool,
    /// True to open the backing files of an overlay. An untrusted image may name any file of this machine; its content
    /// is then readable through the image, and copied into it by writes.
    pub backing: bool,
    /// True to read formats that bootling does not parse itself through [`foreign::PROGRAM`].
    pub foreign: bool,
}

impl Opening {
    /// Returns the safe defaults: detect the format, refuse an image in use, open no backing files.
    pub const fn new(access: Access) -> Self {
        Self { access, content: None, force: false, shared: false, backing: false, foreign: false }
    }
}

impl Opening {
    fn reads_foreign(self) -> bool {
        self.foreign && self.access == Access::Read
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
    /// The disk content is the file content, from offset 0.
    Plain(File),
    Qcow2(Box<qcow2::Disk>),
    Foreign(Box<Foreign>),
}

/// Opens an image with the default options.
pub fn open(path: &Path, access: Access) -> Result<Image, ImageError> {
    open_as(path, Opening::new(access))
}

/// Opens an image with the options `how`.
pub fn open_as(path: &Path, how: Opening) -> Result<Image, ImageError> {
    let name = path.display().to_string();
    let opening = |source| ImageError::Open { name: name.clone(), source };
    let kind = std::fs::metadata(path).map_err(opening)?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        return Err(ImageError::NotADisk { name });
    }
    let alone = kind.is_block_device() && how.access == Access::Write && !how.force && !how.shared;
    let file = match open_file(path, how.access, alone) {
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy && alone => {
            return Err(ImageError::InUse { name, who: who_uses(path) });
        }
        file => file.map_err(opening)?,
    };
    let length = length(&file).map_err(opening)?;
    let content = match how.content {
        Some(content) => content,
        None if kind.is_block_device() => Content::Raw,
        None => Content::detect(&file, length).map_err(opening)?,
    };
    // A second writer corrupts a qcow2 image, because QEMU caches its tables: not even `force` allows that.
    let insists = how.force && !(content == Content::Qcow2 && how.access == Access::Write);
    if let Err(error) = take_locks(&file, &name, how.access)
        && !insists
    {
        return Err(error);
    }
    let sector = device::sector(&file).filter(|_| kind.is_block_device());
    let (container, size, body) = match content {
        Content::Raw if kind.is_block_device() => (Container::BlockDevice, length, Body::Plain(file)),
        Content::Raw => (Container::Raw, length, Body::Plain(file)),
        Content::Vhd => (Container::Vhd, vhd(&file, &name, length)?, Body::Plain(file)),
        Content::Qcow2 => {
            let other = if how.reads_foreign() { Some(file.try_clone().map_err(opening)?) } else { None };
            match (qcow2::Disk::open(file, path, how), other) {
                (Ok(disk), _) => (Container::Qcow2, disk.size(), Body::Qcow2(Box::new(disk))),
                (Err(qcow2::Qcow2Error::Header(qcow2::HeaderFault::Unsupported(_))), Some(file)) => {
                    open_foreign(&file, path, content, how)?
                }
                (Err(fault), _) => return Err(ImageError::Qcow2 { name, fault }),
            }
        }
        Content::Foreign(_) if how.reads_foreign() && foreign::driver(content).is_some() => {
            open_foreign(&file, path, content, how)?
        }
        Content::Compressed(_) => return Err(ImageError::Compressed { name, content }),
        Content::Foreign(_) => return Err(ImageError::Foreign { name, content }),
    };
    Ok(Image { name, container, size, sector, body })
}

/// Opens an image through [`foreign::PROGRAM`].
fn open_foreign(
    file: &File,
    path: &Path,
    content: Content,
    how: Opening,
) -> Result<(Container, u64, Body), ImageError> {
    let name = path.display().to_string();
    let Some(driver) = foreign::driver(content) else { return Err(ImageError::Foreign { name, content }) };
    let relative = match references::of(file, content) {
        Ok(Some(what)) if !how.backing => return Err(ImageError::References { name, what }),
        Ok(Some(_)) => Some(path),
        Ok(None) => None,
        Err(source) => return Err(ImageError::Open { name, source }),
    };
    let opened =
        Foreign::open(file, relative, driver).map_err(|source| ImageError::Through { name, content, source })?;
    let format = match content {
        Content::Foreign(name) => name,
        Content::Raw | Content::Qcow2 | Content::Vhd | Content::Compressed(_) => driver,
    };
    Ok((Container::Foreign(format), opened.size(), Body::Foreign(Box::new(opened))))
}

/// Opens a file or a device. `alone` requests exclusive access to a device (`O_EXCL`).
fn open_file(path: &Path, access: Access, alone: bool) -> io::Result<File> {
    // Without O_NONBLOCK, opening a pipe would block until its other end is opened.
    let mut flags = OFlags::NONBLOCK;
    flags.set(OFlags::EXCL, alone);
    let write = access == Access::Write;
    OpenOptions::new().read(true).write(write).custom_flags(flags.bits().cast_signed()).open(path)
}

/// Returns the size of a file or a device, in bytes.
fn length(file: &File) -> io::Result<u64> {
    io::Seek::seek(&mut &*file, io::SeekFrom::End(0))
}

/// Describes the users of a device that cannot be opened exclusively.
fn who_uses(path: &Path) -> String {
    let users = open_file(path, Access::Read, false).map(|device| device::users(&device)).unwrap_or_default();
    if users.is_empty() { "another process has it open exclusively".to_owned() } else { users.join(", ") }
}

/// Takes QEMU's image locks, or fails if another process holds conflicting ones.
fn take_locks(file: &File, name: &str, access: Access) -> Result<(), ImageError> {
    let conflict = lock::take(file, access).map_err(|source| ImageError::Open { name: name.to_owned(), source })?;
    let who = match conflict {
        None => return Ok(()),
        Some(lock::Conflict::Written) => "QEMU or a similar program has it open for writing",
        Some(lock::Conflict::Read) => "QEMU or a similar program has it open and denies changes",
        Some(lock::Conflict::Exclusive) => "another process has locked it exclusively",
    };
    Err(ImageError::InUse { name: name.to_owned(), who: who.to_owned() })
}

/// Returns the size of the disk in a fixed VHD, in bytes.
fn vhd(file: &File, name: &str, length: u64) -> Result<u64, ImageError> {
    let there = length.saturating_sub(FOOTER as u64);
    let mut bytes = [0; FOOTER];
    let read = file.read_exact_at(&mut bytes, there);
    read.map_err(|source| ImageError::Open { name: name.to_owned(), source })?;
    let footer = Footer::decode(&bytes);
    let footer = footer.map_err(|fault| ImageError::Vhd { name: name.to_owned(), offset: there, fault })?;
    if footer.disk_bytes > there {
        return Err(ImageError::VhdSize { name: name.to_owned(), disk: footer.disk_bytes, there });
    }
    Ok(footer.disk_bytes)
}

impl Image {
    /// Returns the name of the image, as the user gave it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the container format.
    pub const fn container(&self) -> Container {
        self.container
    }

    /// Returns the sector size of a block device, as the kernel reports it; `None` for files.
    pub const fn sector(&self) -> Option<SectorSize> {
        self.sector
    }

    /// Describes other users of a block device, or of a file behind a loop device: `/dev/vda1 is mounted on /boot`.
    pub fn users(&self) -> Vec<String> {
        match &self.body {
            Body::Plain(file) if self.container == Container::BlockDevice => device::users(file),
            Body::Plain(file) => device::loop_users(file),
            Body::Qcow2(_) | Body::Foreign(_) => Vec::new(),
        }
    }

    /// Returns the backing files of an overlay, nearest first. They are read, and never written.
    pub fn backing(&self) -> &[PathBuf] {
        match &self.body {
            Body::Plain(_) | Body::Foreign(_) => &[],
            Body::Qcow2(disk) => disk.backing(),
        }
    }

    /// Writes bytes at `offset` of the disk. Fails if they extend past its end.
    pub(crate) fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(bytes.len() as u64).filter(|end| *end <= self.size);
        end.ok_or(io::ErrorKind::UnexpectedEof)?;
        match &mut self.body {
            Body::Plain(file) => file.write_all_at(bytes, offset),
            Body::Qcow2(disk) => disk.write_at(bytes, offset),
            Body::Foreign(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Flushes all writes to stable storage.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        match &mut self.body {
            Body::Plain(file) => file.sync_data(),
            Body::Qcow2(disk) => disk.sync(),
            Body::Foreign(_) => Ok(()),
        }
    }

    /// Same as [`Medium::read_at`], but bypasses caches, to verify a write.
    pub(crate) fn read_back(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match &self.body {
            Body::Plain(file) => {
                // Only advice: if the file system ignores it, the read comes from the page cache.
                let _ = rustix::fs::fadvise(file, offset, NonZeroU64::new(buffer.len() as u64), Advice::DontNeed);
                file.read_exact_at(buffer, offset)
            }
            Body::Qcow2(disk) => disk.reopened().map_err(io::Error::other)?.read_at(buffer, offset),
            Body::Foreign(disk) => disk.read_at(buffer, offset),
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
            Body::Foreign(disk) => disk.read_at(buffer, offset),
        }
    }
}
