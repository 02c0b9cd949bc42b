//! A whole table: built for a disk, or read from one.

use std::io;

use super::header::{Header, HeaderFault};
use super::partition::{ENTRY_SIZE, Partition};
use crate::format::{Guid, Lba, Medium, SectorSize};

/// Entries in a table of ours, as everywhere: 16,384 bytes, the least that UEFI allows.
const ENTRIES: u32 = 128;
/// Longest table of entries that is read: 64 times the usual one. A header can claim 16 exabytes.
const MOST_ENTRY_BYTES: u64 = 1 << 20;

/// Which of the two copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copy {
    /// The one at the disk's begin.
    Primary,
    /// The one at its end.
    Backup,
}

/// A partition table, valid in itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpt {
    /// The sectors it counts in.
    pub sector: SectorSize,
    /// Its header, as read or as the primary one will be written.
    pub header: Header,
    /// The partitions, by number.
    pub partitions: Vec<Partition>,
}

/// Bytes that belong at a place on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Offset in bytes.
    pub offset: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Why the entries of a table cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntriesFault {
    /// Entries of a size nobody reads.
    #[error("entries of {0} bytes, but Linux reads those of 128 alone")]
    EntrySize(u32),
    /// More than any disk has.
    #[error("{count} entries of {size} bytes, more than 1 MiB")]
    TooMany {
        /// How many.
        count: u32,
        /// How large.
        size: u32,
    },
    /// They were changed, or badly written.
    #[error("checksum of the entries {found:08x}, but their bytes have {computed:08x}")]
    Checksum {
        /// What the header says.
        found: u32,
        /// What the bytes give.
        computed: u32,
    },
}

/// Why there is no table, or none that can be used.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The disk is too small to have one, or cannot be read there.
    #[error("reading byte {offset}")]
    Read {
        /// Where.
        offset: u64,
        /// What the host said.
        source: io::Error,
    },
    /// No valid header.
    #[error("at byte {offset}: {fault}")]
    Header {
        /// Where.
        offset: u64,
        /// What is wrong.
        fault: HeaderFault,
    },
    /// A header that belongs somewhere else.
    #[error("at byte {offset}: the header says it stands at LBA {says}, but it stands at {stands}")]
    Place {
        /// Where.
        offset: u64,
        /// What it says.
        says: Lba,
        /// Where it is.
        stands: Lba,
    },
    /// No valid entries.
    #[error("at byte {offset}: {fault}")]
    Entries {
        /// Where they should be.
        offset: u64,
        /// What is wrong.
        fault: EntriesFault,
    },
}

impl Fault {
    /// Whether nothing hints at a table there.
    pub fn is_absent(&self) -> bool {
        match self {
            Self::Header { fault, .. } => *fault == HeaderFault::Signature,
            Self::Read { .. } => true,
            Self::Place { .. } | Self::Entries { .. } => false,
        }
    }
}

impl Gpt {
    /// A table for a disk of `disk_bytes`, whose primary entries begin at `entries_lba` (2 unless something else is
    /// there) and whose usable sectors begin at `first_usable` or right behind the entries, whichever is later.
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

    /// The bytes of all entries.
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

    /// Both copies, headers and entries, each where it belongs. The backup's entries end before the backup's header.
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
        // A table that was read may say anything; no disk reaches so far, and nothing is written there.
        let at = |lba: Lba, bytes: Vec<u8>| Placed { offset: lba.0.saturating_mul(size), bytes };
        [
            at(primary.my_lba, primary.encode(self.sector)),
            at(primary.entries_lba, entries.clone()),
            at(backup_entries, entries),
            at(backup.my_lba, backup.encode(self.sector)),
        ]
    }
}

/// Reads one copy. The backup is looked for in the last sector, as firmware does where the primary is broken.
pub fn read(medium: &impl Medium, sector: SectorSize, copy: Copy) -> Result<Gpt, Fault> {
    let stands = match copy {
        Copy::Primary => Lba(1),
        Copy::Backup => Lba((medium.size() / sector.bytes()).saturating_sub(1)),
    };
    read_at(medium, sector, stands)
}

/// Reads the copy whose header stands at `stands`.
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

/// Reads whatever tables a disk has: for each sector size the primary one, or where that is broken or absent its backup.
/// One image can have both. Empty where there is no valid table at all.
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
    fn both_copies_read_back_what_was_written_gaps_and_all() {
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
    fn usable_sectors_begin_and_end_where_the_spec_has_them() {
        let header = sample(SectorSize::S512).header;
        assert_eq!((header.first_usable, header.last_usable), (Lba(34), Lba(16384 - 34)));
        let header = sample(SectorSize::S4096).header;
        assert_eq!((header.first_usable, header.last_usable), (Lba(6), Lba(2048 - 6)));
    }

    #[test]
    fn the_gpt_crate_reads_the_same() {
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
    fn what_was_tampered_with_is_refused_and_the_backup_helps() {
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
    fn a_table_that_leads_anywhere_is_put_there() {
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
