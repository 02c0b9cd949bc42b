//! Requested disk image.

use std::path::PathBuf;

use super::layout::{Profile, SectorSizes};
use crate::format::SectorSize;
use crate::format::bootsector::{Preset, Then, boot_code};
use crate::format::mbr::BOOT_CODE;
use crate::root::request::Copy;

/// Format of a disk image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Raw disk contents.
    Raw,
    /// QEMU's qcow2, version 3.
    Qcow2,
    /// Microsoft's VHD of fixed size, as Azure requires it.
    Vhd,
    /// `VMware`'s VMDK: one sparse file that grows.
    Vmdk,
    /// No disk, only the EFI program.
    Uki,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 5] = [Self::Raw, Self::Qcow2, Self::Vhd, Self::Vmdk, Self::Uki];

    /// Returns the name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vhd => "vhd",
            Self::Vmdk => "vmdk",
            Self::Uki => "uki",
        }
    }

    /// Returns the file name extensions.
    pub const fn suffixes(self) -> &'static [&'static str] {
        match self {
            Self::Raw => &["raw", "img"],
            Self::Qcow2 => &["qcow2"],
            Self::Vhd => &["vhd"],
            Self::Vmdk => &["vmdk"],
            Self::Uki => &["efi"],
        }
    }
}

/// Source of the root partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootSpec {
    /// A file that is used unchanged, or a directory.
    pub source: PathBuf,
    /// File system created from a directory.
    pub file_system: RootFileSystem,
}

/// File systems for a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootFileSystem {
    /// squashfs: compressed and read-only.
    Squashfs,
    /// ext4.
    Ext4,
}

/// Contents of a disk, except for its EFI program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskSpec {
    /// Files for the EFI system partition; destinations are paths on it.
    pub added: Vec<Copy>,
    /// The root partition.
    pub root: Option<RootSpec>,
    /// Sector sizes of the disks that the image may be written to.
    pub sectors: SectorSizes,
    /// Permitted FAT types.
    pub profile: Profile,
    /// Size of the disk in bytes; `None`: as small as possible.
    pub size: Option<u64>,
    /// Boot code for a legacy BIOS.
    pub boot_code: [u8; BOOT_CODE],
    /// Time of all files and of the image, in seconds since 1970.
    pub time: u32,
}

impl Default for DiskSpec {
    /// The smallest disk with 512-byte sectors and a FAT32 volume, whose boot sector shows the standard message.
    fn default() -> Self {
        Self {
            added: Vec::new(),
            root: None,
            sectors: SectorSizes::Single(SectorSize::S512),
            profile: Profile::Standard,
            size: None,
            // A test shows that each predefined message fits.
            boot_code: boot_code(&Preset::Standard.message(), Then::Halt).unwrap_or([0; BOOT_CODE]),
            time: 0,
        }
    }
}
