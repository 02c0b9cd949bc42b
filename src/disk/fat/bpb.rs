//! The boot sector of a FAT volume: the BIOS parameter block, and the geometry that follows from it.

use std::fmt;

/// Clusters from which on a volume is FAT16, and FAT32 (EDK2 `Fat.h`: `FAT_MAX_FAT12_CLUSTER`,
/// `FAT_MAX_FAT16_CLUSTER`).
pub const FAT16_FROM: u64 = 0xFF5;
/// See [`FAT16_FROM`].
pub const FAT32_FROM: u64 = 0xFFF5;

/// How wide the entries of the allocation table are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// 12 bits: fewer than 4,085 clusters.
    Fat12,
    /// 16 bits: fewer than 65,525.
    Fat16,
    /// 32 bits, of which 28 count.
    Fat32,
}

impl Kind {
    /// Bits of an entry.
    pub const fn bits(self) -> u64 {
        match self {
            Self::Fat12 => 12,
            Self::Fat16 => 16,
            Self::Fat32 => 32,
        }
    }

    /// The kind that Microsoft's rule gives a number of clusters, whatever the boot sector looks like.
    pub const fn of(clusters: u64) -> Self {
        match clusters {
            0..FAT16_FROM => Self::Fat12,
            FAT16_FROM..FAT32_FROM => Self::Fat16,
            _ => Self::Fat32,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FAT{}", self.bits())
    }
}

/// What the boot sector says, true or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bpb {
    /// Name of who made it; nobody should care.
    pub oem: [u8; 8],
    /// Bytes of the sectors that all else is counted in.
    pub sector_size: u16,
    /// Sectors a cluster.
    pub cluster_sectors: u8,
    /// Sectors before the first table.
    pub reserved: u16,
    /// Copies of the table.
    pub tables: u8,
    /// Entries of the root directory of FAT12 and FAT16.
    pub root_entries: u16,
    /// Sectors of the volume.
    pub sectors: u32,
    /// Media byte.
    pub media: u8,
    /// Sectors of one table.
    pub table_sectors: u32,
    /// Whether the length of the table stands where only FAT32 has it.
    pub wide: bool,
    /// Sectors before the volume, that is: the partition's first.
    pub hidden: u32,
    /// Flags of FAT32: bit 7 says that tables are not mirrored.
    pub flags: u16,
    /// Version of FAT32: 0.
    pub version: u16,
    /// Where the root directory of FAT32 begins.
    pub root_cluster: u32,
    /// Sector of the record with free counts (FAT32), 0 or FFFF without.
    pub info_sector: u16,
    /// Sector of the boot sector's copy (FAT32), 0 or FFFF without.
    pub backup_sector: u16,
    /// State byte; bit 0 is set while Linux or Windows has it mounted.
    pub state: u8,
    /// Volume serial number.
    pub serial: u32,
    /// Label, padded with spaces.
    pub label: [u8; 11],
    /// Whether it ends with `55 AA`.
    pub signed: bool,
}

/// Why a boot sector gives no volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BpbFault {
    /// No FAT at all.
    #[error("no FAT boot sector: {0} is zero")]
    Zero(&'static str),
    /// Sector sizes are powers of two.
    #[error("sectors of {0} bytes, but FAT has 512, 1024, 2048 and 4096")]
    SectorSize(u16),
    /// Clusters are powers of two.
    #[error("{0} sectors a cluster, but it is a power of two up to 128")]
    ClusterSectors(u8),
    /// The media byte has few values.
    #[error("media byte {0:02x}, but it is f0 or f8 to ff")]
    Media(u8),
    /// Only FAT32 has no room for a root directory.
    #[error("no entries for a root directory, which FAT12 and FAT16 need")]
    RootEntries,
    /// Nobody knows another version.
    #[error("version {0:04x} of FAT32, but there is only 0")]
    Version(u16),
    /// EDK2 mounts no volume whose tables are not mirrored.
    #[error("tables that are not mirrored (flags {0:04x}), which EDK2 does not mount")]
    NotMirrored(u16),
    /// Tables and root directory take more than there is.
    #[error("{sectors} sectors in all, but the first cluster would be at sector {first}")]
    NoRoom {
        /// Sectors of the volume.
        sectors: u32,
        /// Where clusters would begin.
        first: u64,
    },
    /// Too many for 16 bits, and no table of 32.
    #[error("{0} clusters, but FAT16 has at most 65524")]
    TooMany(u64),
    /// Too many for 28 bits.
    #[error("{0} clusters, but FAT32 has at most 268435444")]
    FarTooMany(u64),
}

/// Where things are, in bytes of the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// What kind EDK2 takes it for.
    pub kind: Kind,
    /// Bytes of a sector.
    pub sector: u64,
    /// Bytes of a cluster.
    pub cluster: u64,
    /// How many clusters there are; their numbers begin at 2.
    pub clusters: u64,
    /// Where the first table begins.
    pub table: u64,
    /// Bytes of one table.
    pub table_len: u64,
    /// Copies of it.
    pub tables: u8,
    /// Where the root directory of FAT12 and FAT16 begins.
    pub root: u64,
    /// Its entries; 0 with FAT32.
    pub root_entries: u16,
    /// The root directory's first cluster; 0 but with FAT32.
    pub root_cluster: u32,
    /// Where cluster 2 begins.
    pub data: u64,
    /// Bytes of the whole volume.
    pub size: u64,
}

impl Bpb {
    /// Reads the first 512 bytes of a volume, whatever they are.
    pub fn decode(bytes: &[u8; 512]) -> Self {
        let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let word = |at: usize| u32::from(half(at)) | u32::from(half(at + 2)) << 16;
        let wide = half(22) == 0;
        // What FAT12 and FAT16 have at 36, FAT32 has 28 bytes later.
        let tail = if wide { 64 } else { 36 };
        let mut oem = [0; 8];
        oem.copy_from_slice(&bytes[3..11]);
        let mut label = [0; 11];
        label.copy_from_slice(&bytes[tail + 7..tail + 18]);
        let narrow = |value: u32| if wide { value } else { 0 };
        Self {
            oem,
            sector_size: half(11),
            cluster_sectors: bytes[13],
            reserved: half(14),
            tables: bytes[16],
            root_entries: half(17),
            sectors: if half(19) == 0 { word(32) } else { u32::from(half(19)) },
            media: bytes[21],
            table_sectors: if wide { word(36) } else { u32::from(half(22)) },
            wide,
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

    /// Whether this is meant to be a FAT boot sector at all, whatever is wrong with it: the word FAT where one has
    /// its type, or fields that make a volume.
    pub fn is_meant(bytes: &[u8; 512]) -> bool {
        let named = [54, 82].iter().any(|at| &bytes[*at..at + 3] == b"FAT");
        named || Self::decode(bytes).geometry().is_ok()
    }

    /// Where everything is, by EDK2's rule.
    pub fn geometry(&self) -> Result<Geometry, BpbFault> {
        self.check()?;
        let sector = u64::from(self.sector_size);
        let table_sectors = u64::from(self.table_sectors);
        let root_sectors = (u64::from(self.root_entries) * 32).div_ceil(sector);
        let root = u64::from(self.reserved) + u64::from(self.tables) * table_sectors;
        let first = root + root_sectors;
        let left = u64::from(self.sectors).checked_sub(first).filter(|left| *left > 0);
        let left = left.ok_or(BpbFault::NoRoom { sectors: self.sectors, first })?;
        let clusters = left / u64::from(self.cluster_sectors);
        let kind = match (self.wide, Kind::of(clusters)) {
            (true, _) if clusters > 0x0FFF_FFF4 => return Err(BpbFault::FarTooMany(clusters)),
            (true, _) => Kind::Fat32,
            (false, Kind::Fat32) => return Err(BpbFault::TooMany(clusters)),
            (false, kind @ (Kind::Fat12 | Kind::Fat16)) => kind,
        };
        Ok(Geometry {
            kind,
            sector,
            cluster: sector * u64::from(self.cluster_sectors),
            clusters,
            table: u64::from(self.reserved) * sector,
            table_len: table_sectors * sector,
            tables: self.tables,
            root: root * sector,
            root_entries: if self.wide { 0 } else { self.root_entries },
            root_cluster: self.root_cluster,
            data: first * sector,
            size: u64::from(self.sectors) * sector,
        })
    }

    /// The fields by themselves.
    fn check(&self) -> Result<(), BpbFault> {
        let zeros = [
            (u64::from(self.sector_size), "the sector size"),
            (u64::from(self.reserved), "the number of reserved sectors"),
            (u64::from(self.tables), "the number of tables"),
            (u64::from(self.sectors), "the number of sectors"),
            (u64::from(self.cluster_sectors), "the number of sectors a cluster"),
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
        if !self.wide && self.root_entries == 0 {
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
    /// Whether it is laid out as FAT32 but has so few clusters that everybody who counts them takes it for FAT16: EDK2
    /// calls it corrupt, and so does mtools, while Linux mounts it.
    pub fn starves_fat32(&self) -> bool {
        self.kind == Kind::Fat32 && self.clusters < FAT32_FROM
    }

    /// How many clusters lie between it and the next limit between kinds; below 16 readers that count in another way
    /// may take it for another kind.
    pub fn margin(&self) -> u64 {
        [FAT16_FROM, FAT32_FROM].into_iter().map(|limit| limit.abs_diff(self.clusters)).min().unwrap_or(0)
    }

    /// How many clusters the table has entries for.
    pub fn table_room(&self) -> u64 {
        (self.table_len * 8 / self.kind.bits()).saturating_sub(2)
    }

    /// Where a cluster begins, in bytes; `None` for a number that is none.
    pub fn offset(&self, cluster: u32) -> Option<u64> {
        let index = u64::from(cluster).checked_sub(2).filter(|index| *index < self.clusters)?;
        Some(self.data + index * self.cluster)
    }
}
