//! GPT header.

use crate::format::{Guid, Lba, SectorSize};

const SIGNATURE: &[u8; 8] = b"EFI PART";
const REVISION: u32 = 0x0001_0000;
/// Length of the defined header fields in bytes (UEFI 2.11, table 5.5). The checksum covers `HeaderSize` bytes.
const SIZE: usize = 92;

/// GPT header fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Revision; the only one in use is `0x0001_0000` (1.0).
    pub revision: u32,
    /// `HeaderSize`: bytes covered by the header checksum.
    pub header_size: u32,
    /// `MyLBA`: LBA of this header.
    pub my_lba: Lba,
    /// `AlternateLBA`: LBA of the other header.
    pub alternate_lba: Lba,
    /// `FirstUsableLBA`: first LBA that a partition may use.
    pub first_usable: Lba,
    /// `LastUsableLBA`: last LBA that a partition may use.
    pub last_usable: Lba,
    /// `DiskGUID`.
    pub disk_guid: Guid,
    /// `PartitionEntryLBA`: first LBA of the partition entries.
    pub entries_lba: Lba,
    /// `NumberOfPartitionEntries`: number of entries, used or not.
    pub entry_count: u32,
    /// `SizeOfPartitionEntry`: length of an entry in bytes.
    pub entry_size: u32,
    /// `PartitionEntryArrayCRC32`: CRC-32 of all entries.
    pub entries_crc: u32,
}

/// Reason why a sector is not a valid header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// The signature is missing.
    #[error("signature \"EFI PART\" missing")]
    Signature,
    /// `HeaderSize` is out of range.
    #[error("header size {0} out of range (92 to the sector size)")]
    Size(u32),
    /// The checksum does not match.
    #[error("header checksum is {found:08x}, expected {computed:08x}")]
    Checksum {
        /// Checksum in the header.
        found: u32,
        /// Checksum computed from the header.
        computed: u32,
    },
}

impl Header {
    /// Parses the sector of a header. Checks only signature, size and checksum, not the other fields.
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

    /// Encodes the header as a whole sector, including the checksum. `HeaderSize` is always written as 92.
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

/// Returns the CRC-32 of a header, with its checksum field as zero.
fn checksum(header: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&header[..16]);
    crc.update(&[0; 4]);
    crc.update(&header[20..]);
    crc.finalize()
}
