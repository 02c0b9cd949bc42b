//! A disk image that a guest boots: opened for reading, unpacked if it is compressed, and never written to.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use super::launch::Artifact;
use super::platform::{Boots, Platform};
use super::{Listener, RunSpec, VmError};
use crate::arch::Arch;
use crate::disk::container::unpack::{spool_directory, unpack};
use crate::format::SectorSize;
use crate::qemu::argv::Payload;
use crate::qemu::drive::{Bus, Drive, DriveError, Format, Image, identify};
use crate::qemu::machine::{Display, Machine};

/// Properties of an image as a disk of the guest.
#[derive(Debug, Clone, Copy)]
pub struct DiskOptions {
    /// The bus; `None`: a CD drive for an ISO image, else virtio.
    pub bus: Option<Bus>,
    /// Logical sector size.
    pub sector: SectorSize,
    /// Whether the image may refer to other files.
    pub references: References,
    /// Handling of a compressed image.
    pub unpacking: Unpacking,
}

/// Whether an image may refer to other files, which QEMU opens with the user's rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum References {
    /// Allowed by the user.
    Allowed,
    /// Refused; the user can allow them.
    Refused,
    /// Refused; the verb has no option that allows them.
    Never,
}

/// Handling of a compressed image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unpacking {
    /// Unpack it into an unnamed file.
    Allowed,
    /// Refuse it: a printed command line must name an existing file.
    Refused,
}

/// An open disk image.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
    file: File,
    /// The drive that QEMU attaches.
    pub drive: Drive,
    /// True if QEMU must open the image by name, because it refers to files relative to itself.
    by_name: bool,
}

/// Failure to boot a disk image.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// Not a file that can hold an image.
    #[error("failed to open {}: neither a file nor a block device", .0.display())]
    Kind(PathBuf),
    /// Compressed, for a command line that is printed.
    #[error("--print-command does not support compressed images: {} ({compression})", path.display())]
    Compressed {
        /// The image.
        path: PathBuf,
        /// Its compression.
        compression: String,
    },
    /// A compressed image inside another one.
    #[error("failed to open {}: compressed twice", .0.display())]
    CompressedTwice(PathBuf),
    /// The image could not be unpacked.
    #[error("failed to unpack {} into {}", path.display(), directory.display())]
    Unpack {
        /// The image.
        path: PathBuf,
        /// The directory of the unnamed file.
        directory: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// QEMU cannot attach it, or must not.
    #[error("failed to boot {}", path.display())]
    Drive {
        /// The image.
        path: PathBuf,
        /// Whether the image may refer to other files.
        references: References,
        /// The cause.
        source: DriveError,
    },
}

impl DiskError {
    /// One line of advice, if there is some.
    pub(crate) const fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Kind(_) | Self::CompressedTwice(_) => None,
            Self::Compressed { .. } => Some("decompress it first (zstd -d, gunzip, unxz) and use the result"),
            Self::Unpack { .. } => Some("set TMPDIR to use another directory"),
            Self::Drive { references, source, .. } => match (source, references) {
                (DriveError::Names(_), References::Refused) => Some("use --allow-backing to allow this"),
                (DriveError::Names(_), References::Allowed | References::Never) => {
                    Some("qemu-img convert -O qcow2 creates a single image that refers to no other file")
                }
                (DriveError::Unreadable(_) | DriveError::Foreign(_) | DriveError::SectorSize(_), _) => None,
            },
        }
    }
}

impl Disk {
    /// Opens an image.
    pub fn open(path: &Path, options: DiskOptions, listener: &mut dyn Listener) -> Result<Self, VmError> {
        let opening = || VmError::io("open", path.display().to_string());
        let mut file = File::open(path).map_err(opening())?;
        let kind = file.metadata().map_err(opening())?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Err(DiskError::Kind(path.to_owned()).into());
        }
        let (path, references) = (path.to_owned(), options.references);
        let failed = |source| DiskError::Drive { path: path.clone(), references, source };
        let mut image = identify_open(&file, references).map_err(failed)?;
        // An unpacked image has no name.
        let mut by_name = references == References::Allowed;
        if let Image::Compressed(compression) = image {
            match options.unpacking {
                Unpacking::Allowed => listener.note(&format!("unpacking {} ({compression})", path.display())),
                Unpacking::Refused => {
                    return Err(DiskError::Compressed { path, compression: compression.to_string() }.into());
                }
            }
            by_name = false;
            let directory = spool_directory();
            file = unpack(&file, compression, &directory).map_err(|source| DiskError::Unpack {
                path: path.clone(),
                directory,
                source,
            })?;
            image = identify_open(&file, references).map_err(failed)?;
        }
        let (format, iso) = match image {
            Image::Drive { format, iso } => (format, iso),
            Image::Compressed(_) => return Err(DiskError::CompressedTwice(path).into()),
        };
        let bus = options.bus.unwrap_or(if iso { Bus::Cd } else { Bus::Virtio });
        let drive = Drive::new(format, bus, options.sector).map_err(failed)?;
        Ok(Self { path, file, drive, by_name })
    }

    /// Returns the same open image once more.
    pub fn try_clone(&self) -> Result<Self, VmError> {
        let file = self.file.try_clone().map_err(VmError::io("open", self.path.display().to_string()))?;
        Ok(Self { path: self.path.clone(), file, drive: self.drive, by_name: self.by_name })
    }

    /// Returns the payload for QEMU.
    pub(super) fn payload(&self) -> Result<Payload<Artifact>, VmError> {
        let image = match self.drive.format {
            // File names in the image are relative to its directory.
            Format::Qcow2 | Format::Vmdk if self.by_name => Artifact::Named(self.absolute()?),
            Format::Raw | Format::Qcow2 | Format::Vmdk | Format::Vpc | Format::Vhdx | Format::Vdi => {
                Artifact::Open(self.try_clone()?.file.into())
            }
        };
        Ok(Payload::Disk { image, drive: self.drive })
    }

    /// Returns the absolute path.
    pub(crate) fn absolute(&self) -> Result<PathBuf, VmError> {
        std::path::absolute(&self.path).map_err(VmError::io("open", self.path.display().to_string()))
    }
}

/// Returns the machine that boots a disk.
pub fn disk_machine(spec: &RunSpec, display: Display, listener: &mut dyn Listener) -> Result<Machine, VmError> {
    // The architecture cannot be read from a disk. Only firmware for 64-bit PCs is supported.
    let platform = Platform::find(&spec.boot, Arch::X86_64, &spec.open_cache()?, listener)?;
    platform.machine(&spec.boot, Boots::Disk { display })
}

/// Identifies the format of an open image.
fn identify_open(mut file: &File, references: References) -> Result<Image, DriveError> {
    // The metadata of a block device does not contain its size.
    let len = file.seek(SeekFrom::End(0))?;
    identify(file, len, references == References::Allowed)
}
