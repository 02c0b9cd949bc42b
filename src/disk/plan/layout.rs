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

use super::contents::Contents;
use super::fat::{self, Geometry, Profile};
use crate::format::gpt::{Gpt, Header, Partition, Placed};
use crate::format::{Guid, Lba, SectorSize};

/// Alignment of partition starts and of the disk size, in bytes. All tools use it, and clouds require it.
pub const ALIGNMENT: u64 = 1 << 20;
/// Alignment of the end of the last partition of a tiny disk: the largest sector size. Other disks use [`ALIGNMENT`],
/// because sgdisk prints a caution about other ends.
const TINY_END: u64 = 4096;
/// Size of the partition entries of a table in bytes.
const ENTRIES: u64 = 16_384;
/// Maximum disk size in bytes: about the maximum file size of common file systems. The limit of VHD is lower.
const LARGEST: u64 = 8 << 40;

/// Logical sector sizes that a disk supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sectors {
    /// One sector size.
    One(SectorSize),
    /// Both sector sizes in one image.
    Dual,
}

impl Sectors {
    /// Returns the sector size of the FAT volume. Readers accept sectors larger than those of the disk, but not smaller
    /// ones.
    pub fn of_fat(self) -> u64 {
        match self {
            Self::One(sector) => sector.bytes(),
            Self::Dual => SectorSize::S4096.bytes(),
        }
    }

    /// Returns the sector size, or `None` for both.
    pub fn one(self) -> Option<SectorSize> {
        match self {
            Self::One(sector) => Some(sector),
            Self::Dual => None,
        }
    }

    /// Returns the size of the backup tables in bytes.
    fn tail(self) -> u64 {
        match self {
            Self::One(sector) => ENTRIES + sector.bytes(),
            Self::Dual => 2 * ENTRIES + SectorSize::S4096.bytes(),
        }
    }
}

/// A range of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Offset in bytes.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
}

/// Requirements for a layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// Sector sizes.
    pub sectors: Sectors,
    /// Permitted FAT types.
    pub profile: Profile,
    /// Contents of the EFI system partition.
    pub contents: &'a Contents,
    /// Size of the root partition in bytes, if there is one.
    pub root: Option<u64>,
    /// Size of the disk in bytes. `None`: as small as possible.
    pub size: Option<u64>,
}

impl Wanted<'_> {
    /// Returns the alignment of the end of the last partition.
    fn grain(&self) -> u64 {
        match self.profile {
            Profile::Standard => ALIGNMENT,
            Profile::Tiny => TINY_END,
        }
    }
}

/// Disk layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Size of the disk in bytes.
    pub size: u64,
    /// Sector sizes.
    pub sectors: Sectors,
    /// EFI system partition.
    pub esp: Span,
    /// FAT volume of the EFI system partition.
    pub fat: Geometry,
    /// Root partition.
    pub root: Option<Span>,
}

/// GUIDs of the disk and its partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names {
    /// Disk GUID.
    pub disk: Guid,
    /// Unique GUID of the EFI system partition.
    pub esp: Guid,
    /// Unique GUID of the root partition.
    pub root: Guid,
    /// Type GUID of the root partition.
    pub root_kind: Guid,
}

/// Layout error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// The requested size is too small.
    #[error("disk size of {asked} bytes is too small: the contents require {needed} bytes ({} MiB)", needed >> 20)]
    TooSmall {
        /// Requested size in bytes.
        asked: u64,
        /// Required size in bytes.
        needed: u64,
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
    pub fn new(wanted: &Wanted<'_>) -> Result<Self, LayoutError> {
        let sector = wanted.sectors.of_fat();
        let least = fat::smallest(wanted.profile, sector, wanted.contents).ok_or(LayoutError::NoVolume)?;
        let needed = size_for(wanted, least.bytes());
        let size = match wanted.size {
            None => needed,
            Some(asked) if asked < needed => return Err(LayoutError::TooSmall { asked, needed }),
            // Close to `u64::MAX`, rounding up would overflow.
            Some(asked) => asked.checked_next_multiple_of(ALIGNMENT).unwrap_or(asked),
        };
        if size > LARGEST {
            return Err(LayoutError::TooLarge(size));
        }
        let end = (size - wanted.sectors.tail()) / wanted.grain() * wanted.grain();
        let esp_end = match wanted.root {
            None => end,
            Some(_) => (ALIGNMENT + least.bytes()).next_multiple_of(ALIGNMENT),
        };
        let esp = Span { offset: ALIGNMENT, len: esp_end - ALIGNMENT };
        let root = wanted.root.map(|_| Span { offset: esp_end, len: end - esp_end });
        let fat = fat::filling(wanted.profile, sector, wanted.contents, esp.len).ok_or(LayoutError::NoVolume)?;
        Ok(Self { size, sectors: wanted.sectors, esp, fat, root })
    }

    /// Returns the encoded headers and entries of all partition tables.
    pub fn tables(&self, names: &Names) -> Vec<Placed> {
        match self.sectors {
            Sectors::One(sector) => self.table(sector, Lba(2), names).encode().to_vec(),
            Sectors::Dual => {
                let (small, large) = (SectorSize::S512, SectorSize::S4096);
                let mut of_small = self.table(small, Lba(48), names);
                let mut of_large = self.table(large, Lba(2), names);
                for table in [&mut of_small, &mut of_large] {
                    let sector = table.sector.bytes();
                    table.header.first_usable = Lba((24_576 + ENTRIES) / sector);
                    table.header.last_usable = Lba((self.size - self.sectors.tail()) / sector - 1);
                }
                let mut placed = of_small.encode();
                // Move the backup entries away from the end, where the header and entries of the other table are.
                let entries = self.size - self.sectors.tail();
                let header = &of_small.header;
                placed[2].offset = entries;
                placed[3].bytes = Header {
                    my_lba: header.alternate_lba,
                    alternate_lba: header.my_lba,
                    entries_lba: Lba(entries / small.bytes()),
                    ..*header
                }
                .encode(small);
                let mut all = of_large.encode().to_vec();
                // A header has 92 bytes. The zeros that pad it to a sector would overwrite the other table's header.
                for placed in &mut all {
                    if placed.bytes.len() == large.length() {
                        placed.bytes.truncate(small.length());
                    }
                }
                all.extend(placed);
                all.sort_by_key(|placed| placed.offset);
                all
            }
        }
    }

    /// Returns the table for a sector size.
    fn table(&self, sector: SectorSize, entries: Lba, names: &Names) -> Gpt {
        let partition = |number, span: Span, kind, id, name: &str| Partition {
            number,
            kind,
            id,
            first: Lba(span.offset / sector.bytes()),
            last: Lba((span.offset + span.len) / sector.bytes() - 1),
            attributes: 0,
            name: name.to_owned(),
        };
        let mut partitions = vec![partition(1, self.esp, Guid::ESP, names.esp, "esp")];
        partitions.extend(self.root.map(|root| partition(2, root, names.root_kind, names.root, "root")));
        Gpt::new(sector, self.size, names.disk, entries, Lba(0), partitions)
    }
}

/// Returns the size in bytes of a disk with a FAT volume of `volume` bytes.
fn size_for(wanted: &Wanted<'_>, volume: u64) -> u64 {
    let mut end = ALIGNMENT + volume.next_multiple_of(wanted.grain());
    if let Some(root) = wanted.root {
        end = end
            .next_multiple_of(ALIGNMENT)
            .saturating_add(root.max(1).checked_next_multiple_of(wanted.grain()).unwrap_or(u64::MAX));
    }
    end.saturating_add(wanted.sectors.tail()).checked_next_multiple_of(ALIGNMENT).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{ALIGNMENT, Layout, LayoutError, Names, Sectors, Wanted};
    use crate::disk::plan::contents::Contents;
    use crate::disk::plan::fat::Profile;
    use crate::format::gpt::{self, Copy};
    use crate::format::{Guid, SectorSize};
    use proptest::collection::vec;
    use proptest::prelude::{any, proptest};

    const ALL: [Sectors; 3] = [Sectors::One(SectorSize::S512), Sectors::One(SectorSize::S4096), Sectors::Dual];

    fn names() -> Names {
        let guid = |purpose| Guid::derived(b"test", purpose);
        Names { disk: guid("disk"), esp: guid("esp"), root: guid("root"), root_kind: Guid::LINUX_DATA }
    }

    /// Writes the tables to a disk in memory, reads them back and checks them against the layout.
    fn is_sound(layout: &Layout) {
        let mut disk = vec![0; layout.size as usize];
        for placed in layout.tables(&names()) {
            let at = placed.offset as usize;
            let place = &mut disk[at..at + placed.bytes.len()];
            assert!(place.iter().all(|byte| *byte == 0), "tables overlap at {at}");
            place.copy_from_slice(&placed.bytes);
        }
        let sizes = layout.sectors.one().map_or(SectorSize::ALL.to_vec(), |one| vec![one]);
        let found = gpt::probe(&disk);
        assert_eq!(found.iter().map(|gpt| gpt.sector).collect::<Vec<_>>(), sizes);
        for sector in sizes {
            let primary = gpt::read(&disk, sector, Copy::Primary).expect("a primary table");
            let backup = gpt::read(&disk, sector, Copy::Backup).expect("a backup table");
            assert_eq!(primary.partitions, backup.partitions);
            assert_eq!(primary.header.last_usable, backup.header.last_usable);
            let mut before = primary.header.first_usable;
            for partition in &primary.partitions {
                assert!(before <= partition.first && partition.first <= partition.last);
                assert!(partition.last <= primary.header.last_usable);
                assert_eq!(partition.span(sector).expect("a span").0 % ALIGNMENT, 0);
                before = crate::format::Lba(partition.last.0 + 1);
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
            let wanted = Wanted { sectors, profile: Profile::Standard, contents: &contents, root: None, size: None };
            let layout = Layout::new(&wanted).expect("a layout");
            assert_eq!(layout.size >> 20, mib, "{sectors:?}");
            is_sound(&layout);
        }
    }

    #[test]
    fn the_error_for_a_size_that_is_too_small_contains_the_required_size() {
        let contents = Contents::of(&[20 << 20], &[6, 6]);
        let sectors = Sectors::One(SectorSize::S512);
        let mut wanted =
            Wanted { sectors, profile: Profile::Tiny, contents: &contents, root: None, size: Some(1 << 20) };
        let error = Layout::new(&wanted).expect_err("too small");
        let LayoutError::TooSmall { needed, .. } = error else { panic!("{error}") };
        assert_eq!(
            error.to_string(),
            "disk size of 1048576 bytes is too small: the contents require 23068672 bytes (22 MiB)"
        );
        wanted.size = Some(needed);
        assert_eq!(Layout::new(&wanted).expect("enough").size, needed);
        wanted.size = Some(needed + 1);
        assert_eq!(Layout::new(&wanted).expect("enough").size, needed + ALIGNMENT);
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
            let mut wanted = Wanted { sectors: ALL[kind], profile, contents: &contents, root, size: None };
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
