//! FAT boot sector: the BIOS parameter block (BPB), and the volume geometry computed from it.

use std::fmt;

/// Minimum number of clusters of a FAT16 volume (EDK2 `Fat.h`: `FAT_MAX_FAT12_CLUSTER`).
pub const FAT16_FROM: u64 = 0xFF5;
/// Minimum number of clusters of a FAT32 volume (EDK2 `Fat.h`: `FAT_MAX_FAT16_CLUSTER`).
pub const FAT32_FROM: u64 = 0xFFF5;

/// FAT type: the width of the entries in the allocation table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FatType {
    /// 12-bit entries: fewer than 4,085 clusters.
    Fat12,
    /// 16-bit entries: fewer than 65,525 clusters.
    Fat16,
    /// 32-bit entries, of which 28 bits are used.
    Fat32,
}

impl FatType {
    /// All types, in ascending order.
    pub(crate) const ALL: [Self; 3] = [Self::Fat12, Self::Fat16, Self::Fat32];

    /// Returns the bits per entry.
    pub(crate) const fn bits(self) -> u64 {
        match self {
            Self::Fat12 => 12,
            Self::Fat16 => 16,
            Self::Fat32 => 32,
        }
    }

    /// Returns the FAT type for a number of clusters by Microsoft's rule, regardless of the boot sector.
    pub(crate) const fn from_cluster_count(clusters: u64) -> Self {
        match clusters {
            0..FAT16_FROM => Self::Fat12,
            FAT16_FROM..FAT32_FROM => Self::Fat16,
            _ => Self::Fat32,
        }
    }
}

impl fmt::Display for FatType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FAT{}", self.bits())
    }
}

/// Boot sector fields, unchecked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bpb {
    /// `BS_OEMName`: the formatting tool. No reader should depend on it.
    pub(crate) oem: [u8; 8],
    /// `BPB_BytsPerSec`: sector size in bytes, the unit of the other fields.
    pub(crate) sector_size: u16,
    /// `BPB_SecPerClus`: sectors per cluster.
    pub(crate) cluster_sectors: u8,
    /// `BPB_RsvdSecCnt`: sectors before the first allocation table.
    pub(crate) reserved: u16,
    /// `BPB_NumFATs`: copies of the allocation table.
    pub(crate) tables: u8,
    /// `BPB_RootEntCnt`: root directory entries (FAT12 and FAT16).
    pub(crate) root_entries: u16,
    /// `BPB_TotSec16` or `BPB_TotSec32`: sectors of the volume.
    pub(crate) sectors: u32,
    /// `BPB_Media`: media byte.
    pub(crate) media: u8,
    /// `BPB_FATSz16` or `BPB_FATSz32`: sectors per allocation table.
    pub(crate) table_sectors: u32,
    /// True for the FAT32 layout: the table length is in `BPB_FATSz32`.
    pub(crate) fat32_layout: bool,
    /// `BPB_HiddSec`: sectors before the volume, that is, the first LBA of the partition.
    pub(crate) hidden: u32,
    /// `BPB_ExtFlags` (FAT32): bit 7 is set if the tables are not mirrored.
    pub(crate) flags: u16,
    /// `BPB_FSVer` (FAT32): must be 0.
    pub(crate) version: u16,
    /// `BPB_RootClus` (FAT32): first cluster of the root directory.
    pub(crate) root_cluster: u32,
    /// `BPB_FSInfo` (FAT32): sector with the free cluster count; 0 or FFFF if there is none.
    pub(crate) info_sector: u16,
    /// `BPB_BkBootSec` (FAT32): sector of the backup boot sector; 0 or FFFF if there is none.
    pub(crate) backup_sector: u16,
    /// State byte; bit 0 is set while the volume is mounted by Linux or Windows.
    pub(crate) state: u8,
    /// `BS_VolID`: volume serial number.
    pub(crate) serial: u32,
    /// `BS_VolLab`: label, padded with spaces.
    pub(crate) label: [u8; 11],
    /// True if the sector ends with `55 AA`.
    pub(crate) signed: bool,
}

/// Reason why a boot sector is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BpbFault {
    /// A field that must not be zero is zero.
    #[error("{0} is zero")]
    Zero(&'static str),
    /// The sector size is not supported.
    #[error("sector size is {0} bytes, expected 512, 1024, 2048 or 4096")]
    SectorSize(u16),
    /// The cluster size is not a power of two.
    #[error("{0} sectors per cluster, expected a power of two up to 128")]
    ClusterSectors(u8),
    /// The media byte is invalid.
    #[error("media byte is {0:02x}, expected f0 or f8 to ff")]
    Media(u8),
    /// A FAT12 or FAT16 volume has no room for a root directory.
    #[error("no root directory entries, which FAT12 and FAT16 require")]
    RootEntries,
    /// The version is not 0.
    #[error("unsupported FAT32 version {0:04x} (only 0)")]
    Version(u16),
    /// The tables are not mirrored; EDK2 does not mount such a volume.
    #[error("allocation tables are not mirrored (flags {0:04x}), unsupported by EDK2")]
    NotMirrored(u16),
    /// Tables and root directory do not fit in the volume.
    #[error("volume has {sectors} sectors, first cluster would be at sector {first}")]
    NoRoom {
        /// Sectors of the volume.
        sectors: u32,
        /// Sector of the first cluster.
        first: u64,
    },
    /// Too many clusters for the FAT16 layout.
    #[error("{0} clusters exceed the FAT16 maximum of 65524")]
    TooMany(u64),
    /// Too many clusters for FAT32.
    #[error("{0} clusters exceed the FAT32 maximum of 268435444")]
    FarTooMany(u64),
}

/// Layout of a volume. Offsets are in bytes from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// FAT type, as EDK2 determines it.
    pub fat_type: FatType,
    /// Sector size in bytes.
    pub sector: u64,
    /// Cluster size in bytes.
    pub cluster: u64,
    /// Number of clusters; the first one has number 2.
    pub clusters: u64,
    /// Offset of the first allocation table.
    pub(crate) table: u64,
    /// Length of one allocation table in bytes.
    pub(crate) table_len: u64,
    /// Copies of the allocation table.
    pub(crate) tables: u8,
    /// Offset of the root directory (FAT12 and FAT16).
    pub(crate) root: u64,
    /// Root directory entries; 0 for FAT32.
    pub(crate) root_entries: u16,
    /// First cluster of the root directory; 0 except for FAT32.
    pub(crate) root_cluster: u32,
    /// Offset of cluster 2.
    pub(crate) data: u64,
    /// Size of the volume in bytes.
    pub(crate) size: u64,
}

impl Bpb {
    /// Parses the first 512 bytes of a volume. Any bytes are accepted.
    pub(crate) fn decode(bytes: &[u8; 512]) -> Self {
        let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let word = |at: usize| u32::from(half(at)) | u32::from(half(at + 2)) << 16;
        let fat32_layout = half(22) == 0;
        // The fields at offset 36 in FAT12 and FAT16 are at offset 64 in FAT32.
        let tail = if fat32_layout { 64 } else { 36 };
        let mut oem = [0; 8];
        oem.copy_from_slice(&bytes[3..11]);
        let mut label = [0; 11];
        label.copy_from_slice(&bytes[tail + 7..tail + 18]);
        let narrow = |value: u32| if fat32_layout { value } else { 0 };
        Self {
            oem,
            sector_size: half(11),
            cluster_sectors: bytes[13],
            reserved: half(14),
            tables: bytes[16],
            root_entries: half(17),
            sectors: if half(19) == 0 { word(32) } else { u32::from(half(19)) },
            media: bytes[21],
            table_sectors: if fat32_layout { word(36) } else { u32::from(half(22)) },
            fat32_layout,
            hidden: word(28),
            flags: narrow(u32::from(half(40))) as u16,
            version: narrow(u32::from(half(42))) as u16,
            root_cluster: narrow(word(44)),
            info_sector: narrow(u32::from(half(48))) as u16,
            backup_sector: narrow(u32::from(half(50))) as u16,
            state: bytes[tail + 1],
            serial: word(tail + 3),
            label,
            signed: bytes[510..] == [0x55, 0xAA],
        }
    }

    /// Returns true if this looks like a FAT boot sector, even an invalid one: it has the text FAT in the type field,
    /// or fields that describe a valid volume.
    pub fn looks_like_fat(bytes: &[u8; 512]) -> bool {
        let named = [54, 82].iter().any(|at| &bytes[*at..at + 3] == b"FAT");
        named || Self::decode(bytes).geometry().is_ok()
    }

    /// Computes the layout of the volume by the rules of EDK2.
    pub(crate) fn geometry(&self) -> Result<Geometry, BpbFault> {
        self.check()?;
        let sector = u64::from(self.sector_size);
        let table_sectors = u64::from(self.table_sectors);
        let root_sectors = (u64::from(self.root_entries) * 32).div_ceil(sector);
        let root = u64::from(self.reserved) + u64::from(self.tables) * table_sectors;
        let first = root + root_sectors;
        let left = u64::from(self.sectors).checked_sub(first).filter(|left| *left > 0);
        let left = left.ok_or(BpbFault::NoRoom { sectors: self.sectors, first })?;
        let clusters = left / u64::from(self.cluster_sectors);
        let kind = match (self.fat32_layout, FatType::from_cluster_count(clusters)) {
            (true, _) if clusters > 0x0FFF_FFF4 => return Err(BpbFault::FarTooMany(clusters)),
            (true, _) => FatType::Fat32,
            (false, FatType::Fat32) => return Err(BpbFault::TooMany(clusters)),
            (false, kind @ (FatType::Fat12 | FatType::Fat16)) => kind,
        };
        Ok(Geometry {
            fat_type: kind,
            sector,
            cluster: sector * u64::from(self.cluster_sectors),
            clusters,
            table: u64::from(self.reserved) * sector,
            table_len: table_sectors * sector,
            tables: self.tables,
            root: root * sector,
            root_entries: if self.fat32_layout { 0 } else { self.root_entries },
            root_cluster: self.root_cluster,
            data: first * sector,
            size: u64::from(self.sectors) * sector,
        })
    }

    /// Checks the individual fields.
    fn check(&self) -> Result<(), BpbFault> {
        let zeros = [
            (u64::from(self.sector_size), "the sector size"),
            (u64::from(self.reserved), "the number of reserved sectors"),
            (u64::from(self.tables), "the number of tables"),
            (u64::from(self.sectors), "the number of sectors"),
            (u64::from(self.cluster_sectors), "the number of sectors per cluster"),
            (u64::from(self.table_sectors), "the length of the table"),
        ];
        if let Some((_, name)) = zeros.iter().find(|(value, _)| *value == 0) {
            return Err(BpbFault::Zero(name));
        }
        if !matches!(self.sector_size, 512 | 1024 | 2048 | 4096) {
            return Err(BpbFault::SectorSize(self.sector_size));
        }
        if !self.cluster_sectors.is_power_of_two() {
            return Err(BpbFault::ClusterSectors(self.cluster_sectors));
        }
        if !matches!(self.media, 0 | 1 | 0xF0 | 0xF8..) {
            return Err(BpbFault::Media(self.media));
        }
        if !self.fat32_layout && self.root_entries == 0 {
            return Err(BpbFault::RootEntries);
        }
        if self.version != 0 {
            return Err(BpbFault::Version(self.version));
        }
        if self.flags & 0x80 != 0 {
            return Err(BpbFault::NotMirrored(self.flags));
        }
        Ok(())
    }
}

impl Geometry {
    /// Returns true for a volume with FAT32 layout, but fewer clusters than FAT32 requires. EDK2 and mtools treat it as
    /// corrupt; Linux mounts it.
    pub(crate) fn has_too_few_clusters(&self) -> bool {
        self.fat_type == FatType::Fat32 && self.clusters < FAT32_FROM
    }

    /// Returns the distance of the cluster count from the nearest limit between FAT types. Below 16, readers that count
    /// differently may detect another type.
    pub(crate) fn margin(&self) -> u64 {
        [FAT16_FROM, FAT32_FROM].into_iter().map(|limit| limit.abs_diff(self.clusters)).min().unwrap_or(0)
    }

    /// Returns the number of clusters that the allocation table has entries for.
    pub(crate) fn table_room(&self) -> u64 {
        (self.table_len * 8 / self.fat_type.bits()).saturating_sub(2)
    }

    /// Returns the byte offset of a cluster; `None` for an invalid cluster number.
    pub fn offset(&self, cluster: u32) -> Option<u64> {
        let index = u64::from(cluster).checked_sub(2).filter(|index| *index < self.clusters)?;
        Some(self.data + index * self.cluster)
    }
}
