//! Sectors: their size, and their numbers.

use std::fmt;

/// Size of a disk's logical sectors, the unit that all its tables count in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SectorSize {
    /// 512 bytes: nearly every disk, and every virtual one that was not told otherwise.
    S512,
    /// 4096 bytes ("4Kn").
    S4096,
}

impl SectorSize {
    /// Both, the usual one first.
    pub const ALL: [Self; 2] = [Self::S512, Self::S4096];

    /// In bytes.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::S512 => 512,
            Self::S4096 => 4096,
        }
    }

    /// In bytes, as a length.
    pub const fn length(self) -> usize {
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
    /// Where the sector begins, in bytes; `None` past what 64 bits can say.
    pub const fn offset(self, sector: SectorSize) -> Option<u64> {
        self.0.checked_mul(sector.bytes())
    }
}

impl fmt::Display for Lba {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
