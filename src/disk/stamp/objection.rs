//! Objections to changing the first sector of a disk.

/// Options that override an objection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Override {
    /// `--force`.
    Force,
    /// `--force` with `--save`, because bytes that cannot be made again are overwritten.
    ForceAndSave,
    /// Nothing.
    Never,
}

/// Objection to changing the first sector of a disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Objection {
    /// Content other than boot code, whose first bytes would be overwritten.
    #[error("it contains {0}, not a partitioned disk: a boot sector would overwrite its first 440 bytes")]
    Content(&'static str),
    /// No GPT, neither for sectors of 512 bytes nor for sectors of 4096 bytes, and no MBR partition for UEFI.
    #[error(
        "no GUID partition table at byte 512 or byte 4096 and no MBR partition of type EF: UEFI finds no EFI system partition"
    )]
    NoTable,
    /// A GPT that is damaged.
    #[error("damaged GUID partition table: {0}")]
    Damaged(String),
    /// A hybrid MBR: a protective record and records of other partitions.
    #[error("hybrid boot record with partitions of type {}: a legacy BIOS may be able to boot it", types(.0))]
    Hybrid(Vec<u8>),
    /// MBR partitions without a protective record, none of them for UEFI.
    #[error("MBR partition table with partitions of type {}, none of type EF: UEFI ignores a GPT on this disk", types(.0))]
    MbrPartitions(Vec<u8>),
    /// The code of a known boot loader.
    #[error("boot code of {0}: a legacy BIOS can boot it")]
    Loader(String),
    /// Unknown boot code.
    #[error("unknown boot code: a legacy BIOS may be able to boot it")]
    UnknownCode,
    /// A BIOS boot partition, which contains GRUB on GPT disks.
    #[error("partition {0} is a BIOS boot partition: the disk is meant for a legacy BIOS")]
    BiosBoot(u32),
    /// A partition with attribute bit 2.
    #[error("partition {0} is marked for legacy BIOS boot (attribute bit 2), for a boot loader like syslinux")]
    LegacyBootable(u32),
    /// The boot catalog of a CD has an image for a legacy BIOS.
    #[error("its boot catalog (El Torito) has an image for a legacy BIOS: it boots from a CD")]
    BootCatalog,
    /// Boot code to remove that bootling did not write.
    #[error("expected the boot code of bootling, found {0}")]
    ForeignCode(String),
    /// No boot code to replace.
    #[error("no boot code to replace")]
    NothingThere,
    /// The second partition record is in use.
    #[error("the second partition record is in use, but --bios-active needs it for the active record")]
    SlotTaken,
    /// No free slot for a protective record, or it would hide partitions.
    #[error("boot record with partitions and without a protective record: adding one would hide the partitions")]
    WouldHide,
    /// Saved records of another disk or an older partitioning.
    #[error("the saved partition records differ from the partitions of the disk")]
    OtherRecords,
}

impl Objection {
    /// Returns the options that override the objection.
    pub(crate) const fn overridden_by(&self) -> Override {
        match self {
            Self::Content(_) => Override::ForceAndSave,
            Self::NoTable
            | Self::Damaged(_)
            | Self::Hybrid(_)
            | Self::MbrPartitions(_)
            | Self::Loader(_)
            | Self::UnknownCode
            | Self::BiosBoot(_)
            | Self::LegacyBootable(_)
            | Self::BootCatalog
            | Self::ForeignCode(_)
            | Self::NothingThere => Override::Force,
            Self::SlotTaken | Self::WouldHide | Self::OtherRecords => Override::Never,
        }
    }

    /// Returns advice for the user.
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Content(_) => {
                "check the file name; `bootling stamp --force --save FILE` stamps it anyway and saves these bytes, and \
                 `--undo=FILE` restores them"
            }
            Self::NoTable => "check that it is the image of a disk, not of a partition; --force stamps it anyway",
            Self::Damaged(_) => "`sgdisk -v` prints details, `sgdisk -e` may repair it; --force stamps it anyway",
            Self::Hybrid(_)
            | Self::MbrPartitions(_)
            | Self::Loader(_)
            | Self::UnknownCode
            | Self::BiosBoot(_)
            | Self::LegacyBootable(_)
            | Self::BootCatalog => {
                "if only UEFI must boot it, --force overwrites the boot code, and --save FILE saves it first"
            }
            Self::ForeignCode(_) | Self::NothingThere => "--force overwrites it anyway",
            Self::SlotTaken => "omit --bios-active",
            Self::OtherRecords => "to restore only the boot code, truncate FILE to 440 bytes",
            Self::WouldHide => "omit --fix-mbr",
        }
    }
}

/// Formats partition types: `0x0c, 0x83`.
fn types(kinds: &[u8]) -> String {
    kinds.iter().map(|kind| format!("{kind:#04x}")).collect::<Vec<_>>().join(", ")
}
