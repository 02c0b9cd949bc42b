//! Sector sizes and logical block addresses.

use std::fmt;

/// Logical sector size of a disk, the unit of all its tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SectorSize {
    /// 512 bytes: nearly every disk, and the default of virtual disks.
    S512,
    /// 4096 bytes ("4Kn").
    S4096,
}

impl SectorSize {
    /// Both sizes, the usual one first.
    pub const ALL: [Self; 2] = [Self::S512, Self::S4096];

    /// Returns the size in bytes.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::S512 => 512,
            Self::S4096 => 4096,
        }
    }

    /// Returns the size in bytes, as a buffer length.
    pub(crate) const fn length(self) -> usize {
        match self {
            Self::S512 => 512,
            Self::S4096 => 4096,
        }
    }
}

impl fmt::Display for SectorSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.bytes())
    }
}

/// A logical block address: the number of a sector, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lba(pub u64);

impl Lba {
    /// Returns the byte offset of the sector; `None` if it overflows 64 bits.
    pub(crate) const fn offset(self, sector: SectorSize) -> Option<u64> {
        self.0.checked_mul(sector.bytes())
    }
}

impl fmt::Display for Lba {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
