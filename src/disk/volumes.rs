//! File systems of a disk that UEFI firmware starts programs from: EFI system partitions in a GPT, FAT partitions in an
//! MBR partition table, boot images of a CD (El Torito), or a FAT file system without any table.

use crate::disk::mbr;
use crate::format::fat::{Bpb, Fault, Volume};
use crate::format::gpt::{self, Gpt};
use crate::format::iso9660::{self, Platform};
use crate::format::mbr::{ESP, Mbr};
use crate::format::{Guid, Medium, SectorSize, Window};

/// MBR partition types of FAT file systems.
const FAT_TYPES: [u8; 6] = [0x01, 0x04, 0x06, 0x0B, 0x0C, 0x0E];

/// Structure of the disk that refers to a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Nothing: it starts at byte 0.
    Whole,
    /// The partition with this number.
    Partition(u32),
    /// The entry of the boot catalog with this number, from 1.
    BootImage(u32),
}

/// Location of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Structure that refers to it.
    pub origin: Origin,
    /// First byte on the disk.
    pub start: u64,
    /// Length in bytes.
    pub len: u64,
    /// Sector size of the disk.
    pub sector: SectorSize,
}

impl Place {
    /// Opens the file system.
    pub fn open<M: Medium>(self, disk: M) -> Result<Volume<Window<M>>, Fault> {
        Volume::open(Window::new(disk, self.start, self.len))
    }
}

/// Returns the locations of the file systems, those that firmware prefers first. `sector` is the sector size of the
/// disk, if it is known. Each location is listed once, even if an isohybrid image has several tables for it.
pub fn places(disk: &(impl Medium + ?Sized), sector: Option<SectorSize>) -> Vec<Place> {
    let mut first = [0; 512];
    if disk.read_at(&mut first, 0).is_err() {
        return Vec::new();
    }
    let tables = gpt::probe(&disk);
    let mut found: Vec<Place> = tables.first().map(of_gpt).unwrap_or_default();
    let protective = !tables.is_empty() && Mbr::decode(&first).is_protective();
    if !protective {
        found.extend(of_mbr(disk, sector.unwrap_or(SectorSize::S512)));
    }
    found.extend(of_cd(disk));
    if tables.is_empty() && Bpb::looks_like_fat(&first) {
        // The boot code of a FAT volume may look like partition records.
        let sector = sector.unwrap_or(SectorSize::S512);
        found = vec![Place { origin: Origin::Whole, start: 0, len: disk.size(), sector }];
    }
    let mut unique: Vec<Place> = Vec::new();
    for place in found {
        if !unique.iter().any(|known| known.start == place.start) {
            unique.push(place);
        }
    }
    unique
}

/// Returns the EFI system partitions of a GPT.
fn of_gpt(gpt: &Gpt) -> Vec<Place> {
    let esps = gpt.partitions.iter().filter(|part| part.type_guid == Guid::ESP);
    let place = |part: &gpt::Partition| {
        let (start, len) = part.span(gpt.sector)?;
        Some(Place { origin: Origin::Partition(part.number), start, len, sector: gpt.sector })
    };
    esps.filter_map(place).collect()
}

/// Returns the FAT partitions of an MBR partition table, EFI system partitions first.
fn of_mbr(disk: &(impl Medium + ?Sized), sector: SectorSize) -> Vec<Place> {
    let partitions = mbr::read(disk, sector).unwrap_or_default();
    let of = |wanted: &[u8]| -> Vec<Place> {
        let chosen = partitions.iter().filter(|part| wanted.contains(&part.os_type));
        let place = |part: &mbr::MbrPartition| {
            let (start, len) = part.starting_lba.offset(sector).zip(part.sectors.checked_mul(sector.bytes()))?;
            let len = len.min(disk.size().saturating_sub(start));
            Some(Place { origin: Origin::Partition(part.number), start, len, sector })
        };
        chosen.filter_map(place).collect()
    };
    [of(&[ESP]), of(&FAT_TYPES)].concat()
}

/// Returns the boot images for UEFI of a CD.
fn of_cd(disk: &(impl Medium + ?Sized)) -> Vec<Place> {
    let Ok(volume) = iso9660::Volume::open(disk) else { return Vec::new() };
    let entries = volume.boot_entries().unwrap_or_default();
    let images = (1..).zip(entries).filter(|(_, entry)| entry.platform == Platform::Uefi);
    let place = |(number, entry): (u32, iso9660::BootEntry)| {
        let (start, len) = entry.span(disk.size());
        Place { origin: Origin::BootImage(number), start, len, sector: SectorSize::S512 }
    };
    images.map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::{Origin, places};

    /// An MBR with these records: type, first LBA.
    fn mbr_disk(records: &[(u8, u8)]) -> Vec<u8> {
        let mut disk = vec![0; 1 << 20];
        for (index, (kind, first)) in records.iter().enumerate() {
            let at = 446 + 16 * index;
            (disk[at + 4], disk[at + 8], disk[at + 12]) = (*kind, *first, 8);
        }
        disk[510..512].copy_from_slice(&[0x55, 0xAA]);
        disk
    }

    #[test]
    fn the_esp_of_an_mbr_disk_precedes_other_fat_partitions() {
        let disk = mbr_disk(&[(0x0C, 64), (0x83, 96), (0xEF, 128)]);
        let found: Vec<_> = places(&disk, None).iter().map(|place| (place.origin, place.start, place.len)).collect();
        assert_eq!(found, [(Origin::Partition(3), 128 * 512, 4096), (Origin::Partition(1), 64 * 512, 4096)]);
    }

    #[test]
    fn a_fat_volume_without_a_table_is_the_whole_disk() {
        let mut disk = mbr_disk(&[(0xEF, 64)]);
        disk[82..85].copy_from_slice(b"FAT");
        let found = places(&disk, None);
        assert_eq!((found.len(), found[0].origin, found[0].len), (1, Origin::Whole, 1 << 20));
        assert!(places(&Vec::new(), None).is_empty());
    }
}
