//! GPT header.

use crate::format::bytes::{le32, le64};
use crate::format::{Guid, Lba};

const SIGNATURE: &[u8; 8] = b"EFI PART";
/// Length of the defined header fields in bytes (UEFI 2.11, table 5.5). The checksum covers `HeaderSize` bytes.
pub(super) const SIZE: u32 = 92;

/// GPT header fields (UEFI 2.11, table 5.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "the name in the specification")]
pub struct Header {
    /// Revision; the only one in use is `0x0001_0000` (1.0).
    pub(crate) revision: u32,
    /// Bytes covered by the header checksum: 92 to the sector size.
    pub(crate) header_size: u32,
    /// LBA of this header.
    pub(crate) my_lba: Lba,
    /// LBA of the other header.
    pub alternate_lba: Lba,
    /// First LBA that a partition may use.
    pub first_usable_lba: Lba,
    /// Last LBA that a partition may use.
    pub last_usable_lba: Lba,
    /// GUID of the disk; must not be zero.
    pub disk_guid: Guid,
    /// First LBA of the partition entries; 2 or more in the primary header.
    pub partition_entry_lba: Lba,
    /// Number of entries, used or not.
    pub number_of_partition_entries: u32,
    /// Length of an entry in bytes: 128 times a power of two.
    pub(crate) size_of_partition_entry: u32,
    /// CRC-32 of all entries.
    pub(crate) partition_entry_array_crc32: u32,
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
    pub(crate) fn decode(sector: &[u8]) -> Result<Self, HeaderFault> {
        if !sector.starts_with(SIGNATURE) {
            return Err(HeaderFault::Signature);
        }
        let (word, lba) = (|at| le32(sector, at), |at| Lba(le64(sector, at)));
        let header_size = word(12);
        let covered = sector.get(..header_size as usize).filter(|_| header_size >= SIZE);
        let Some(covered) = covered else { return Err(HeaderFault::Size(header_size)) };
        let computed = checksum(covered);
        if word(16) != computed {
            return Err(HeaderFault::Checksum { found: word(16), computed });
        }
        Ok(Self {
            revision: word(8),
            header_size,
            my_lba: lba(24),
            alternate_lba: lba(32),
            first_usable_lba: lba(40),
            last_usable_lba: lba(48),
            disk_guid: Guid::at(covered, 56),
            partition_entry_lba: lba(72),
            number_of_partition_entries: word(80),
            size_of_partition_entry: word(84),
            partition_entry_array_crc32: word(88),
        })
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
