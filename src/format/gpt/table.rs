//! Complete GPT: built for a disk, or read from one.

use std::io;

use super::header::{Header, HeaderFault};
use super::partition::{ENTRY_SIZE, Partition};
use crate::format::{Guid, Lba, Medium, SectorSize};

/// Entries of a new table: 128, that is 16,384 bytes, the minimum that UEFI allows.
const ENTRIES: u32 = 128;
/// Maximum bytes of entries that are read: 64 times the usual size. A header can declare 16 EiB.
const MOST_ENTRY_BYTES: u64 = 1 << 20;

/// Copy of a GPT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copy {
    /// The copy at the start of the disk.
    Primary,
    /// The copy at the end of the disk.
    Backup,
}

/// Partition table with valid checksums.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpt {
    /// Sector size, the unit of its LBAs.
    pub sector: SectorSize,
    /// Header as read, or the primary header of a new table.
    pub header: Header,
    /// Used entries, by partition number.
    pub partitions: Vec<Partition>,
}

/// Bytes and their position on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Byte offset on the disk.
    pub offset: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Reason why the entries of a table are unusable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntriesFault {
    /// The entry size is not supported.
    #[error("entry size is {0} bytes, expected 128")]
    EntrySize(u32),
    /// The table is too large.
    #[error("{count} entries of {size} bytes exceed 1 MiB")]
    TooMany {
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
    #[error("at byte {offset}: MyLBA is {says}, expected {stands}")]
    Place {
        /// Byte offset.
        offset: u64,
        /// `MyLBA` in the header.
        says: Lba,
        /// LBA of the header on the disk.
        stands: Lba,
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
    pub fn is_absent(&self) -> bool {
        match self {
            Self::Header { fault, .. } => *fault == HeaderFault::Signature,
            Self::Read { .. } => true,
            Self::Place { .. } | Self::Entries { .. } => false,
        }
    }
}

impl Gpt {
    /// Returns a table for a disk of `disk_bytes`. The primary entries start at `entries_lba` (2, unless that sector is
    /// in use), the usable sectors at `first_usable` or right after the entries, whichever is later.
    pub fn new(
        sector: SectorSize,
        disk_bytes: u64,
        disk_guid: Guid,
        entries_lba: Lba,
        first_usable: Lba,
        partitions: Vec<Partition>,
    ) -> Self {
        let last = (disk_bytes / sector.bytes()).saturating_sub(1);
        let entry_sectors = (u64::from(ENTRIES) * ENTRY_SIZE as u64).div_ceil(sector.bytes());
        let mut gpt = Self {
            sector,
            header: Header {
                revision: 0x0001_0000,
                header_size: 92,
                my_lba: Lba(1),
                alternate_lba: Lba(last),
                first_usable: Lba(first_usable.0.max(entries_lba.0 + entry_sectors)),
                last_usable: Lba(last.saturating_sub(entry_sectors + 1)),
                disk_guid,
                entries_lba,
                entry_count: ENTRIES,
                entry_size: ENTRY_SIZE as u32,
                entries_crc: 0,
            },
            partitions,
        };
        gpt.header.entries_crc = crc32fast::hash(&gpt.entries());
        gpt
    }

    /// Encodes all entries.
    fn entries(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.header.entry_count as usize * ENTRY_SIZE];
        let (slots, _) = bytes.as_chunks_mut::<ENTRY_SIZE>();
        for partition in &self.partitions {
            let slot = usize::try_from(partition.number).ok().and_then(|number| number.checked_sub(1));
            if let Some(slot) = slot.and_then(|slot| slots.get_mut(slot)) {
                *slot = partition.encode();
            }
        }
        bytes
    }

    /// Encodes headers and entries of both copies with their positions. The backup entries precede the backup header.
    pub fn encode(&self) -> [Placed; 4] {
        let size = self.sector.bytes();
        let primary = self.header;
        let entries = self.entries();
        let backup_entries = Lba(primary.alternate_lba.0.saturating_sub((entries.len() as u64).div_ceil(size)));
        let backup = Header {
            my_lba: primary.alternate_lba,
            alternate_lba: primary.my_lba,
            entries_lba: backup_entries,
            ..primary
        };
        // The LBAs of a table that was read are untrusted. A saturated offset is past the end of any disk.
        let at = |lba: Lba, bytes: Vec<u8>| Placed { offset: lba.0.saturating_mul(size), bytes };
        [
            at(primary.my_lba, primary.encode(self.sector)),
            at(primary.entries_lba, entries.clone()),
            at(backup_entries, entries),
            at(backup.my_lba, backup.encode(self.sector)),
        ]
    }
}

/// Reads one copy. The backup is read from the last sector, as firmware does if the primary is invalid.
pub fn read(medium: &impl Medium, sector: SectorSize, copy: Copy) -> Result<Gpt, Fault> {
    let stands = match copy {
        Copy::Primary => Lba(1),
        Copy::Backup => Lba((medium.size() / sector.bytes()).saturating_sub(1)),
    };
    read_at(medium, sector, stands)
}

/// Reads the copy whose header is at LBA `stands`.
fn read_at(medium: &impl Medium, sector: SectorSize, stands: Lba) -> Result<Gpt, Fault> {
    let offset = stands.0.saturating_mul(sector.bytes());
    let mut block = vec![0; sector.length()];
    medium.read_at(&mut block, offset).map_err(|source| Fault::Read { offset, source })?;
    let header = Header::decode(&block).map_err(|fault| Fault::Header { offset, fault })?;
    if header.my_lba != stands {
        return Err(Fault::Place { offset, says: header.my_lba, stands });
    }
    let offset = header.entries_lba.0.saturating_mul(sector.bytes());
    let wrong = |fault: EntriesFault| Fault::Entries { offset, fault };
    let (count, size) = (header.entry_count, header.entry_size);
    if size as usize != ENTRY_SIZE {
        return Err(wrong(EntriesFault::EntrySize(size)));
    }
    let len = u64::from(count) * u64::from(size);
    if len > MOST_ENTRY_BYTES {
        return Err(wrong(EntriesFault::TooMany { count, size }));
    }
    let mut entries = vec![0; usize::try_from(len).unwrap_or_default()];
    medium.read_at(&mut entries, offset).map_err(|source| Fault::Read { offset, source })?;
    let computed = crc32fast::hash(&entries);
    if computed != header.entries_crc {
        return Err(wrong(EntriesFault::Checksum { found: header.entries_crc, computed }));
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
    use super::{Copy, EntriesFault, Fault, Gpt, probe, read};
    use crate::format::gpt::Partition;
    use crate::format::{Guid, Lba, SectorSize};

    const DISK: u64 = 8 << 20;

    fn partition(number: u32, first: u64, last: u64) -> Partition {
        let id = Guid::derived(&number.to_le_bytes(), "partition");
        Partition {
            number,
            kind: Guid::ESP,
            id,
            first: Lba(first),
            last: Lba(last),
            attributes: 0,
            name: "ESP ü".into(),
        }
    }

    fn disk(gpt: &Gpt) -> Vec<u8> {
        let mut disk = vec![0; DISK as usize];
        for placed in gpt.encode() {
            let at = placed.offset as usize;
            disk[at..at + placed.bytes.len()].copy_from_slice(&placed.bytes);
        }
        disk
    }

    fn sample(sector: SectorSize) -> Gpt {
        let (first, last) = match sector {
            SectorSize::S512 => (2048, 4095),
            SectorSize::S4096 => (256, 511),
        };
        let parts = vec![partition(1, first, last), partition(3, last + 1, last + 10)];
        Gpt::new(sector, DISK, Guid::derived(b"x", "disk"), Lba(2), Lba(0), parts)
    }

    #[test]
    fn both_copies_are_read_as_written_including_gaps() {
        for sector in SectorSize::ALL {
            let gpt = sample(sector);
            let disk = disk(&gpt);
            assert_eq!(read(&disk, sector, Copy::Primary).expect("a table"), gpt);
            let backup = read(&disk, sector, Copy::Backup).expect("a table");
            assert_eq!(backup.partitions, gpt.partitions);
            assert_eq!(backup.header.alternate_lba, Lba(1));
            assert_eq!(probe(&disk), [gpt]);
        }
    }

    #[test]
    fn usable_sectors_conform_to_the_specification() {
        let header = sample(SectorSize::S512).header;
        assert_eq!((header.first_usable, header.last_usable), (Lba(34), Lba(16384 - 34)));
        let header = sample(SectorSize::S4096).header;
        assert_eq!((header.first_usable, header.last_usable), (Lba(6), Lba(2048 - 6)));
    }

    #[test]
    fn the_gpt_crate_reads_the_same_table() {
        for (sector, theirs) in [
            (SectorSize::S512, gpt::disk::LogicalBlockSize::Lb512),
            (SectorSize::S4096, gpt::disk::LogicalBlockSize::Lb4096),
        ] {
            let ours = sample(sector);
            let device = std::io::Cursor::new(disk(&ours));
            let theirs = gpt::GptConfig::new().logical_block_size(theirs).open_from_device(device).expect("a table");
            assert_eq!(theirs.partitions().len(), 2);
            for part in &ours.partitions {
                let other = &theirs.partitions()[&part.number];
                assert_eq!((other.first_lba, other.last_lba), (part.first.0, part.last.0));
                assert_eq!(other.part_guid.to_bytes_le(), part.id.0);
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
    fn encoding_a_table_with_huge_lbas_saturates_the_offsets() {
        let mut gpt = sample(SectorSize::S4096);
        gpt.header.alternate_lba = Lba(u64::MAX);
        gpt.header.entries_lba = Lba(u64::MAX - 1);
        assert_eq!(gpt.encode().map(|placed| placed.offset), [4096, u64::MAX, u64::MAX, u64::MAX]);
    }

    #[test]
    fn four_billion_entries_are_not_read() {
        let mut gpt = sample(SectorSize::S512);
        gpt.header.entry_count = u32::MAX;
        let mut disk = vec![0; DISK as usize];
        disk[512..1024].copy_from_slice(&gpt.header.encode(SectorSize::S512));
        let fault = read(&disk, SectorSize::S512, Copy::Primary).expect_err("too many");
        assert!(matches!(fault, Fault::Entries { fault: EntriesFault::TooMany { .. }, .. }), "{fault}");
        gpt.header.entry_size = 256;
        disk[512..1024].copy_from_slice(&gpt.header.encode(SectorSize::S512));
        let fault = read(&disk, SectorSize::S512, Copy::Primary).expect_err("other entries");
        assert!(matches!(fault, Fault::Entries { fault: EntriesFault::EntrySize(256), .. }), "{fault}");
    }
}
