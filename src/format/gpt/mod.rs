//! GUID partition tables (UEFI 2.11, section 5.3): header and entries, in two copies on a disk.
//!
//! The gpt crate writes tables. Reading is separate: `check`, `stamp` and `ls` read damaged and hostile disks and report
//! what is wrong, whereas the crate (4.1) has one error for all damage, panics on entries of another size, and allocates
//! as many entries as a header declares. So the reader is also a second opinion on each table that is written.

mod header;
mod partition;
mod write;

use std::io;

pub(crate) use self::header::{Header, HeaderFault};
pub use self::partition::{ENTRY_SIZE, Partition};
use super::{Guid, Lba, Medium, SectorSize};

/// Entries of a new table: 128, that is 16,384 bytes, the minimum that UEFI allows.
const ENTRIES: u32 = 128;
/// Maximum bytes of entries that are read: 64 times the usual size. A header can declare 16 EiB.
const MAX_ENTRY_BYTES: u64 = 1 << 20;

/// Copy of a GPT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copy {
    /// The copy at the start of the disk.
    Primary,
    /// The copy at the end of the disk.
    Backup,
}

/// One copy of a partition table. If it was read, its checksums are valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpt {
    /// Sector size, the unit of its LBAs.
    pub sector: SectorSize,
    /// Header of this copy.
    pub header: Header,
    /// Used entries, by partition number.
    pub partitions: Vec<Partition>,
}

/// Reason why the entries of a table are unusable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntriesFault {
    /// The entry size is not supported.
    #[error("entry size is {0} bytes, expected 128")]
    EntrySize(u32),
    /// The table is too large.
    #[error("{count} entries of {size} bytes exceed 1 MiB")]
    TooLarge {
        /// Number of entries.
        count: u32,
        /// Length of an entry in bytes.
        size: u32,
    },
    /// The checksum does not match.
    #[error("checksum of the entries is {found:08x}, expected {computed:08x}")]
    Checksum {
        /// Checksum in the header.
        found: u32,
        /// Checksum computed from the entries.
        computed: u32,
    },
}

/// Reason why a copy of the table is missing or unusable.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The disk is too small, or cannot be read.
    #[error("failed to read byte {offset}")]
    Read {
        /// Byte offset.
        offset: u64,
        /// Error from the operating system.
        source: io::Error,
    },
    /// The header is not valid.
    #[error("at byte {offset}: {fault}")]
    Header {
        /// Byte offset.
        offset: u64,
        /// The fault.
        fault: HeaderFault,
    },
    /// The header belongs to another LBA.
    #[error("at byte {offset}: MyLBA is {my_lba}, expected {expected}")]
    WrongLba {
        /// Byte offset.
        offset: u64,
        /// `MyLBA` in the header.
        my_lba: Lba,
        /// LBA of the header on the disk.
        expected: Lba,
    },
    /// The entries are not valid.
    #[error("at byte {offset}: {fault}")]
    Entries {
        /// Byte offset of the entries.
        offset: u64,
        /// The fault.
        fault: EntriesFault,
    },
}

impl Fault {
    /// Returns true if there is no trace of a table.
    pub(crate) fn is_absent(&self) -> bool {
        match self {
            Self::Header { fault, .. } => *fault == HeaderFault::Signature,
            Self::Read { .. } => true,
            Self::WrongLba { .. } | Self::Entries { .. } => false,
        }
    }
}

impl Gpt {
    /// Returns the primary copy of a table for a disk of `disk_bytes`, with its entries at LBA 2 and the usable sectors
    /// after them.
    pub fn new(sector: SectorSize, disk_bytes: u64, disk_guid: Guid, partitions: Vec<Partition>) -> Self {
        let last = (disk_bytes / sector.bytes()).saturating_sub(1);
        let header = Header {
            revision: 0x0001_0000,
            header_size: header::SIZE,
            my_lba: Lba(1),
            alternate_lba: Lba(last),
            first_usable_lba: Lba(2 + entry_sectors(sector)),
            last_usable_lba: Lba(last.saturating_sub(entry_sectors(sector) + 1)),
            disk_guid,
            partition_entry_lba: Lba(2),
            number_of_partition_entries: ENTRIES,
            size_of_partition_entry: ENTRY_SIZE as u32,
            partition_entry_array_crc32: 0,
        };
        Self { sector, header, partitions }
    }

    /// Returns the backup copy that belongs to a primary copy. Its entries precede its header.
    #[must_use]
    pub fn backup(&self) -> Self {
        let Header { my_lba, alternate_lba, .. } = self.header;
        let partition_entry_lba = Lba(alternate_lba.0.saturating_sub(entry_sectors(self.sector)));
        let header = Header { my_lba: alternate_lba, alternate_lba: my_lba, partition_entry_lba, ..self.header };
        Self { header, ..self.clone() }
    }
}

/// Returns the number of sectors of the entries of a new table.
fn entry_sectors(sector: SectorSize) -> u64 {
    (u64::from(ENTRIES) * ENTRY_SIZE as u64).div_ceil(sector.bytes())
}

/// Reads one copy. The backup is read from the last sector, as firmware does if the primary is invalid.
pub fn read(medium: &impl Medium, sector: SectorSize, copy: Copy) -> Result<Gpt, Fault> {
    let lba = match copy {
        Copy::Primary => Lba(1),
        Copy::Backup => Lba((medium.size() / sector.bytes()).saturating_sub(1)),
    };
    read_at(medium, sector, lba)
}

/// Reads the copy whose header is at `lba`.
fn read_at(medium: &impl Medium, sector: SectorSize, lba: Lba) -> Result<Gpt, Fault> {
    let offset = lba.0.saturating_mul(sector.bytes());
    let mut block = vec![0; sector.length()];
    medium.read_at(&mut block, offset).map_err(|source| Fault::Read { offset, source })?;
    let header = Header::decode(&block).map_err(|fault| Fault::Header { offset, fault })?;
    if header.my_lba != lba {
        return Err(Fault::WrongLba { offset, my_lba: header.my_lba, expected: lba });
    }
    let offset = header.partition_entry_lba.0.saturating_mul(sector.bytes());
    let wrong = |fault: EntriesFault| Fault::Entries { offset, fault };
    let (count, size) = (header.number_of_partition_entries, header.size_of_partition_entry);
    if size as usize != ENTRY_SIZE {
        return Err(wrong(EntriesFault::EntrySize(size)));
    }
    let len = u64::from(count) * u64::from(size);
    if len > MAX_ENTRY_BYTES {
        return Err(wrong(EntriesFault::TooLarge { count, size }));
    }
    let mut entries = vec![0; usize::try_from(len).unwrap_or_default()];
    medium.read_at(&mut entries, offset).map_err(|source| Fault::Read { offset, source })?;
    let computed = crc32fast::hash(&entries);
    let found = header.partition_entry_array_crc32;
    if computed != found {
        return Err(wrong(EntriesFault::Checksum { found, computed }));
    }
    let (slots, _) = entries.as_chunks::<ENTRY_SIZE>();
    let partitions = (1..).zip(slots).filter_map(|(number, slot)| Partition::decode(number, slot)).collect();
    Ok(Gpt { sector, header, partitions })
}

/// Reads the tables of a disk: for each sector size the primary copy, or the backup if the primary is missing or
/// invalid. An image can have a table for each sector size. Empty if there is no valid table.
pub fn probe(medium: &impl Medium) -> Vec<Gpt> {
    let either = |sector| read(medium, sector, Copy::Primary).or_else(|_| read(medium, sector, Copy::Backup)).ok();
    SectorSize::ALL.into_iter().filter_map(either).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::{Copy, EntriesFault, Fault, Gpt, probe, read};
    use crate::format::gpt::Partition;
    use crate::format::{Guid, Lba, SectorSize};

    const DISK: u64 = 8 << 20;

    fn partition(number: u32, first: u64, last: u64) -> Partition {
        let unique_guid = Guid::derived(&number.to_le_bytes(), "partition");
        Partition {
            number,
            type_guid: Guid::ESP,
            unique_guid,
            starting_lba: Lba(first),
            ending_lba: Lba(last),
            attributes: 0,
            name: "ESP ü".into(),
        }
    }

    fn disk(gpt: &Gpt) -> Vec<u8> {
        let mut disk = Cursor::new(vec![0; DISK as usize]);
        gpt.write(&mut disk).and_then(|()| gpt.backup().write(&mut disk)).expect("in memory");
        disk.into_inner()
    }

    fn sample(sector: SectorSize) -> Gpt {
        let (first, last) = match sector {
            SectorSize::S512 => (2048, 4095),
            SectorSize::S4096 => (256, 511),
        };
        let parts = vec![partition(1, first, last), partition(3, last + 1, last + 10)];
        Gpt::new(sector, DISK, Guid::derived(b"x", "disk"), parts)
    }

    #[test]
    fn both_copies_are_read_as_written_including_gaps() {
        for sector in SectorSize::ALL {
            let gpt = sample(sector);
            let disk = disk(&gpt);
            for (copy, mut expected) in [(Copy::Primary, gpt.clone()), (Copy::Backup, gpt.backup())] {
                let found = read(&disk, sector, copy).expect("a table");
                expected.header.partition_entry_array_crc32 = found.header.partition_entry_array_crc32;
                assert_eq!(found, expected);
            }
            assert_eq!(probe(&disk)[0].partitions, gpt.partitions);
        }
    }

    #[test]
    fn usable_sectors_conform_to_the_specification() {
        let header = sample(SectorSize::S512).header;
        assert_eq!((header.first_usable_lba, header.last_usable_lba), (Lba(34), Lba(16384 - 34)));
        let header = sample(SectorSize::S4096).header;
        assert_eq!((header.first_usable_lba, header.last_usable_lba), (Lba(6), Lba(2048 - 6)));
    }

    #[test]
    fn the_gpt_crate_reads_the_same_table() {
        for (sector, theirs) in [
            (SectorSize::S512, ::gpt::disk::LogicalBlockSize::Lb512),
            (SectorSize::S4096, ::gpt::disk::LogicalBlockSize::Lb4096),
        ] {
            let ours = sample(sector);
            let device = Cursor::new(disk(&ours));
            let theirs = ::gpt::GptConfig::new().logical_block_size(theirs).open_from_device(device).expect("a table");
            assert_eq!(theirs.partitions().len(), 2);
            for part in &ours.partitions {
                let other = &theirs.partitions()[&part.number];
                assert_eq!((other.first_lba, other.last_lba), (part.starting_lba.0, part.ending_lba.0));
                assert_eq!(other.part_guid.to_bytes_le(), part.unique_guid.0);
                assert_eq!(other.name, part.name);
            }
            assert_eq!(theirs.guid().to_bytes_le(), ours.header.disk_guid.0);
        }
    }

    #[test]
    fn a_modified_primary_is_refused_and_the_backup_is_used() {
        let gpt = sample(SectorSize::S512);
        let good = disk(&gpt);
        for at in [512 + 60, 1024 + 5] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(read(&bad, SectorSize::S512, Copy::Primary).is_err());
            assert_eq!(probe(&bad).len(), 1);
        }
        let mut cut = good.clone();
        cut.truncate(700);
        assert!(matches!(read(&cut, SectorSize::S512, Copy::Primary), Err(Fault::Read { .. })));
        assert!(probe(&cut).is_empty() && probe(&Vec::new()).is_empty());
    }

    #[test]
    fn a_table_that_does_not_fit_on_the_disk_is_an_error() {
        let mut gpt = sample(SectorSize::S4096);
        gpt.header.partition_entry_lba = Lba(u64::MAX - 1);
        gpt.write(&mut Cursor::new(Vec::new())).expect_err("no such offset");
        gpt = sample(SectorSize::S512);
        gpt.partitions[0].number = 0;
        gpt.write(&mut Cursor::new(Vec::new())).expect_err("numbers start at 1");
    }

    /// Changes bytes of the primary header and corrects its checksum.
    fn patch(disk: &mut [u8], at: usize, bytes: &[u8]) {
        let header = &mut disk[512..512 + 92];
        header[at..at + bytes.len()].copy_from_slice(bytes);
        header[16..20].fill(0);
        let checksum = crc32fast::hash(header);
        header[16..20].copy_from_slice(&checksum.to_le_bytes());
    }

    #[test]
    fn four_billion_entries_are_not_read() {
        let mut disk = disk(&sample(SectorSize::S512));
        patch(&mut disk, 80, &u32::MAX.to_le_bytes());
        let fault = read(&disk, SectorSize::S512, Copy::Primary).expect_err("too many");
        assert!(matches!(fault, Fault::Entries { fault: EntriesFault::TooLarge { .. }, .. }), "{fault}");
        patch(&mut disk, 84, &256_u32.to_le_bytes());
        let fault = read(&disk, SectorSize::S512, Copy::Primary).expect_err("other entries");
        assert!(matches!(fault, Fault::Entries { fault: EntriesFault::EntrySize(256), .. }), "{fault}");
    }
}
