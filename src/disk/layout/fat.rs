//! Geometry of a FAT volume that all firmware accepts: FAT type, cluster size, number of sectors.
//!
//! Only the number of clusters determines the FAT type. EDK2 (`FatPkg/EnhancedFatDxe/Init.c`, `FatOpenDevice`) treats a
//! volume without a 16-bit FAT size as FAT32 and refuses it below 65,525 clusters. Other volumes are FAT12 below 4,085
//! clusters, and FAT16 below 65,525. Volumes of bootling stay at least 16 clusters away from both limits, because some
//! implementations count differently. The numbers must equal those that the fatfs crate computes when it formats the
//! volume (0.3.6, `boot_sector.rs`); the writer compares them.

use super::contents::{Contents, ENTRY};
use crate::format::fat::{FAT16_FROM, FAT32_FROM, FatType};

/// Minimum distance of a volume's cluster count from the limits of its type.
const MARGIN: u64 = 16;
/// Maximum number of clusters of FAT32: 28 bits, less the reserved values.
const FAT32_TO: u64 = 0x0FFF_FFF4;
/// Number of copies of the FAT.
const FATS: u64 = 2;
/// Minimum (and usual) number of entries of a fixed-size root directory.
const ROOT_ENTRIES: u64 = 512;
/// Maximum cluster size in bytes. Some implementations do not support larger clusters.
const LARGEST_CLUSTER: u64 = 32 << 10;

/// Returns the minimum and maximum number of clusters of a type, including the margin.
const fn cluster_limits(kind: FatType) -> (u64, u64) {
    match kind {
        FatType::Fat12 => (MARGIN, FAT16_FROM - 1 - MARGIN),
        FatType::Fat16 => (FAT16_FROM + MARGIN, FAT32_FROM - 1 - MARGIN),
        FatType::Fat32 => (FAT32_FROM + MARGIN, FAT32_TO),
    }
}

/// Returns the number of reserved sectors before the first FAT. In FAT32, they contain the `FSInfo` sector and the
/// backup boot sector.
const fn reserved_sectors(kind: FatType) -> u64 {
    match kind {
        FatType::Fat12 | FatType::Fat16 => 1,
        FatType::Fat32 => 8,
    }
}

/// Permitted FAT types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// FAT32, which all firmware reads from fixed disks (UEFI 2.11, section 13.3).
    Standard,
    /// The type of the smallest volume: sufficient for virtual machines.
    Tiny,
}

impl Profile {
    const fn kinds(self) -> &'static [FatType] {
        match self {
            Self::Standard => &[FatType::Fat32],
            Self::Tiny => &FatType::ALL,
        }
    }
}

/// Geometry of a volume. Counts of sectors are in sectors of the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// FAT type, determined by the number of clusters.
    pub kind: FatType,
    /// Sector size in bytes.
    pub sector: u64,
    /// Cluster size in bytes.
    pub cluster: u64,
    /// Total number of sectors.
    pub(crate) sectors: u64,
    /// Number of reserved sectors, before the first FAT.
    pub(crate) reserved: u64,
    /// Number of sectors per FAT.
    pub(crate) fat_sectors: u64,
    /// Number of entries of the fixed-size root directory. 0 in FAT32, whose root directory has no fixed size.
    pub(crate) root_entries: u64,
    /// Number of data clusters.
    pub clusters: u64,
}

impl Geometry {
    /// Returns the geometry of a volume of `sectors` sectors. `None` if a volume of that size is not of type `kind`.
    fn new(kind: FatType, sector: u64, cluster: u64, sectors: u64, root_entries: u64) -> Option<Self> {
        let root_entries = match kind {
            FatType::Fat12 | FatType::Fat16 => root_entries,
            FatType::Fat32 => 0,
        };
        let reserved = reserved_sectors(kind);
        let left = sectors.checked_sub(reserved + (root_entries * ENTRY).div_ceil(sector))?;
        // Same calculation as in fatfs (`determine_sectors_per_fat`): a FAT must have an entry for each cluster that
        // remains after both FATs are subtracted.
        let per_cluster = cluster / sector;
        let fat_sectors = (left + 2 * per_cluster).div_ceil(cluster * 8 / kind.bits() + FATS);
        let clusters = left.checked_sub(FATS * fat_sectors)? / per_cluster;
        (FatType::from_cluster_count(clusters) == kind && u32::try_from(sectors).is_ok()).then_some(Self {
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

    /// Returns the size of the volume in bytes.
    pub fn bytes(&self) -> u64 {
        self.sectors * self.sector
    }

    /// Returns the byte offset of copy `copy` of the FAT.
    pub(crate) fn fat_offset(&self, copy: u64) -> u64 {
        (self.reserved + copy * self.fat_sectors) * self.sector
    }

    /// Returns the byte offset of the fixed-size root directory.
    pub(crate) fn root_offset(&self) -> u64 {
        self.fat_offset(FATS)
    }

    /// Returns the byte offset of the first cluster, number 2.
    pub(crate) fn data_offset(&self) -> u64 {
        self.root_offset() + (self.root_entries * ENTRY).next_multiple_of(self.sector)
    }

    /// Returns the byte offset of a cluster. Cluster numbers start at 2.
    pub(crate) fn cluster_offset(&self, number: u64) -> u64 {
        self.data_offset() + number.saturating_sub(2) * self.cluster
    }

    fn holds(&self, contents: &Contents) -> bool {
        let (fewest, most) = cluster_limits(self.kind);
        (fewest..=most).contains(&self.clusters) && self.clusters >= contents.clusters(self.cluster, self.kind)
    }
}

/// Returns the valid cluster sizes for a sector size, in ascending order.
fn cluster_sizes(sector: u64) -> impl DoubleEndedIterator<Item = u64> + Clone {
    let all = (0..=6).map(|power| 512 << power);
    all.filter(move |size| *size >= sector && *size <= LARGEST_CLUSTER && size / sector <= 128)
}

/// Returns the number of entries of a fixed-size root directory: the usual number or more, in whole sectors. `None` if
/// it does not fit in 16 bits.
fn root_entries(contents: &Contents, sector: u64) -> Option<u64> {
    let entries = contents.root_entries().max(ROOT_ENTRIES).next_multiple_of(sector / ENTRY);
    (entries < 1 << 16).then_some(entries)
}

/// Maximum preferred cluster size in bytes. [`filling`] uses larger clusters only if it must: on average, a file wastes
/// half a cluster.
const COMFORTABLE_CLUSTER: u64 = 4096;

/// Returns the smallest volume that can hold the contents. `None` if no volume can.
pub(crate) fn smallest(profile: Profile, sector: u64, contents: &Contents) -> Option<Geometry> {
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

fn smallest_of(kind: FatType, sector: u64, cluster: u64, contents: &Contents) -> Option<Geometry> {
    let entries = root_entries(contents, sector).or((kind == FatType::Fat32).then_some(0))?;
    let needed = contents.clusters(cluster, kind).max(cluster_limits(kind).0);
    // The cluster count grows with the sector count, apart from the sectors of the FATs. So the minimum is near
    // `at_least`.
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

/// Returns the number of clusters, even if it does not match `kind`.
fn unchecked_clusters(kind: FatType, sector: u64, cluster: u64, sectors: u64, root_entries: u64) -> u64 {
    let root = if kind == FatType::Fat32 { 0 } else { (root_entries * ENTRY).div_ceil(sector) };
    let Some(left) = sectors.checked_sub(reserved_sectors(kind) + root) else { return 0 };
    let per_cluster = cluster / sector;
    let fat_sectors = (left + 2 * per_cluster).div_ceil(cluster * 8 / kind.bits() + FATS);
    left.saturating_sub(FATS * fat_sectors) / per_cluster
}

/// Returns the largest volume of at most `bytes` bytes for the contents. It may be smaller than `bytes`: some sizes
/// between two FAT types are not valid, and the sector count has 32 bits. `None` if the contents do not fit.
pub(crate) fn filling(profile: Profile, sector: u64, contents: &Contents, bytes: u64) -> Option<Geometry> {
    let sectors = (bytes / sector).min(u64::from(u32::MAX));
    let mut best: Option<(Geometry, bool)> = None;
    for kind in profile.kinds() {
        for cluster in cluster_sizes(sector) {
            let Some(least) = smallest_of(*kind, sector, cluster, contents) else { continue };
            let Some(found) = largest_of(&least, contents, sectors) else { continue };
            let comfortable = cluster <= COMFORTABLE_CLUSTER.max(sector);
            let better = best.is_none_or(|(best, best_comfortable)| {
                // Prefer the largest volume; then the largest preferred cluster size, or else the smallest other size.
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

/// Returns the largest volume of the type and cluster size of `least` that has at most `sectors` sectors.
fn largest_of(least: &Geometry, contents: &Contents, sectors: u64) -> Option<Geometry> {
    let with = |sectors| Geometry::new(least.kind, least.sector, least.cluster, sectors, least.root_entries);
    if sectors < least.sectors {
        return None;
    }
    if let Some(found) = with(sectors).filter(|found| found.holds(contents)) {
        return Some(found);
    }
    // Too many clusters for the type: search for the largest valid number of sectors.
    let (mut low, mut high) = (least.sectors, sectors);
    let count = |sectors| unchecked_clusters(least.kind, least.sector, least.cluster, sectors, least.root_entries);
    while low < high {
        let middle = high - (high - low) / 2;
        if count(middle) <= cluster_limits(least.kind).1 { low = middle } else { high = middle - 1 }
    }
    with(low).filter(|found| found.holds(contents))
}

#[cfg(test)]
mod tests {
    use super::{FatType, Geometry, MARGIN, Profile, filling, smallest};
    use crate::disk::layout::contents::Contents;
    use proptest::collection::vec;
    use proptest::prelude::proptest;

    /// Independent implementation of EDK2's rule (`FatOpenDevice`), based on the fields of the boot sector.
    fn edk2(volume: &Geometry) -> Option<FatType> {
        let fat16_size = if volume.kind == FatType::Fat32 { 0 } else { volume.fat_sectors };
        let root = (volume.root_entries * 32).div_ceil(volume.sector);
        let first = volume.reserved + 2 * volume.fat_sectors + root;
        let clusters = (volume.sectors - first) / (volume.cluster / volume.sector);
        match (fat16_size, volume.root_entries) {
            (0, 0) => (clusters >= 0xFFF5).then_some(FatType::Fat32),
            (0, _) | (_, 0) => None,
            _ if clusters < 0xFF5 => Some(FatType::Fat12),
            _ => (clusters < 0xFFF5).then_some(FatType::Fat16),
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
    fn the_smallest_volumes_have_the_expected_sizes() {
        let contents = Contents::of(&[1 << 20], &[3]);
        let volume = smallest(Profile::Standard, 512, &contents).expect("a volume");
        assert_eq!((volume.clusters, volume.cluster), (65_541, 512));
        assert!((32 << 20..33 << 20).contains(&volume.bytes()), "{volume:?}");
        let volume = smallest(Profile::Standard, 4096, &contents).expect("a volume");
        assert!((256 << 20..260 << 20).contains(&volume.bytes()), "{volume:?}");
        let volume = smallest(Profile::Tiny, 512, &contents).expect("a volume");
        assert!(volume.kind == FatType::Fat12 && volume.bytes() < (1 << 20) + 32_000, "{volume:?}");
    }

    #[test]
    fn large_volumes_use_clusters_of_at_most_4096_bytes() {
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
        fn volumes_for_any_contents_are_valid_and_as_small_as_possible(
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
            assert!(profile == Profile::Tiny || volume.kind == FatType::Fat32);
            assert_eq!(filling(profile, sector, &contents, volume.bytes() - sector), None);
            let exact = filling(profile, sector, &contents, volume.bytes()).expect("it fits");
            assert_eq!(exact.bytes(), volume.bytes());
            let larger = filling(profile, sector, &contents, volume.bytes() + extra).expect("it fits");
            is_sound(&larger, &contents);
            assert!(larger.bytes() <= volume.bytes() + extra);
            // The unused space is smaller than the gap of sizes between two FAT types.
            assert!(larger.bytes() + ((64 * 32) << 10) >= volume.bytes() + extra, "{larger:?} in {}", volume.bytes() + extra);
        }

        #[test]
        fn cluster_counts_keep_the_margin_from_the_limits(clusters in 3900u64..4300, sector in 0usize..2, fat32 in proptest::bool::ANY) {
            let clusters = if fat32 { clusters + 65_525 - 4085 } else { clusters };
            let sector = [512u64, 4096][sector];
            let contents = Contents::of(&[clusters.saturating_sub(2) * sector], &[]);
            is_sound(&smallest(Profile::Tiny, sector, &contents).expect("a volume"), &contents);
            is_sound(&smallest(Profile::Standard, sector, &contents).expect("a volume"), &contents);
        }
    }
}
