//! The header of a partition table.

use crate::format::{Guid, Lba, SectorSize};

const SIGNATURE: &[u8; 8] = b"EFI PART";
const REVISION: u32 = 0x0001_0000;
/// Bytes of the header that are defined (UEFI 2.11, table 5.5); its checksum is over as many as it says it has.
const SIZE: usize = 92;

/// A header, as it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// `0x0001_0000` in all that there are.
    pub revision: u32,
    /// Bytes of the header that its checksum covers.
    pub header_size: u32,
    /// Where this header stands.
    pub my_lba: Lba,
    /// Where the other one stands.
    pub alternate_lba: Lba,
    /// First sector that partitions may have.
    pub first_usable: Lba,
    /// Last sector that partitions may have.
    pub last_usable: Lba,
    /// The disk's name.
    pub disk_guid: Guid,
    /// Where the entries begin.
    pub entries_lba: Lba,
    /// How many entries there are, used or not.
    pub entry_count: u32,
    /// Bytes of an entry.
    pub entry_size: u32,
    /// CRC-32 over all entries.
    pub entries_crc: u32,
}

/// Why a sector is no header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// Something else is there.
    #[error("no \"EFI PART\" signature")]
    Signature,
    /// Its length makes no sense.
    #[error("header size {0}, but it is from 92 up to a sector")]
    Size(u32),
    /// It was changed, or badly written.
    #[error("header checksum {found:08x}, but its bytes have {computed:08x}")]
    Checksum {
        /// What it says.
        found: u32,
        /// What its bytes give.
        computed: u32,
    },
}

impl Header {
    /// Reads the sector of a header. Says nothing of whether what it claims is true.
    pub fn decode(sector: &[u8]) -> Result<Self, HeaderFault> {
        if sector.get(..8) != Some(SIGNATURE) {
            return Err(HeaderFault::Signature);
        }
        let word = |at: usize| sector.get(at..at + 4).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        let header_size = word(12);
        let covered = usize::try_from(header_size).ok().filter(|size| *size >= SIZE);
        let Some(covered) = covered.and_then(|size| sector.get(..size)) else {
            return Err(HeaderFault::Size(header_size));
        };
        let computed = checksum(covered);
        if word(16) != computed {
            return Err(HeaderFault::Checksum { found: word(16), computed });
        }
        let mut disk_guid = Guid::ZERO;
        disk_guid.0.copy_from_slice(&covered[56..72]);
        Ok(Self {
            revision: word(8),
            header_size,
            my_lba: Lba(long(24)),
            alternate_lba: Lba(long(32)),
            first_usable: Lba(long(40)),
            last_usable: Lba(long(48)),
            disk_guid,
            entries_lba: Lba(long(72)),
            entry_count: word(80),
            entry_size: word(84),
            entries_crc: word(88),
        })
    }

    /// As a whole sector, checksum included. Whatever size the header had, it is written with the defined 92 bytes.
    pub fn encode(&self, sector: SectorSize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(sector.length());
        bytes.extend(SIGNATURE);
        for word in [REVISION, SIZE as u32, 0, 0] {
            bytes.extend(word.to_le_bytes());
        }
        for lba in [self.my_lba, self.alternate_lba, self.first_usable, self.last_usable] {
            bytes.extend(lba.0.to_le_bytes());
        }
        bytes.extend(self.disk_guid.0);
        bytes.extend(self.entries_lba.0.to_le_bytes());
        for word in [self.entry_count, self.entry_size, self.entries_crc] {
            bytes.extend(word.to_le_bytes());
        }
        let sum = checksum(&bytes);
        bytes[16..20].copy_from_slice(&sum.to_le_bytes());
        bytes.resize(sector.length(), 0);
        bytes
    }
}

/// CRC-32 over a header, its own checksum counted as zero.
fn checksum(header: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&header[..16]);
    crc.update(&[0; 4]);
    crc.update(&header[20..]);
    crc.finalize()
}
