//! What can speak against touching a disk's first sector.

/// What speaks against touching a disk's first sector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Objection {
    /// No GPT, neither for sectors of 512 bytes nor of 4096.
    #[error("it has no GUID partition table, at neither byte 512 nor byte 4096: no UEFI starts it from a disk")]
    NoTable,
    /// A GPT that nobody can use.
    #[error("its GUID partition table is damaged, {0}")]
    Damaged(String),
    /// Partitions for those who know no GPT, beside one.
    #[error("its boot record is a hybrid one, with partitions of type {}: a legacy BIOS may well start it", types(.0))]
    Hybrid(Vec<u8>),
    /// Partitions by boot record, and a GPT that is not protected by it.
    #[error(
        "its boot record has partitions of type {}, and no protective one: what there is of a GPT is a leftover",
        types(.0)
    )]
    MbrPartitions(Vec<u8>),
    /// A boot loader.
    #[error("its boot code is that of {0}: a legacy BIOS starts it")]
    Loader(String),
    /// Something.
    #[error("its boot code is none that is known here: a legacy BIOS may well start it")]
    UnknownCode,
    /// GRUB's place on GPT disks.
    #[error("its partition {0} is a BIOS boot partition: a legacy BIOS starts it, or is meant to")]
    BiosBoot(u32),
    /// Attribute bit 2.
    #[error(
        "its partition {0} is marked for legacy BIOS boot (attribute bit 2): syslinux or the like is meant to start it"
    )]
    LegacyBootable(u32),
    /// Undoing what was not done.
    #[error("its boot code is {0}, not ours")]
    NotOurs(String),
    /// Undoing what was not done.
    #[error("it has no boot code, ours or others'")]
    NothingThere,
    /// The second record is in use.
    #[error("its second partition record is in use, where the active one for old BIOSes would go")]
    SlotTaken,
    /// There is no room for a protective record, or it would hide partitions.
    #[error("its boot record has partitions and no protective one, and putting one there would hide them")]
    WouldHide,
    /// Saved records are those of another disk, or of another time.
    #[error("the records that were saved have other partitions than the disk has")]
    OtherRecords,
}

impl Objection {
    /// Whether `--force` overrides it.
    pub const fn yields(&self) -> bool {
        match self {
            Self::NoTable
            | Self::Damaged(_)
            | Self::Hybrid(_)
            | Self::MbrPartitions(_)
            | Self::Loader(_)
            | Self::UnknownCode
            | Self::BiosBoot(_)
            | Self::LegacyBootable(_)
            | Self::NotOurs(_)
            | Self::NothingThere => true,
            Self::SlotTaken | Self::WouldHide | Self::OtherRecords => false,
        }
    }

    /// What the user might do.
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::NoTable => "is it the image of a disk, not of a partition? --force stamps it all the same",
            Self::Damaged(_) => "`sgdisk -v` tells more, `sgdisk -e` may mend it; --force stamps it all the same",
            Self::Hybrid(_)
            | Self::MbrPartitions(_)
            | Self::Loader(_)
            | Self::UnknownCode
            | Self::BiosBoot(_)
            | Self::LegacyBootable(_) => {
                "if it is to be started by UEFI alone, --force overwrites the boot code, and --save FILE keeps it"
            }
            Self::NotOurs(_) | Self::NothingThere => "--force overwrites it all the same",
            Self::SlotTaken => "leave --bios-active out",
            Self::OtherRecords => "a FILE of its first 440 bytes puts back the boot code alone",
            Self::WouldHide => "leave --fix-mbr out",
        }
    }
}

/// `0x0c, 0x83`
fn types(kinds: &[u8]) -> String {
    kinds.iter().map(|kind| format!("{kind:#04x}")).collect::<Vec<_>>().join(", ")
}
