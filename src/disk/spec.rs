//! The disk image that is wanted.

use std::path::PathBuf;

use crate::root::request::Copy;

/// What an image is put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The disk's own bytes.
    Raw,
    /// QEMU's, version 3.
    Qcow2,
    /// Microsoft's of fixed size, as Azure takes it.
    Vhd,
    /// `VMware`'s, one sparse file that grows.
    Vmdk,
    /// No disk at all: the EFI program alone.
    Uki,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Raw, Self::Qcow2, Self::Vhd, Self::Vmdk, Self::Uki];

    /// The word on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vhd => "vhd",
            Self::Vmdk => "vmdk",
            Self::Uki => "uki",
        }
    }

    /// How its files' names end.
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

/// What the root partition is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootSpec {
    /// A file that is taken as it is, or a directory.
    pub source: PathBuf,
    /// What a directory becomes.
    pub file_system: RootFileSystem,
}

/// File systems for a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootFileSystem {
    /// Compressed, read-only.
    Squashfs,
    /// The usual one.
    Ext4,
}

/// Everything a disk is made from, its EFI program apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskSpec {
    /// Files for the EFI system partition; destinations are paths there.
    pub added: Vec<Copy>,
    /// The root partition.
    pub root: Option<RootSpec>,
}
