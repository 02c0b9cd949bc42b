//! Partitions of a legacy MBR partition table, logical ones included, read with mbrman.
//!
//! The table is checked first, because mbrman (0.6) adds LBAs without a check for overflow, follows chains of any length,
//! and fails for a table whose partitions all start at LBA 0. Refuses a sector without boot signature, boot indicators
//! other than 00 and 80, and chains of extended boot records that leave the disk, do not ascend, or have more than
//! `MAX_LOGICAL` links (Linux `block/partitions/msdos.c`).

use std::io::{self, Read, Seek, SeekFrom};

use crate::format::mbr::{ESP, Mbr, Record};
use crate::format::{Lba, Medium, SectorSize};

/// Maximum number of logical partitions. Linux supports fewer per disk.
pub(crate) const MAX_LOGICAL: usize = 256;

/// A partition of an MBR partition table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MbrPartition {
    /// Partition number: 1 to 4 for primary partitions, 5 and up for logical ones.
    pub number: u32,
    /// Partition type.
    pub(crate) os_type: u8,
    /// True for the active partition, which a BIOS boot loader starts.
    pub(crate) active: bool,
    /// First LBA.
    pub starting_lba: Lba,
    /// Number of sectors.
    pub sectors: u64,
}

impl MbrPartition {
    /// Returns true for an EFI system partition in the extended partition.
    pub(crate) fn is_logical_esp(&self) -> bool {
        self.number > 4 && self.os_type == ESP
    }

    /// Returns the name of the partition type, such as `Linux`; `type 42` if it is unknown.
    pub fn type_name(&self) -> String {
        let name = match self.os_type {
            0x01 | 0x04 | 0x06 | 0x0B | 0x0C | 0x0E => "FAT",
            0x05 | 0x0F | 0x85 => "extended",
            0x07 => "NTFS or exFAT",
            0x82 => "Linux swap",
            0x83 => "Linux",
            0x8E => "Linux LVM",
            0xEE => "GPT protective",
            0xEF => "EFI system partition",
            0xFD => "Linux RAID",
            other => return format!("type {other:02x}"),
        };
        name.to_owned()
    }
}

/// Fault of an MBR partition table.
#[derive(Debug, thiserror::Error)]
pub enum MbrFault {
    /// A sector cannot be read.
    #[error("failed to read LBA {0}")]
    Read(Lba, #[source] io::Error),
    /// The boot signature is missing.
    #[error("boot signature 55 AA missing")]
    Signature,
    /// The boot indicator of a record is invalid.
    #[error("record {number} in LBA {lba}: first byte is {indicator:02x}, expected 00 or 80")]
    BootIndicator {
        /// LBA of the boot record.
        lba: Lba,
        /// Number of the record, from 1.
        number: usize,
        /// The byte.
        indicator: u8,
    },
    /// The first LBA of a partition or an extended boot record is not valid.
    #[error("LBA {lba}: {what} at LBA {start} is past the end of the disk or before its predecessor")]
    Range {
        /// LBA of the boot record.
        lba: Lba,
        /// Object.
        what: &'static str,
        /// Its first LBA.
        start: u64,
    },
    /// The chain of extended boot records is too long.
    #[error("more than {MAX_LOGICAL} logical partitions")]
    TooMany,
    /// mbrman refused the table.
    #[error("invalid MBR partition table")]
    Table(#[source] mbrman::Error),
}

/// Reads all partitions of a disk with sectors of size `sector`, in order of their numbers.
pub fn read(disk: &(impl Medium + ?Sized), sector: SectorSize) -> Result<Vec<MbrPartition>, MbrFault> {
    if !check(disk, sector)? {
        return Ok(Vec::new());
    }
    let mut reader = SectorReader { disk, position: 0 };
    let table = mbrman::MBR::read_from(&mut reader, sector.bytes() as u32).map_err(MbrFault::Table)?;
    let used = table.iter().filter(|(_, entry)| entry.is_used() && entry.sectors > 0);
    let partition = |(number, entry): (usize, &mbrman::MBRPartitionEntry)| MbrPartition {
        number: number as u32,
        os_type: entry.sys,
        active: entry.is_active(),
        starting_lba: Lba(entry.starting_lba.into()),
        sectors: entry.sectors.into(),
    };
    Ok(used.map(partition).collect())
}

/// Checks the table and the chain of extended boot records. Returns false if there are no partitions.
fn check(disk: &(impl Medium + ?Sized), sector: SectorSize) -> Result<bool, MbrFault> {
    let mbr = boot_record(disk, sector, 0)?;
    if !mbr.bootable {
        return Err(MbrFault::Signature);
    }
    check_indicators(&mbr, 0)?;
    let first = mbr.records.iter().find(|record| is_extended(record));
    if let Some(extended) = first {
        check_chain(disk, sector, extended)?;
    }
    // mbrman cannot determine the alignment of partitions that all start at LBA 0.
    Ok(mbr.records.iter().any(|record| record.kind != 0 && record.first_lba != 0))
}

fn check_chain(disk: &(impl Medium + ?Sized), sector: SectorSize, extended: &Record) -> Result<(), MbrFault> {
    let start = u64::from(extended.first_lba);
    let (mut lba, mut relative) = (start, 0);
    for _ in 0..MAX_LOGICAL {
        let record = boot_record(disk, sector, lba)?;
        // An empty extended partition need not have a boot record.
        if !record.bootable {
            return if relative == 0 { Ok(()) } else { Err(MbrFault::Signature) };
        }
        check_indicators(&record, lba)?;
        let [logical, next, ..] = record.records;
        let range = |what, start| MbrFault::Range { lba: Lba(lba), what, start };
        let first = lba + u64::from(logical.first_lba);
        if logical.kind != 0 && first.saturating_mul(sector.bytes()) >= disk.size() || first > u32::MAX.into() {
            return Err(range("logical partition", first));
        }
        if next.first_lba == 0 {
            return Ok(());
        }
        let next_lba = start + u64::from(next.first_lba);
        if next.first_lba <= relative || next_lba > u32::MAX.into() {
            return Err(range("next extended boot record", next_lba));
        }
        (lba, relative) = (next_lba, next.first_lba);
    }
    Err(MbrFault::TooMany)
}

/// Returns true for an extended partition, by mbrman's rule.
fn is_extended(record: &Record) -> bool {
    matches!(record.kind, 0x05 | 0x0F | 0x85 | 0xC5 | 0xD5)
}

fn check_indicators(mbr: &Mbr, lba: u64) -> Result<(), MbrFault> {
    let count = if lba == 0 { 4 } else { 2 };
    let bad = (1..).zip(&mbr.records).take(count).find(|(_, record)| !matches!(record.indicator, 0 | 0x80));
    bad.map_or(Ok(()), |(number, record)| {
        Err(MbrFault::BootIndicator { lba: Lba(lba), number, indicator: record.indicator })
    })
}

fn boot_record(disk: &(impl Medium + ?Sized), sector: SectorSize, lba: u64) -> Result<Mbr, MbrFault> {
    let mut bytes = [0; 512];
    let offset = lba.saturating_mul(sector.bytes());
    disk.read_at(&mut bytes, offset).map_err(|source| MbrFault::Read(Lba(lba), source))?;
    Ok(Mbr::decode(&bytes))
}

/// A disk as a seekable stream, for mbrman.
struct SectorReader<'a, M: ?Sized> {
    disk: &'a M,
    position: u64,
}

impl<M: Medium + ?Sized> Read for SectorReader<'_, M> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.disk.size().saturating_sub(self.position);
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        self.disk.read_at(&mut buffer[..count], self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl<M: Medium + ?Sized> Seek for SectorReader<'_, M> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.disk.size().checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_LOGICAL, MbrFault, read};
    use crate::format::SectorSize;

    const DISK: usize = 8 << 20;

    fn record(disk: &mut [u8], lba: usize, number: usize, fields: (u8, u8, u32, u32)) {
        let (indicator, os_type, first, sectors) = fields;
        let at = lba * 512 + 446 + 16 * number;
        disk[at] = indicator;
        disk[at + 4] = os_type;
        disk[at + 8..at + 12].copy_from_slice(&first.to_le_bytes());
        disk[at + 12..at + 16].copy_from_slice(&sectors.to_le_bytes());
        disk[lba * 512 + 510..lba * 512 + 512].copy_from_slice(&[0x55, 0xAA]);
    }

    /// The layout of `sfdisk` for `,2M,83,*`, `,5M,E`, `,1M,ef`, `,1M,83`: a primary partition, and two logical ones.
    fn sample() -> Vec<u8> {
        let mut disk = vec![0; DISK];
        record(&mut disk, 0, 0, (0x80, 0x83, 2048, 4096));
        record(&mut disk, 0, 1, (0, 0x05, 6144, 10_240));
        record(&mut disk, 6144, 0, (0, 0xEF, 2048, 2048));
        record(&mut disk, 6144, 1, (0, 0x05, 4096, 4096));
        record(&mut disk, 10_240, 0, (0, 0x83, 2048, 2048));
        disk
    }

    #[test]
    fn primary_and_logical_partitions_are_listed() {
        let partitions = read(&sample(), SectorSize::S512).expect("a table");
        let found: Vec<_> = partitions
            .iter()
            .map(|part| (part.number, part.os_type, part.active, part.starting_lba.0, part.sectors))
            .collect();
        assert_eq!(
            found,
            [
                (1, 0x83, true, 2048, 4096),
                (2, 0x05, false, 6144, 10_240),
                (5, 0xEF, false, 8192, 2048),
                (6, 0x83, false, 12_288, 2048)
            ]
        );
        assert_eq!(partitions[2].type_name(), "EFI system partition");
    }

    #[test]
    fn looping_and_truncated_chains_are_refused() {
        for next in [4096, 1] {
            let mut disk = sample();
            record(&mut disk, 10_240, 1, (0, 0x05, next, 2048));
            assert!(matches!(read(&disk, SectorSize::S512), Err(MbrFault::Range { .. })), "{next}");
        }
        let mut disk = sample();
        disk.truncate(10_240 * 512 + 100);
        assert!(matches!(read(&disk, SectorSize::S512), Err(MbrFault::Read(..))));
        disk.truncate(100);
        assert!(matches!(read(&disk, SectorSize::S512), Err(MbrFault::Read(..))));
        let mut disk = vec![0; DISK];
        record(&mut disk, 0, 0, (0, 0x05, 1, 16_000));
        for link in 0..=MAX_LOGICAL as u32 {
            record(&mut disk, 1 + link as usize, 0, (0, 0x83, 1, 1));
            record(&mut disk, 1 + link as usize, 1, (0, 0x05, link + 1, 1));
        }
        assert!(matches!(read(&disk, SectorSize::S512), Err(MbrFault::TooMany)));
    }

    #[test]
    fn lbas_that_overflow_are_refused() {
        for (at, first) in [(0, u32::MAX), (1, u32::MAX), (1, u32::MAX - 10_000)] {
            let mut disk = sample();
            record(&mut disk, 10_240, at, (0, 0x83, first, 1));
            assert!(read(&disk, SectorSize::S512).is_err(), "{at} {first}");
        }
        let mut disk = vec![0; DISK];
        record(&mut disk, 0, 2, (0, 0x83, 0, 100));
        assert_eq!(read(&disk, SectorSize::S512).expect("a table"), []);
    }

    #[test]
    fn a_missing_signature_and_odd_boot_indicators_are_refused() {
        assert!(matches!(read(&vec![0; DISK], SectorSize::S512), Err(MbrFault::Signature)));
        for lba in [0, 6144] {
            let mut disk = sample();
            disk[lba * 512 + 446] = 1;
            assert!(matches!(read(&disk, SectorSize::S512), Err(MbrFault::BootIndicator { number: 1, .. })));
        }
        let mut empty = sample();
        empty[6144 * 512 + 510] = 0;
        assert_eq!(read(&empty, SectorSize::S512).expect("an empty extended partition").len(), 2);
    }
}
