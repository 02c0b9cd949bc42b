//! The master boot record: boot code, disk signature, four partition records, `55 AA` (UEFI 2.11, section 5.2).
//!
//! Writes the protective MBR of a GPT disk, and reads any MBR, including hybrid and damaged ones.

use super::SectorSize;

/// Length of the boot code in bytes. A stamp leaves the rest (signature, records) unchanged.
pub const BOOT_CODE: usize = 440;
/// Length of boot code and disk signature in bytes: everything in front of the records.
pub const BOOT_AREA: usize = RECORDS;
/// Byte offset of the four records.
const RECORDS: usize = 446;
/// Length of a record in bytes.
const RECORD: usize = 16;
/// Type of the protective record.
pub(crate) const PROTECTIVE: u8 = 0xEE;
/// Type of an EFI system partition (UEFI 2.11, table 5.3).
pub(crate) const ESP: u8 = 0xEF;
/// CHS address of LBA 1, and the one for an address beyond the range of CHS.
const CHS_FIRST: [u8; 3] = [0x00, 0x02, 0x00];
const CHS_BEYOND: [u8; 3] = [0xFF, 0xFF, 0xFF];

/// The first 512 bytes of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mbr {
    /// Machine code; all zero if there is none.
    pub boot_code: [u8; BOOT_CODE],
    /// Disk signature (4 bytes) and the two bytes after it, which some systems use for copy protection.
    pub signature: [u8; 6],
    /// The partition records.
    pub records: [Record; 4],
    /// True if the sector ends with `55 AA`, without which no BIOS boots it.
    pub bootable: bool,
}

/// One of the four partition records (16 bytes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Record {
    /// 0x80 for the active record, else 0.
    pub indicator: u8,
    /// CHS address of the first sector.
    pub first_chs: [u8; 3],
    /// Partition type; 0 means unused.
    pub kind: u8,
    /// CHS address of the last sector.
    pub last_chs: [u8; 3],
    /// First sector.
    pub first_lba: u32,
    /// Number of sectors.
    pub sectors: u32,
}

impl Record {
    /// Returns the protective record for a disk of `disk_sectors` sectors (UEFI 2.11, table 5.4). The last CHS address
    /// is the one that all tools write; EDK2's FAT reader in PEI requires exactly this first CHS address.
    pub(crate) fn protective(disk_sectors: u64) -> Self {
        let sectors = u32::try_from(disk_sectors.saturating_sub(1)).unwrap_or(u32::MAX);
        Self { indicator: 0, first_chs: CHS_FIRST, kind: PROTECTIVE, last_chs: CHS_BEYOND, first_lba: 1, sectors }
    }

    /// Returns an active record of type 0 for LBA 0, for a BIOS that boots only a disk with an active record. Linux and
    /// EDK2 treat a record of type 0 as unused, so the MBR stays protective for them. xorriso writes the same record.
    pub const fn dummy_active() -> Self {
        Self { indicator: 0x80, first_chs: [0; 3], kind: 0, last_chs: [0; 3], first_lba: 0, sectors: 1 }
    }

    /// Returns true if the record is all zero.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn decode(bytes: &[u8; RECORD]) -> Self {
        let [indicator, f0, f1, f2, kind, l0, l1, l2, a0, a1, a2, a3, n0, n1, n2, n3] = *bytes;
        Self {
            indicator,
            first_chs: [f0, f1, f2],
            kind,
            last_chs: [l0, l1, l2],
            first_lba: u32::from_le_bytes([a0, a1, a2, a3]),
            sectors: u32::from_le_bytes([n0, n1, n2, n3]),
        }
    }

    /// Encodes the record as 16 bytes.
    pub fn encode(&self) -> [u8; RECORD] {
        let mut bytes = [0; RECORD];
        bytes[0] = self.indicator;
        bytes[1..4].copy_from_slice(&self.first_chs);
        bytes[4] = self.kind;
        bytes[5..8].copy_from_slice(&self.last_chs);
        bytes[8..12].copy_from_slice(&self.first_lba.to_le_bytes());
        bytes[12..].copy_from_slice(&self.sectors.to_le_bytes());
        bytes
    }
}

impl Mbr {
    /// Returns everything in front of the records: boot code, and disk signature.
    pub fn boot_area(&self) -> [u8; BOOT_AREA] {
        let mut area = [0; BOOT_AREA];
        area[..BOOT_CODE].copy_from_slice(&self.boot_code);
        area[BOOT_CODE..].copy_from_slice(&self.signature);
        area
    }

    /// Returns a new protective MBR with this boot code. `sector` is `None` for an image for both sector sizes: the
    /// number of sectors then depends on the reader, and the record has FFFFFFFF, which every reader accepts.
    pub fn protective(boot_code: [u8; BOOT_CODE], disk_bytes: u64, sector: Option<SectorSize>) -> Self {
        let sectors = sector.map_or(u64::MAX, |sector| disk_bytes / sector.bytes());
        let records = [Record::protective(sectors), Record::default(), Record::default(), Record::default()];
        Self { boot_code, signature: [0; 6], records, bootable: true }
    }

    /// Parses the first 512 bytes of a disk. Any 512 bytes are accepted.
    pub fn decode(bytes: &[u8; 512]) -> Self {
        let mut boot_code = [0; BOOT_CODE];
        boot_code.copy_from_slice(&bytes[..BOOT_CODE]);
        let mut signature = [0; 6];
        signature.copy_from_slice(&bytes[BOOT_CODE..RECORDS]);
        let mut records = [Record::default(); 4];
        let (chunks, _) = bytes[RECORDS..].as_chunks::<RECORD>();
        for (record, chunk) in records.iter_mut().zip(chunks) {
            *record = Record::decode(chunk);
        }
        Self { boot_code, signature, records, bootable: bytes[510..] == [0x55, 0xAA] }
    }

    /// Encodes the MBR as 512 bytes.
    pub fn encode(&self) -> [u8; 512] {
        let mut bytes = [0; 512];
        bytes[..BOOT_CODE].copy_from_slice(&self.boot_code);
        bytes[BOOT_CODE..RECORDS].copy_from_slice(&self.signature);
        let (chunks, _) = bytes[RECORDS..].as_chunks_mut::<RECORD>();
        for (record, chunk) in self.records.iter().zip(chunks) {
            *chunk = record.encode();
        }
        if self.bootable {
            bytes[510..].copy_from_slice(&[0x55, 0xAA]);
        }
        bytes
    }

    /// Returns the index of the protective record, by the rule of Linux (`block/partitions/efi.c`, `is_pmbr_valid`):
    /// the first record of type EE that starts at sector 1.
    pub(crate) fn protective_slot(&self) -> Option<usize> {
        self.records.iter().position(|record| record.kind == PROTECTIVE && record.first_lba == 1)
    }

    /// Returns the number of records of type EE, valid or not.
    pub(crate) fn protective_count(&self) -> usize {
        self.records.iter().filter(|record| record.kind == PROTECTIVE).count()
    }

    /// Returns true if the MBR protects a GPT.
    pub fn is_protective(&self) -> bool {
        self.protective_slot().is_some()
    }

    /// Returns true if a valid boot record lists an EFI system partition, which UEFI boots without a GPT.
    pub(crate) fn has_esp(&self) -> bool {
        self.bootable && self.records.iter().any(|record| record.kind == ESP && record.sectors > 0)
    }

    /// Returns true for a hybrid MBR: protective, but with a record of a type other than EE or 0.
    pub(crate) fn is_hybrid(&self) -> bool {
        self.is_protective() && self.records.iter().any(|record| record.kind != PROTECTIVE && record.kind != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::{BOOT_CODE, Mbr, Record};
    use crate::format::SectorSize;
    use proptest::collection::vec;
    use proptest::prelude::{any, proptest};

    #[test]
    fn a_new_protective_mbr_conforms_to_the_specification() {
        let bytes = Mbr::protective([0; BOOT_CODE], 64 << 20, Some(SectorSize::S512)).encode();
        assert!(bytes[..446].iter().all(|byte| *byte == 0));
        assert_eq!(bytes[446..462], [0, 0, 2, 0, 0xEE, 0xFF, 0xFF, 0xFF, 1, 0, 0, 0, 0xFF, 0xFF, 1, 0]);
        assert!(bytes[462..510].iter().all(|byte| *byte == 0));
        assert_eq!(bytes[510..], [0x55, 0xAA]);
        let large = Mbr::protective([0; BOOT_CODE], 4 << 40, Some(SectorSize::S512));
        assert_eq!(large.records[0].sectors, u32::MAX);
        assert_eq!(Mbr::protective([0; BOOT_CODE], 1 << 20, None).records[0].sectors, u32::MAX);
    }

    #[test]
    fn mbrman_reads_the_same_fields() {
        let mut ours = Mbr::protective([7; BOOT_CODE], 1 << 30, Some(SectorSize::S512));
        ours.signature = [1, 2, 3, 4, 5, 6];
        ours.records[1] = Record::dummy_active();
        let mut bytes = std::io::Cursor::new(ours.encode());
        let theirs = mbrman::MBRHeader::read_from(&mut bytes).expect("a boot record");
        assert_eq!(theirs.bootstrap_code, [7; BOOT_CODE]);
        assert_eq!(theirs.disk_signature, [1, 2, 3, 4]);
        assert_eq!((theirs.partition_1.sys, theirs.partition_1.starting_lba), (0xEE, 1));
        assert_eq!(theirs.partition_1.sectors, ours.records[0].sectors);
        assert_eq!((theirs.partition_2.boot, theirs.partition_2.sys), (0x80, 0));
    }

    #[test]
    fn an_mbr_with_a_dummy_active_record_is_protective_and_not_hybrid() {
        let mut mbr = Mbr::protective([0; BOOT_CODE], 1 << 30, Some(SectorSize::S512));
        mbr.records[1] = Record::dummy_active();
        assert!(mbr.is_protective() && !mbr.is_hybrid());
        mbr.records[1].kind = 0x83;
        assert!(mbr.is_hybrid());
    }

    proptest! {
        #[test]
        fn decode_then_encode_preserves_all_bytes(bytes in vec(any::<u8>(), 512)) {
            let bytes: [u8; 512] = bytes.try_into().expect("512 bytes");
            let mbr = Mbr::decode(&bytes);
            assert_eq!(mbr.encode()[..510], bytes[..510]);
            assert_eq!(Mbr::decode(&mbr.encode()), mbr);
        }
    }
}
