//! The size of a FAT volume, so that every firmware takes it: type, cluster size, number of sectors.
//!
//! A volume's type is a matter of its number of clusters and of nothing else, and firmware does not look twice: EDK2
//! (`FatPkg/EnhancedFatDxe/Init.c`, `FatOpenDevice`) takes a volume without a 16-bit FAT size for FAT32 and refuses it
//! below 65,525 clusters; other volumes are FAT12 below 4,085 clusters and FAT16 up to the same 65,525. Ours stay 16
//! clusters away from both limits, for those who count differently. The numbers are those that the fatfs crate will
//! come to when it formats the volume (0.3.6, `boot_sector.rs`), and what it has made is compared with them.

use super::contents::Contents;
use crate::format::fat::{FAT16_FROM, FAT32_FROM};

/// Clusters between a volume and the next limit.
const MARGIN: u64 = 16;
/// And at most so many: 28 bits, less what is reserved.
const FAT32_TO: u64 = 0x0FFF_FFF4;
/// Copies of the FAT.
const FATS: u64 = 2;
/// Entries of a root directory of fixed size, at least; the usual number.
const ROOT_ENTRIES: u64 = 512;
/// Bytes of a directory's entry.
pub const ENTRY: u64 = 32;
/// Largest cluster: more is not read everywhere.
const LARGEST_CLUSTER: u64 = 32 << 10;

/// Kinds of FAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FatKind {
    /// 12 bits a cluster.
    Fat12,
    /// 16 bits a cluster.
    Fat16,
    /// 32 bits a cluster, 4 of them unused.
    Fat32,
}

impl FatKind {
    /// All of them, the smallest first.
    pub const ALL: [Self; 3] = [Self::Fat12, Self::Fat16, Self::Fat32];

    /// What a number of clusters makes a volume.
    pub const fn of(clusters: u64) -> Self {
        match clusters {
            0..FAT16_FROM => Self::Fat12,
            FAT16_FROM..FAT32_FROM => Self::Fat16,
            FAT32_FROM.. => Self::Fat32,
        }
    }

    /// Fewest and most clusters, away from the limits.
    const fn clusters(self) -> (u64, u64) {
        match self {
            Self::Fat12 => (MARGIN, FAT16_FROM - 1 - MARGIN),
            Self::Fat16 => (FAT16_FROM + MARGIN, FAT32_FROM - 1 - MARGIN),
            Self::Fat32 => (FAT32_FROM + MARGIN, FAT32_TO),
        }
    }

    /// Bits of an entry in the FAT.
    const fn bits(self) -> u64 {
        match self {
            Self::Fat12 => 12,
            Self::Fat16 => 16,
            Self::Fat32 => 32,
        }
    }

    /// Sectors before the first FAT: FAT32 has a second boot sector and its free counts there.
    const fn reserved(self) -> u64 {
        match self {
            Self::Fat12 | Self::Fat16 => 1,
            Self::Fat32 => 8,
        }
    }

    /// As people write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fat12 => "FAT12",
            Self::Fat16 => "FAT16",
            Self::Fat32 => "FAT32",
        }
    }
}

/// Which volumes are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// FAT32, which every firmware reads from fixed disks (UEFI 2.11, section 13.3).
    Standard,
    /// Whatever is smallest: fine for virtual machines.
    Tiny,
}

impl Profile {
    const fn kinds(self) -> &'static [FatKind] {
        match self {
            Self::Standard => &[FatKind::Fat32],
            Self::Tiny => &FatKind::ALL,
        }
    }
}

/// A volume to be made. All counts are in its own sectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// What its number of clusters makes it.
    pub kind: FatKind,
    /// Bytes of a sector.
    pub sector: u64,
    /// Bytes of a cluster.
    pub cluster: u64,
    /// Sectors in all.
    pub sectors: u64,
    /// Sectors before the first FAT.
    pub reserved: u64,
    /// Sectors of one FAT.
    pub fat_sectors: u64,
    /// Entries of the root directory; 0 in FAT32, where it is as long as it needs to be.
    pub root_entries: u64,
    /// Clusters for files and directories.
    pub clusters: u64,
}

impl Geometry {
    /// What a volume of so many sectors would be; `None` where that is no volume of this kind.
    fn new(kind: FatKind, sector: u64, cluster: u64, sectors: u64, root_entries: u64) -> Option<Self> {
        let root_entries = match kind {
            FatKind::Fat12 | FatKind::Fat16 => root_entries,
            FatKind::Fat32 => 0,
        };
        let reserved = kind.reserved();
        let left = sectors.checked_sub(reserved + (root_entries * ENTRY).div_ceil(sector))?;
        // As fatfs counts (`determine_sectors_per_fat`): room for all clusters there would be without the FATs' own
        // share, less that share.
        let per_cluster = cluster / sector;
        let fat_sectors = (left + 2 * per_cluster).div_ceil(cluster * 8 / kind.bits() + FATS);
        let clusters = left.checked_sub(FATS * fat_sectors)? / per_cluster;
        (FatKind::of(clusters) == kind && u32::try_from(sectors).is_ok()).then_some(Self {
            kind,
            sector,
            cluster,
            sectors,
            reserved,
            fat_sectors,
            root_entries,
            clusters,
        })
    }

    /// In bytes.
    pub fn bytes(&self) -> u64 {
        self.sectors * self.sector
    }

    /// Where copy `copy` of the FAT begins, in bytes of the volume.
    pub fn fat_offset(&self, copy: u64) -> u64 {
        (self.reserved + copy * self.fat_sectors) * self.sector
    }

    /// Where the root directory of fixed size begins.
    pub fn root_offset(&self) -> u64 {
        self.fat_offset(FATS)
    }

    /// Where the first cluster, number 2, begins.
    pub fn data_offset(&self) -> u64 {
        self.root_offset() + (self.root_entries * ENTRY).next_multiple_of(self.sector)
    }

    /// Where a cluster begins; there is none below 2.
    pub fn cluster_offset(&self, number: u64) -> u64 {
        self.data_offset() + number.saturating_sub(2) * self.cluster
    }

    fn holds(&self, contents: &Contents) -> bool {
        let (fewest, most) = self.kind.clusters();
        (fewest..=most).contains(&self.clusters) && self.clusters >= contents.clusters(self.cluster, self.kind)
    }
}

/// Cluster sizes of a volume, the smallest first.
fn cluster_sizes(sector: u64) -> impl DoubleEndedIterator<Item = u64> + Clone {
    let all = (0..=6).map(|power| 512 << power);
    all.filter(move |size| *size >= sector && *size <= LARGEST_CLUSTER && size / sector <= 128)
}

/// Root directories of fixed size have the usual number of entries, or as many as it takes, in whole sectors.
fn root_entries(contents: &Contents, sector: u64) -> Option<u64> {
    let entries = contents.root_entries().max(ROOT_ENTRIES).next_multiple_of(sector / ENTRY);
    (entries < 1 << 16).then_some(entries)
}

/// Sizes of clusters above this are not taken for their own sake: firmware reads clusters, and a file wastes half a one.
const COMFORTABLE_CLUSTER: u64 = 4096;

/// The smallest volume that holds the contents.
pub fn smallest(profile: Profile, sector: u64, contents: &Contents) -> Option<Geometry> {
    let mut best: Option<Geometry> = None;
    for kind in profile.kinds() {
        for cluster in cluster_sizes(sector) {
            let Some(found) = smallest_of(*kind, sector, cluster, contents) else { continue };
            if best.is_none_or(|best| found.bytes() < best.bytes()) {
                best = Some(found);
            }
        }
    }
    best
}

fn smallest_of(kind: FatKind, sector: u64, cluster: u64, contents: &Contents) -> Option<Geometry> {
    let entries = root_entries(contents, sector).or((kind == FatKind::Fat32).then_some(0))?;
    let needed = contents.clusters(cluster, kind).max(kind.clusters().0);
    // Clusters grow with sectors, but for a sector that the FATs take: the first that is enough is near.
    let at_least = needed.checked_mul(cluster / sector)?;
    let most = at_least.checked_add(2 * FATS * (needed * kind.bits()).div_ceil(sector * 8) + entries + 64)?;
    let (mut low, mut high) = (at_least, most);
    let count = |sectors: u64| unchecked_clusters(kind, sector, cluster, sectors, entries);
    while low < high {
        let middle = low.midpoint(high);
        if count(middle) >= needed { high = middle } else { low = middle + 1 }
    }
    let found = Geometry::new(kind, sector, cluster, low, entries)?;
    found.holds(contents).then_some(found)
}

/// Number of clusters, whatever kind that would make it.
fn unchecked_clusters(kind: FatKind, sector: u64, cluster: u64, sectors: u64, root_entries: u64) -> u64 {
    let root = if kind == FatKind::Fat32 { 0 } else { (root_entries * ENTRY).div_ceil(sector) };
    let Some(left) = sectors.checked_sub(kind.reserved() + root) else { return 0 };
    let per_cluster = cluster / sector;
    let fat_sectors = (left + 2 * per_cluster).div_ceil(cluster * 8 / kind.bits() + FATS);
    left.saturating_sub(FATS * fat_sectors) / per_cluster
}

/// A volume for the contents that fills `bytes`, or nearly: between the kinds there are sizes that no volume may have,
/// and 32 bits count its sectors. `None` where the contents do not fit.
pub fn filling(profile: Profile, sector: u64, contents: &Contents, bytes: u64) -> Option<Geometry> {
    let sectors = (bytes / sector).min(u64::from(u32::MAX));
    let mut best: Option<(Geometry, bool)> = None;
    for kind in profile.kinds() {
        for cluster in cluster_sizes(sector) {
            let Some(least) = smallest_of(*kind, sector, cluster, contents) else { continue };
            let Some(found) = largest_of(&least, contents, sectors) else { continue };
            let comfortable = cluster <= COMFORTABLE_CLUSTER.max(sector);
            let better = best.is_none_or(|(best, best_comfortable)| {
                // The fullest; among equals the largest comfortable clusters, else the smallest of the others.
                match found.sectors.cmp(&best.sectors) {
                    std::cmp::Ordering::Less => false,
                    std::cmp::Ordering::Greater => true,
                    std::cmp::Ordering::Equal => comfortable || !best_comfortable && found.cluster < best.cluster,
                }
            });
            if better {
                best = Some((found, comfortable));
            }
        }
    }
    best.map(|(found, _)| found)
}

/// The largest volume like `least` that has at most `sectors`.
fn largest_of(least: &Geometry, contents: &Contents, sectors: u64) -> Option<Geometry> {
    let with = |sectors| Geometry::new(least.kind, least.sector, least.cluster, sectors, least.root_entries);
    if sectors < least.sectors {
        return None;
    }
    if let Some(found) = with(sectors).filter(|found| found.holds(contents)) {
        return Some(found);
    }
    // Too many clusters for its kind: the largest number of sectors that is not.
    let (mut low, mut high) = (least.sectors, sectors);
    let count = |sectors| unchecked_clusters(least.kind, least.sector, least.cluster, sectors, least.root_entries);
    while low < high {
        let middle = high - (high - low) / 2;
        if count(middle) <= least.kind.clusters().1 { low = middle } else { high = middle - 1 }
    }
    with(low).filter(|found| found.holds(contents))
}

#[cfg(test)]
mod tests {
    use super::{FatKind, Geometry, MARGIN, Profile, filling, smallest};
    use crate::disk::plan::contents::Contents;
    use proptest::collection::vec;
    use proptest::prelude::proptest;

    /// EDK2's rule, written down once more from `FatOpenDevice`, over what stands in the boot sector.
    fn edk2(volume: &Geometry) -> Option<FatKind> {
        let fat16_size = if volume.kind == FatKind::Fat32 { 0 } else { volume.fat_sectors };
        let root = (volume.root_entries * 32).div_ceil(volume.sector);
        let first = volume.reserved + 2 * volume.fat_sectors + root;
        let clusters = (volume.sectors - first) / (volume.cluster / volume.sector);
        match (fat16_size, volume.root_entries) {
            (0, 0) => (clusters >= 0xFFF5).then_some(FatKind::Fat32),
            (0, _) | (_, 0) => None,
            _ if clusters < 0xFF5 => Some(FatKind::Fat12),
            _ => (clusters < 0xFFF5).then_some(FatKind::Fat16),
        }
    }

    fn is_sound(volume: &Geometry, contents: &Contents) {
        assert_eq!(edk2(volume), Some(volume.kind), "{volume:?}");
        for limit in [4085, 65_525] {
            assert!(volume.clusters.abs_diff(limit) >= MARGIN, "{volume:?}");
        }
        assert!(volume.clusters >= contents.clusters(volume.cluster, volume.kind), "{volume:?}");
        let entries = volume.fat_sectors * volume.sector * 8 / volume.kind.bits();
        assert!(entries >= volume.clusters + 2, "{volume:?}: the FAT has {entries} entries");
        assert!(volume.cluster >= volume.sector && volume.cluster <= 32 << 10);
        assert!(volume.data_offset() + volume.clusters * volume.cluster <= volume.bytes(), "{volume:?}");
        assert!(u32::try_from(volume.sectors).is_ok() && volume.fat_sectors > 0);
    }

    #[test]
    fn the_smallest_fat32_are_those_that_are_known() {
        let contents = Contents::of(&[1 << 20], &[3]);
        let volume = smallest(Profile::Standard, 512, &contents).expect("a volume");
        assert_eq!((volume.clusters, volume.cluster), (65_541, 512));
        assert!((32 << 20..33 << 20).contains(&volume.bytes()), "{volume:?}");
        let volume = smallest(Profile::Standard, 4096, &contents).expect("a volume");
        assert!((256 << 20..260 << 20).contains(&volume.bytes()), "{volume:?}");
        let volume = smallest(Profile::Tiny, 512, &contents).expect("a volume");
        assert!(volume.kind == FatKind::Fat12 && volume.bytes() < (1 << 20) + 32_000, "{volume:?}");
    }

    #[test]
    fn large_volumes_have_comfortable_clusters() {
        let contents = Contents::of(&[1 << 20], &[3]);
        for (mib, cluster) in [(34, 512), (70, 1024), (200, 2048), (1024, 4096), (100_000, 4096)] {
            let volume = filling(Profile::Standard, 512, &contents, mib << 20).expect("a volume");
            assert_eq!((volume.bytes() >> 20, volume.cluster), (mib, cluster), "{mib} MiB");
        }
        let huge = filling(Profile::Standard, 512, &contents, 8 << 40).expect("a volume");
        assert_eq!(huge.sectors, u64::from(u32::MAX));
        assert_eq!(filling(Profile::Standard, 512, &contents, 30 << 20), None);
    }

    proptest! {
        #[test]
        fn whatever_goes_in_the_volume_is_sound_and_no_larger_than_it_must_be(
            files in vec(0u64..8 << 20, 0..40),
            dirs in vec(0u64..400, 0..5),
            sector in 0usize..2,
            tiny in proptest::bool::ANY,
            extra in 0u64..300 << 20,
        ) {
            let contents = Contents::of(&files, &dirs);
            let sector = [512, 4096][sector];
            let profile = if tiny { Profile::Tiny } else { Profile::Standard };
            let volume = smallest(profile, sector, &contents).expect("a volume");
            is_sound(&volume, &contents);
            assert!(profile == Profile::Tiny || volume.kind == FatKind::Fat32);
            assert_eq!(filling(profile, sector, &contents, volume.bytes() - sector), None);
            let exact = filling(profile, sector, &contents, volume.bytes()).expect("it fits");
            assert_eq!(exact.bytes(), volume.bytes());
            let larger = filling(profile, sector, &contents, volume.bytes() + extra).expect("it fits");
            is_sound(&larger, &contents);
            assert!(larger.bytes() <= volume.bytes() + extra);
            // What is left over is less than a cluster limit's gap.
            assert!(larger.bytes() + ((64 * 32) << 10) >= volume.bytes() + extra, "{larger:?} in {}", volume.bytes() + extra);
        }

        #[test]
        fn volumes_near_the_limits_keep_away_from_them(clusters in 3900u64..4300, sector in 0usize..2, fat32 in proptest::bool::ANY) {
            let clusters = if fat32 { clusters + 65_525 - 4085 } else { clusters };
            let sector = [512u64, 4096][sector];
            let contents = Contents::of(&[clusters.saturating_sub(2) * sector], &[]);
            is_sound(&smallest(Profile::Tiny, sector, &contents).expect("a volume"), &contents);
            is_sound(&smallest(Profile::Standard, sector, &contents).expect("a volume"), &contents);
        }
    }
}
