//! GPT partition entry.

use crate::format::bytes::le64;
use crate::format::{Guid, Lba, SectorSize};

/// Length of an entry in bytes; Linux supports no other (`block/partitions/efi.c`).
pub const ENTRY_SIZE: usize = 128;

/// Used partition entry (UEFI 2.11, table 5.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Partition number: the position in the table, counted from 1.
    pub number: u32,
    /// Type, such as [`Guid::ESP`].
    pub type_guid: Guid,
    /// GUID of this partition.
    pub unique_guid: Guid,
    /// First LBA.
    pub starting_lba: Lba,
    /// Last LBA.
    pub ending_lba: Lba,
    /// Attribute bits (UEFI 2.11, table 5.8).
    pub attributes: u64,
    /// Name, at most 36 UTF-16 code units.
    pub name: String,
}

impl Partition {
    /// Attribute bit 1, "no block I/O protocol": firmware does not offer the partition to EFI programs.
    pub const NO_BLOCK_IO: u64 = 1 << 1;
    /// Attribute bit 2, "legacy BIOS bootable": BIOS boot code may boot from the partition.
    pub(crate) const LEGACY_BOOTABLE: u64 = 1 << 2;

    /// Parses an entry of at least [`ENTRY_SIZE`] bytes; `None` if it is unused.
    pub(crate) fn decode(number: u32, entry: &[u8]) -> Option<Self> {
        let entry = entry.get(..ENTRY_SIZE)?;
        let type_guid = Some(Guid::at(entry, 0)).filter(|guid| *guid != Guid::ZERO)?;
        let units = entry[56..].as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair));
        let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
        Some(Self {
            number,
            type_guid,
            unique_guid: Guid::at(entry, 16),
            starting_lba: Lba(le64(entry, 32)),
            ending_lba: Lba(le64(entry, 40)),
            attributes: le64(entry, 48),
            name: String::from_utf16_lossy(&units),
        })
    }

    /// Returns the number of sectors; 0 if the ending LBA is below the starting LBA.
    pub(crate) fn sectors(&self) -> u64 {
        self.ending_lba.0.checked_sub(self.starting_lba.0).map_or(0, |between| between.saturating_add(1))
    }

    /// Returns byte offset and length; `None` if they overflow 64 bits.
    pub fn span(&self, sector: SectorSize) -> Option<(u64, u64)> {
        Some((self.starting_lba.offset(sector)?, self.sectors().checked_mul(sector.bytes())?))
    }
}
