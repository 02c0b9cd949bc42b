//! An entry of a partition table.

use crate::format::{Guid, Lba, SectorSize};

/// Bytes of an entry in every table there is; Linux reads no others (`block/partitions/efi.c`).
pub const ENTRY_SIZE: usize = 128;
/// Code units of a name.
const NAME_UNITS: usize = 36;

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its number, counted from 1: its place in the table.
    pub number: u32,
    /// What it is for: [`Guid::ESP`], ...
    pub kind: Guid,
    /// Its own name to machines.
    pub id: Guid,
    /// First sector.
    pub first: Lba,
    /// Last sector, inclusive.
    pub last: Lba,
    /// Attribute bits (UEFI 2.11, table 5.8); bit 2 is "legacy BIOS bootable".
    pub attributes: u64,
    /// Its name to people; at most 36 UTF-16 code units.
    pub name: String,
}

impl Partition {
    /// Attribute bit 2: a legacy BIOS's boot code may start from it.
    pub const LEGACY_BOOTABLE: u64 = 1 << 2;

    /// Reads an entry of at least [`ENTRY_SIZE`] bytes; `None` where it is unused.
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

    /// As the bytes of an entry. A name that is too long is cut.
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

    /// Number of sectors; 0 where its end lies before its begin.
    pub fn sectors(&self) -> u64 {
        self.last.0.checked_sub(self.first.0).map_or(0, |between| between.saturating_add(1))
    }

    /// Where it begins and how long it is, in bytes; `None` past what 64 bits can say.
    pub fn span(&self, sector: SectorSize) -> Option<(u64, u64)> {
        Some((self.first.offset(sector)?, self.sectors().checked_mul(sector.bytes())?))
    }
}
