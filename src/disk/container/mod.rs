//! Disk images, in whatever container: opened by path, read and written as the disk that a guest sees.
//!
//! Raw files, block devices, qcow2 (by the imago crate, behind checks of our own) and fixed VHD. Everything else that has
//! a name is refused by it: dynamic VHD, VHDX, VMDK, VDI, QCOW1, QED, compressed files. An image that a QEMU has open is
//! refused by the locks that QEMU itself takes, and while one is written the same locks keep QEMU away.
//!
//! A guest writes what it likes into its disk, the signature of a container included: so a block device counts as raw
//! unless it is said to be something else, and nothing that an image names is opened for writing.

pub mod content;
pub mod device;
pub mod error;
pub mod lock;
pub mod qcow2;
pub mod stamp;
pub mod stream;

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, OFlags};

pub use self::content::{Content, Squeeze};
pub use self::error::ImageError;
pub use self::qcow2::Qcow2Error;
pub use self::stamp::{StampError, apply};

use crate::format::vhd::{FOOTER, Footer};
use crate::format::{Medium, SectorSize};

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
    /// Whether it is opened in spite of what speaks against it: a QEMU has it open (but not if it is a qcow2 image to be
    /// written), a file system on it is mounted, it has bitmaps that writing spoils.
    pub force: bool,
    /// Whether a block device may have users while it is written: the kernel would else give it to nobody else.
    pub shared: bool,
    /// Whether the files that an overlay names are opened below it. An image from elsewhere may name any file of this
    /// machine, whose content then shows through, and is copied into the image where it is written.
    pub backing: bool,
}

impl Opening {
    /// As somebody would who knows nothing of the image and wants no trouble.
    pub const fn new(access: Access) -> Self {
        Self { access, content: None, force: false, shared: false, backing: false }
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
    Qcow2(Box<qcow2::Disk>),
}

/// Opens an image with nothing special about it.
pub fn open(path: &Path, access: Access) -> Result<Image, ImageError> {
    open_as(path, Opening::new(access))
}

/// Opens an image.
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
    // A second writer would spoil a qcow2 image, whose tables QEMU remembers: nobody can insist on that.
    let insists = how.force && !(content == Content::Qcow2 && how.access == Access::Write);
    if let Err(error) = agree(&file, &name, how.access)
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
            let disk = qcow2::Disk::open(file, path, how);
            let disk = disk.map_err(|fault| ImageError::Qcow2 { name: name.clone(), fault })?;
            (Container::Qcow2, disk.size(), Body::Qcow2(Box::new(disk)))
        }
        Content::Compressed(_) => return Err(ImageError::Compressed { name, content }),
        Content::Foreign(_) => return Err(ImageError::Foreign { name, content }),
    };
    Ok(Image { name, container, size, sector, body })
}

/// Opens a file or a device; `alone` is for devices, which the kernel then gives to nobody else.
fn open_file(path: &Path, access: Access, alone: bool) -> io::Result<File> {
    // Without O_NONBLOCK a pipe would make us wait for somebody at its other end.
    let mut flags = OFlags::NONBLOCK;
    flags.set(OFlags::EXCL, alone);
    let write = access == Access::Write;
    OpenOptions::new().read(true).write(write).custom_flags(flags.bits().cast_signed()).open(path)
}

/// Bytes of a file or a device.
fn length(file: &File) -> io::Result<u64> {
    io::Seek::seek(&mut &*file, io::SeekFrom::End(0))
}

/// Who uses a device that the kernel does not give to us alone.
fn who_uses(path: &Path) -> String {
    let users = open_file(path, Access::Read, false).map(|device| device::users(&device)).unwrap_or_default();
    if users.is_empty() { "somebody else has it open for himself".to_owned() } else { users.join(", ") }
}

/// Takes QEMU's locks, or says who has taken them.
fn agree(file: &File, name: &str, access: Access) -> Result<(), ImageError> {
    let conflict = lock::take(file, access).map_err(|source| ImageError::Open { name: name.to_owned(), source })?;
    let who = match conflict {
        None => return Ok(()),
        Some(lock::Conflict::Written) => "a QEMU, or another of its kind, has it open and writes to it",
        Some(lock::Conflict::Read) => "a QEMU, or another of its kind, has it open and relies on its content",
        Some(lock::Conflict::Exclusive) => "somebody has locked it for himself",
    };
    Err(ImageError::InUse { name: name.to_owned(), who: who.to_owned() })
}

/// Bytes of the disk in a fixed VHD.
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

    /// What a block device is used for by others, in words: `/dev/vda1 is mounted on /boot`.
    pub fn users(&self) -> Vec<String> {
        match &self.body {
            Body::Plain(file) if self.container == Container::BlockDevice => device::users(file),
            Body::Plain(_) | Body::Qcow2(_) => Vec::new(),
        }
    }

    /// The files that an overlay stands on, the nearest first: they are read, and never written.
    pub fn backing(&self) -> &[PathBuf] {
        match &self.body {
            Body::Plain(_) => &[],
            Body::Qcow2(disk) => disk.backing(),
        }
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

    /// Reads as [`Medium::read_at`] does, but what the disk below has, not what is remembered of it.
    pub fn read_back(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match &self.body {
            Body::Plain(file) => {
                // Advice, which a file system may not take: then the page cache answers, as it would have anyway.
                let _ = rustix::fs::fadvise(file, offset, NonZeroU64::new(buffer.len() as u64), Advice::DontNeed);
                file.read_exact_at(buffer, offset)
            }
            Body::Qcow2(disk) => disk.reopened().map_err(io::Error::other)?.read_at(buffer, offset),
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
