//! GPT partition entry.

use crate::format::{Guid, Lba, SectorSize};

/// Length of an entry in bytes; Linux supports no other (`block/partitions/efi.c`).
pub const ENTRY_SIZE: usize = 128;
/// Maximum length of a name in UTF-16 code units.
const NAME_UNITS: usize = 36;

/// Used partition entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Partition number: the position in the table, counted from 1.
    pub number: u32,
    /// `PartitionTypeGUID`, such as [`Guid::ESP`].
    pub kind: Guid,
    /// `UniquePartitionGUID`.
    pub id: Guid,
    /// `StartingLBA`.
    pub first: Lba,
    /// `EndingLBA`, inclusive.
    pub last: Lba,
    /// Attribute bits (UEFI 2.11, table 5.8).
    pub attributes: u64,
    /// `PartitionName`, at most 36 UTF-16 code units.
    pub name: String,
}

impl Partition {
    /// Attribute bit 2, "legacy BIOS bootable": BIOS boot code may boot from the partition.
    pub const LEGACY_BOOTABLE: u64 = 1 << 2;

    /// Parses an entry of at least [`ENTRY_SIZE`] bytes; `None` if it is unused.
    pub fn decode(number: u32, entry: &[u8]) -> Option<Self> {
        let entry = entry.get(..ENTRY_SIZE)?;
        let guid = |at: usize| {
            let mut guid = Guid::ZERO;
            guid.0.copy_from_slice(&entry[at..at + 16]);
            guid
        };
        let long = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&entry[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        if guid(0) == Guid::ZERO {
            return None;
        }
        let (pairs, _) = entry[56..].as_chunks::<2>();
        let units: Vec<u16> =
            pairs.iter().map(|pair| u16::from_le_bytes(*pair)).take_while(|unit| *unit != 0).collect();
        Some(Self {
            number,
            kind: guid(0),
            id: guid(16),
            first: Lba(long(32)),
            last: Lba(long(40)),
            attributes: long(48),
            name: String::from_utf16_lossy(&units),
        })
    }

    /// Encodes the entry. A name that is too long is truncated.
    pub fn encode(&self) -> [u8; ENTRY_SIZE] {
        let mut entry = [0; ENTRY_SIZE];
        entry[..16].copy_from_slice(&self.kind.0);
        entry[16..32].copy_from_slice(&self.id.0);
        entry[32..40].copy_from_slice(&self.first.0.to_le_bytes());
        entry[40..48].copy_from_slice(&self.last.0.to_le_bytes());
        entry[48..56].copy_from_slice(&self.attributes.to_le_bytes());
        let (pairs, _) = entry[56..].as_chunks_mut::<2>();
        for (pair, unit) in pairs.iter_mut().zip(self.name.encode_utf16().take(NAME_UNITS)) {
            *pair = unit.to_le_bytes();
        }
        entry
    }

    /// Returns the number of sectors; 0 if the ending LBA is below the starting LBA.
    pub fn sectors(&self) -> u64 {
        self.last.0.checked_sub(self.first.0).map_or(0, |between| between.saturating_add(1))
    }

    /// Returns byte offset and length; `None` if they overflow 64 bits.
    pub fn span(&self, sector: SectorSize) -> Option<(u64, u64)> {
        Some((self.first.offset(sector)?, self.sectors().checked_mul(sector.bytes())?))
    }
}
