//! Disk layout: the offsets of the partition tables, the EFI system partition and the root partition.
//!
//! Partitions start at multiples of 1 MiB, and the size of the disk is one. The last partition extends to the backup
//! tables. A disk for both sector sizes has a primary and a backup table for each size. Each header is where UEFI 2.11,
//! section 5.3.2, requires it for its sector size: in the second and in the last sector:
//!
//! ```text
//! byte      0  MBR               512  header, 512      4096  header, 4096
//!        8192  entries, 4096   24576  entries, 512
//!  end - 36864 entries, 512   end - 20480  entries, 4096   end - 4096  header, 4096   end - 512  header, 512
//! ```

pub(crate) mod contents;
pub(crate) mod fat;
pub(crate) mod tree;

pub(crate) use self::contents::Contents;
pub use self::fat::{Geometry, Profile};
pub use self::tree::{EspEntry, EspItem, EspNode, EspTree, TreeError};

use crate::format::gpt::{Gpt, Partition};
use crate::format::{Guid, Lba, SectorSize};

/// Alignment of partition starts and of the disk size, in bytes. All tools use it, and clouds require it.
pub(crate) const ALIGNMENT: u64 = 1 << 20;
/// Alignment of the end of the last partition of a tiny disk: the largest sector size. Other disks use [`ALIGNMENT`],
/// because sgdisk prints a caution about other ends.
const TINY_END_ALIGNMENT: u64 = 4096;
/// Size of the partition entries of a table in bytes.
const ENTRIES_SIZE: u64 = 16_384;
/// Maximum disk size in bytes: about the maximum file size of common file systems. The limit of VHD is lower.
const MAX_DISK_SIZE: u64 = 8 << 40;

/// Logical sector sizes that a disk supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SectorSizes {
    /// One sector size.
    Single(SectorSize),
    /// Both sector sizes in one image.
    Dual,
}

impl SectorSizes {
    /// Returns the sector size of the FAT volume. Readers accept sectors larger than those of the disk, but not smaller
    /// ones.
    pub(crate) fn fat_sector_size(self) -> u64 {
        match self {
            Self::Single(sector) => sector.bytes(),
            Self::Dual => SectorSize::S4096.bytes(),
        }
    }

    /// Returns the sector size, or `None` for both.
    pub fn single(self) -> Option<SectorSize> {
        match self {
            Self::Single(sector) => Some(sector),
            Self::Dual => None,
        }
    }

    /// Returns the size of the backup tables in bytes.
    fn backup_size(self) -> u64 {
        match self {
            Self::Single(sector) => ENTRIES_SIZE + sector.bytes(),
            Self::Dual => 2 * ENTRIES_SIZE + SectorSize::S4096.bytes(),
        }
    }
}

/// A range of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteRange {
    /// Offset in bytes.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
}

/// Requirements for a layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayoutSpec<'a> {
    /// Sector sizes.
    pub sectors: SectorSizes,
    /// Permitted FAT types.
    pub profile: Profile,
    /// Contents of the EFI system partition.
    pub contents: &'a Contents,
    /// Size of the root partition in bytes, if there is one.
    pub root: Option<u64>,
    /// Size of the disk in bytes. `None`: as small as possible.
    pub size: Option<u64>,
}

impl LayoutSpec<'_> {
    /// Returns the alignment of the end of the last partition.
    fn end_alignment(&self) -> u64 {
        match self.profile {
            Profile::Standard => ALIGNMENT,
            Profile::Tiny => TINY_END_ALIGNMENT,
        }
    }
}

/// Disk layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Size of the disk in bytes.
    pub size: u64,
    /// Sector sizes.
    pub sectors: SectorSizes,
    /// EFI system partition.
    pub esp: ByteRange,
    /// FAT volume of the EFI system partition.
    pub fat: Geometry,
    /// Root partition.
    pub root: Option<ByteRange>,
}

/// GUIDs of the disk and its partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskGuids {
    /// Disk GUID.
    pub disk: Guid,
    /// Unique GUID of the EFI system partition.
    pub esp: Guid,
    /// Unique GUID of the root partition.
    pub root: Guid,
    /// Type GUID of the root partition.
    pub root_type: Guid,
}

/// Layout error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// The requested size is too small.
    #[error("disk size of {requested} bytes is too small: the contents require {required} bytes ({} MiB)", required >> 20)]
    TooSmall {
        /// Requested size in bytes.
        requested: u64,
        /// Required size in bytes.
        required: u64,
    },
    /// The disk would exceed the maximum size.
    #[error("disk size of {0} bytes exceeds the limit of 8 TiB")]
    TooLarge(u64),
    /// The files exceed the maximum size of a FAT volume.
    #[error("the files for the EFI system partition exceed the maximum size of a FAT volume")]
    NoVolume,
}

impl Layout {
    /// Computes the layout.
    pub fn new(wanted: &LayoutSpec<'_>) -> Result<Self, LayoutError> {
        let sector = wanted.sectors.fat_sector_size();
        let least = fat::smallest(wanted.profile, sector, wanted.contents).ok_or(LayoutError::NoVolume)?;
        let required = size_for(wanted, least.bytes());
        let size = match wanted.size {
            None => required,
            Some(requested) if requested < required => return Err(LayoutError::TooSmall { requested, required }),
            // Close to `u64::MAX`, rounding up would overflow.
            Some(requested) => requested.checked_next_multiple_of(ALIGNMENT).unwrap_or(requested),
        };
        if size > MAX_DISK_SIZE {
            return Err(LayoutError::TooLarge(size));
        }
        let end = (size - wanted.sectors.backup_size()) / wanted.end_alignment() * wanted.end_alignment();
        let esp_end = match wanted.root {
            None => end,
            Some(_) => (ALIGNMENT + least.bytes()).next_multiple_of(ALIGNMENT),
        };
        let esp = ByteRange { offset: ALIGNMENT, len: esp_end - ALIGNMENT };
        let root = wanted.root.map(|_| ByteRange { offset: esp_end, len: end - esp_end });
        let fat = fat::filling(wanted.profile, sector, wanted.contents, esp.len).ok_or(LayoutError::NoVolume)?;
        Ok(Self { size, sectors: wanted.sectors, esp, fat, root })
    }

    /// Returns both copies of all partition tables, in the order in which they must be written: the backup header for
    /// sectors of 4096 bytes ends with zeros, where the one for sectors of 512 bytes is.
    pub(crate) fn tables(&self, guids: &DiskGuids) -> Vec<Gpt> {
        let (small, large) = (SectorSize::S512, SectorSize::S4096);
        // Sector size; offsets of the primary and of the backup entries.
        let tables = match self.sectors {
            SectorSizes::Single(sector) => vec![(sector, 2 * sector.bytes(), self.size - self.sectors.backup_size())],
            SectorSizes::Dual => vec![
                (large, 8192, self.size - SectorSizes::Single(large).backup_size()),
                (small, 24_576, self.size - self.sectors.backup_size()),
            ],
        };
        let first_usable = tables.iter().map(|(_, entries, _)| entries + ENTRIES_SIZE).max().unwrap_or_default();
        let last_usable = self.size - self.sectors.backup_size();
        let copies = |(sector, entries, backup_entries): (SectorSize, u64, u64)| {
            let lba = |offset: u64| Lba(offset / sector.bytes());
            let mut primary = Gpt::new(sector, self.size, guids.disk, self.partitions(sector, guids));
            primary.header.first_usable_lba = lba(first_usable);
            primary.header.last_usable_lba = Lba(lba(last_usable).0 - 1);
            primary.header.partition_entry_lba = lba(entries);
            let mut backup = primary.backup();
            backup.header.partition_entry_lba = lba(backup_entries);
            [backup, primary]
        };
        tables.into_iter().flat_map(copies).collect()
    }

    fn partitions(&self, sector: SectorSize, guids: &DiskGuids) -> Vec<Partition> {
        let partition = |number, range: ByteRange, type_guid, unique_guid, name: &str| Partition {
            number,
            type_guid,
            unique_guid,
            starting_lba: Lba(range.offset / sector.bytes()),
            ending_lba: Lba((range.offset + range.len) / sector.bytes() - 1),
            attributes: 0,
            name: name.to_owned(),
        };
        let esp = partition(1, self.esp, Guid::ESP, guids.esp, "esp");
        let root = self.root.map(|root| partition(2, root, guids.root_type, guids.root, "root"));
        [esp].into_iter().chain(root).collect()
    }
}

/// Returns the size in bytes of a disk with a FAT volume of `volume` bytes.
fn size_for(wanted: &LayoutSpec<'_>, volume: u64) -> u64 {
    let mut end = ALIGNMENT + volume.next_multiple_of(wanted.end_alignment());
    if let Some(root) = wanted.root {
        end = end
            .next_multiple_of(ALIGNMENT)
            .saturating_add(root.max(1).checked_next_multiple_of(wanted.end_alignment()).unwrap_or(u64::MAX));
    }
    end.saturating_add(wanted.sectors.backup_size()).checked_next_multiple_of(ALIGNMENT).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::{ALIGNMENT, DiskGuids, Layout, LayoutError, LayoutSpec, SectorSizes};
    use crate::disk::layout::contents::Contents;
    use crate::disk::layout::fat::Profile;
    use crate::format::gpt::{self, Copy};
    use crate::format::{Guid, SectorSize};
    use proptest::collection::vec;
    use proptest::prelude::{any, proptest};

    const ALL: [SectorSizes; 3] =
        [SectorSizes::Single(SectorSize::S512), SectorSizes::Single(SectorSize::S4096), SectorSizes::Dual];

    fn guids() -> DiskGuids {
        let guid = |purpose| Guid::derived(b"test", purpose);
        DiskGuids { disk: guid("disk"), esp: guid("esp"), root: guid("root"), root_type: Guid::LINUX_DATA }
    }

    /// Writes the tables to a disk in memory, reads them back and checks them against the layout.
    fn is_sound(layout: &Layout) {
        let mut disk = Cursor::new(vec![0; layout.size as usize]);
        for table in layout.tables(&guids()) {
            table.write(&mut disk).expect("in memory");
        }
        let disk = disk.into_inner();
        let sizes = layout.sectors.single().map_or(SectorSize::ALL.to_vec(), |one| vec![one]);
        let found = gpt::probe(&disk);
        assert_eq!(found.iter().map(|gpt| gpt.sector).collect::<Vec<_>>(), sizes);
        for sector in sizes {
            let primary = gpt::read(&disk, sector, Copy::Primary).expect("a primary table");
            let backup = gpt::read(&disk, sector, Copy::Backup).expect("a backup table");
            assert_eq!(primary.partitions, backup.partitions);
            assert_eq!(primary.header.last_usable_lba, backup.header.last_usable_lba);
            let mut before = primary.header.first_usable_lba;
            for partition in &primary.partitions {
                assert!(before <= partition.starting_lba && partition.starting_lba <= partition.ending_lba);
                assert!(partition.ending_lba <= primary.header.last_usable_lba);
                assert_eq!(partition.span(sector).expect("a span").0 % ALIGNMENT, 0);
                before = crate::format::Lba(partition.ending_lba.0 + 1);
            }
            let (esp, len) = primary.partitions[0].span(sector).expect("a span");
            assert_eq!((esp, len), (layout.esp.offset, layout.esp.len));
            assert!(layout.fat.bytes() <= len && layout.fat.sector >= sector.bytes());
            // The tables are outside the partitions.
            let used = layout.root.map_or(layout.esp, |root| root);
            assert!(disk[ALIGNMENT as usize..(used.offset + used.len) as usize].iter().all(|byte| *byte == 0));
        }
        assert_eq!(layout.size % ALIGNMENT, 0);
    }

    #[test]
    fn the_fat32_volume_determines_the_minimum_disk_size() {
        let contents = Contents::of(&[20 << 20], &[6, 6]);
        for (sectors, mib) in ALL.into_iter().zip([35, 259, 259]) {
            let wanted =
                LayoutSpec { sectors, profile: Profile::Standard, contents: &contents, root: None, size: None };
            let layout = Layout::new(&wanted).expect("a layout");
            assert_eq!(layout.size >> 20, mib, "{sectors:?}");
            is_sound(&layout);
        }
    }

    #[test]
    fn the_error_for_a_size_that_is_too_small_contains_the_required_size() {
        let contents = Contents::of(&[20 << 20], &[6, 6]);
        let sectors = SectorSizes::Single(SectorSize::S512);
        let mut wanted =
            LayoutSpec { sectors, profile: Profile::Tiny, contents: &contents, root: None, size: Some(1 << 20) };
        let error = Layout::new(&wanted).expect_err("too small");
        let LayoutError::TooSmall { required, .. } = error else { panic!("{error}") };
        assert_eq!(
            error.to_string(),
            "disk size of 1048576 bytes is too small: the contents require 23068672 bytes (22 MiB)"
        );
        wanted.size = Some(required);
        assert_eq!(Layout::new(&wanted).expect("enough").size, required);
        wanted.size = Some(required + 1);
        assert_eq!(Layout::new(&wanted).expect("enough").size, required + ALIGNMENT);
        wanted.size = Some(u64::MAX >> 1);
        assert!(matches!(Layout::new(&wanted), Err(LayoutError::TooLarge(_))));
    }

    proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { cases: 64, ..Default::default() })]
        #[test]
        fn the_parts_of_any_disk_are_where_readers_expect_them(
            files in vec(0u64..4 << 20, 0..8),
            dirs in vec(0u64..100, 0..3),
            root in proptest::option::of(0u64..8 << 20),
            more in proptest::option::of(0u64..20 << 20),
            kind in 0usize..3,
            standard in proptest::bool::weighted(0.1),
            _seed in any::<u8>(),
        ) {
            let contents = Contents::of(&files, &dirs);
            let profile = if standard { Profile::Standard } else { Profile::Tiny };
            let mut wanted = LayoutSpec { sectors: ALL[kind], profile, contents: &contents, root, size: None };
            let layout = Layout::new(&wanted).expect("a layout");
            is_sound(&layout);
            assert_eq!(layout.root.is_some(), root.is_some());
            assert!(layout.root.is_none_or(|span| span.len >= root.unwrap_or(0)));
            wanted.size = Some(layout.size - 1);
            assert!(Layout::new(&wanted).is_err());
            if let Some(more) = more {
                wanted.size = Some(layout.size + more);
                is_sound(&Layout::new(&wanted).expect("a layout"));
            }
        }
    }
}
