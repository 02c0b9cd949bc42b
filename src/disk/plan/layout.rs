//! Where everything stands on the disk: tables, the EFI system partition, a root partition, tables again.
//!
//! Partitions begin at multiples of 1 MiB and the disk ends at one; the last partition takes what is left up to the
//! backup tables. A disk for both sector sizes has two tables of each kind, laid so that each stands where its readers
//! look (UEFI 2.11, section 5.3.2: headers in the second and in the last sector):
//!
//! ```text
//! byte      0  boot record       512  header, 512      4096  header, 4096
//!        8192  entries, 4096   24576  entries, 512
//!  end - 36864 entries, 512   end - 20480  entries, 4096   end - 4096  header, 4096   end - 512  header, 512
//! ```

use super::contents::Contents;
use super::fat::{self, Geometry, Profile};
use crate::format::gpt::{Gpt, Header, Partition, Placed};
use crate::format::{Guid, Lba, SectorSize};

/// Partitions begin at multiples of this, and disks are as long as one: what all tools do, and clouds ask for.
pub const ALIGNMENT: u64 = 1 << 20;
/// The last partition of a tiny disk ends at a multiple of the largest sector; elsewhere at one of [`ALIGNMENT`], without
/// which sgdisk has a caution.
const TINY_END: u64 = 4096;
/// Bytes of a table's entries.
const ENTRIES: u64 = 16_384;
/// Largest disk: what fits a VHD is less, what a file system takes for one file is about this.
const LARGEST: u64 = 8 << 40;

/// Sizes of logical sectors that a disk is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sectors {
    /// One of them.
    One(SectorSize),
    /// Both, in one image.
    Dual,
}

impl Sectors {
    /// The FAT's sectors: readers take larger ones than the disk's, but no smaller ones.
    pub fn of_fat(self) -> u64 {
        match self {
            Self::One(sector) => sector.bytes(),
            Self::Dual => SectorSize::S4096.bytes(),
        }
    }

    /// The one size, where there is one.
    pub fn one(self) -> Option<SectorSize> {
        match self {
            Self::One(sector) => Some(sector),
            Self::Dual => None,
        }
    }

    /// Bytes that the backup tables take.
    fn tail(self) -> u64 {
        match self {
            Self::One(sector) => ENTRIES + sector.bytes(),
            Self::Dual => 2 * ENTRIES + SectorSize::S4096.bytes(),
        }
    }
}

/// A part of the disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its first byte.
    pub offset: u64,
    /// How many it has.
    pub len: u64,
}

/// A disk to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// Its sectors.
    pub sectors: Sectors,
    /// What kind of FAT it may have.
    pub profile: Profile,
    /// What goes on the EFI system partition.
    pub contents: &'a Contents,
    /// Bytes of a root partition.
    pub root: Option<u64>,
    /// How large the whole is to be; else as small as can be.
    pub size: Option<u64>,
}

impl Wanted<'_> {
    /// The last partition ends at a multiple of this.
    fn grain(&self) -> u64 {
        match self.profile {
            Profile::Standard => ALIGNMENT,
            Profile::Tiny => TINY_END,
        }
    }
}

/// Everything in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Bytes of the disk.
    pub size: u64,
    /// Its sectors.
    pub sectors: Sectors,
    /// The EFI system partition.
    pub esp: Span,
    /// The volume on it.
    pub fat: Geometry,
    /// The root partition.
    pub root: Option<Span>,
}

/// What partitions are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names {
    /// The disk.
    pub disk: Guid,
    /// The EFI system partition.
    pub esp: Guid,
    /// The root partition.
    pub root: Guid,
    /// The root partition's type.
    pub root_kind: Guid,
}

/// Why there is no such disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// A size was asked for that is not enough.
    #[error("laying out a disk of {asked} bytes: what goes on it takes {needed} bytes ({} MiB)", needed >> 20)]
    TooSmall {
        /// What was asked for.
        asked: u64,
        /// What it takes.
        needed: u64,
    },
    /// Larger than any disk.
    #[error("laying out the disk: it would have {0} bytes, and 8 TiB are the most")]
    TooLarge(u64),
    /// No volume takes all this.
    #[error("laying out the EFI system partition: no FAT volume takes all that is to go there")]
    NoVolume,
}

impl Layout {
    /// Puts everything in its place.
    pub fn new(wanted: &Wanted<'_>) -> Result<Self, LayoutError> {
        let sector = wanted.sectors.of_fat();
        let least = fat::smallest(wanted.profile, sector, wanted.contents).ok_or(LayoutError::NoVolume)?;
        let needed = size_for(wanted, least.bytes());
        let size = match wanted.size {
            None => needed,
            Some(asked) if asked < needed => return Err(LayoutError::TooSmall { asked, needed }),
            // Near the largest number there is nothing to round up to.
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

    /// The partition tables, all of them.
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
                // The entries move away from the end, where the other table's header and entries stand.
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
                // A header is 92 bytes; the zeros that fill its sector would cover the other table's header.
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

    /// The table for one size of sectors.
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

/// Bytes of a disk whose volume has so many.
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

    /// The disk's begin and end as bytes, and all tables on it.
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
            // What lies behind the last usable sector belongs to the tables alone.
            let used = layout.root.map_or(layout.esp, |root| root);
            assert!(disk[ALIGNMENT as usize..(used.offset + used.len) as usize].iter().all(|byte| *byte == 0));
        }
        assert_eq!(layout.size % ALIGNMENT, 0);
    }

    #[test]
    fn the_usual_disk_is_as_small_as_its_fat32() {
        let contents = Contents::of(&[20 << 20], &[6, 6]);
        for (sectors, mib) in ALL.into_iter().zip([35, 259, 259]) {
            let wanted = Wanted { sectors, profile: Profile::Standard, contents: &contents, root: None, size: None };
            let layout = Layout::new(&wanted).expect("a layout");
            assert_eq!(layout.size >> 20, mib, "{sectors:?}");
            is_sound(&layout);
        }
    }

    #[test]
    fn too_small_a_size_is_refused_with_the_number_needed() {
        let contents = Contents::of(&[20 << 20], &[6, 6]);
        let sectors = Sectors::One(SectorSize::S512);
        let mut wanted =
            Wanted { sectors, profile: Profile::Tiny, contents: &contents, root: None, size: Some(1 << 20) };
        let error = Layout::new(&wanted).expect_err("too small");
        let LayoutError::TooSmall { needed, .. } = error else { panic!("{error}") };
        assert_eq!(
            error.to_string(),
            "laying out a disk of 1048576 bytes: what goes on it takes 23068672 bytes (22 MiB)"
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
        fn any_disk_has_its_parts_where_all_readers_look(
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
