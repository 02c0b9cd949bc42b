//! Checks a disk without a GPT: firmware starts a loader in an MBR partition, in the boot image of an ISO 9660 file
//! system, or in a FAT volume without a partition table.

use super::rules::fat::{ESP_TYPE, FAT_BARE};
use super::rules::gpt::GPT_NONE;
use super::rules::mbr::{MBR_PARTITIONS, MBR_TABLE};
use super::{Place, Report, Subject, esp, loaders};
use crate::disk::mbr::{self as table, MbrFault, MbrPartition};
use crate::format::fat::Bpb;
use crate::format::iso9660::{self, Platform};
use crate::format::mbr::{BOOT_CODE, Mbr};
use crate::format::{Lba, Medium, SectorSize};

/// MBR partition type of an EFI system partition (UEFI 2.11, table 5.3).
const EF: u8 = 0xEF;
/// Maximum partitions checked as EFI system partitions.
const MOST: usize = 4;

/// Checks a disk with this first sector.
pub(super) fn check(medium: &dyn Medium, sector: Option<SectorSize>, first: &[u8; 512], report: &mut Report) {
    let sector = sector.unwrap_or(SectorSize::S512);
    if iso9660::is_iso(medium) && boot_images(medium, report) {
        return;
    }
    if Bpb::looks_like_fat(first) && Bpb::decode(first).geometry().is_ok() {
        report.add(FAT_BARE, Place::whole(), "a FAT file system without a partition table");
        let spot = (Lba(0), medium.size() / sector.bytes());
        esp::check_one(medium, "volume", spot, sector, sector, report);
        return;
    }
    let partitions = match table::read(medium, sector) {
        Ok(partitions) => partitions,
        Err(MbrFault::Signature) => Vec::new(),
        Err(fault) => {
            report.add(MBR_PARTITIONS, Place::part("MBR").byte(0), fault.to_string());
            Vec::new()
        }
    };
    for part in &partitions {
        let facts = format!("{}, LBA {}, {} sectors", part.type_name(), part.starting_lba, part.sectors);
        report.subjects.push(Subject::new(format!("partition {}", part.number), facts));
    }
    let esps: Vec<&MbrPartition> = partitions.iter().filter(|part| part.os_type == EF).take(MOST).collect();
    if !esps.is_empty() {
        let mbr = Mbr::decode(first);
        // A BIOS boot loader would no longer find its partition or its code, which the GPT overwrites.
        let mend = if mbr.boot_code == [0; BOOT_CODE] && has_room(medium, sector, &partitions) {
            MBR_TABLE.mend
        } else {
            "recreate the image with a GPT"
        };
        let what = "an MBR partition table with an EFI system partition";
        report.add_mended(MBR_TABLE, Place::part("MBR").byte(0), what, mend);
        for part in esps {
            check_partition(medium, part, sector, report);
        }
        return;
    }
    let has_loader = |part: &&MbrPartition| {
        let span = part.starting_lba.offset(sector).zip(part.sectors.checked_mul(sector.bytes()));
        span.is_some_and(|(start, len)| !loaders::machines(medium, start, len).is_empty())
    };
    if let Some(part) = partitions.iter().find(has_loader) {
        let place = Place::part(format!("partition {}", part.number)).lba(part.starting_lba.0, sector);
        let what = format!("a boot loader in a partition of type {:02x}", part.os_type);
        report.add_mended(ESP_TYPE, place, what, "sfdisk --part-type IMAGE NUMBER ef");
        check_partition(medium, part, sector, report);
        return;
    }
    let what = if Mbr::decode(first).bootable {
        "a boot sector without an EFI system partition"
    } else {
        "neither a boot sector nor a partition table"
    };
    report.add(GPT_NONE, Place::whole(), what);
}

/// Checks the boot images for UEFI of an ISO 9660 file system (El Torito). Returns false if there are none.
fn boot_images(medium: &dyn Medium, report: &mut Report) -> bool {
    let entries = iso9660::Volume::open(medium).and_then(|volume| volume.boot_entries()).unwrap_or_default();
    let images: Vec<_> = entries.iter().filter(|entry| entry.platform == Platform::Uefi && entry.bootable).collect();
    for (number, entry) in (1..).zip(images.iter().take(MOST)) {
        let (start, len) = entry.span(medium.size());
        let spot = (Lba(start / SectorSize::S512.bytes()), len / SectorSize::S512.bytes());
        esp::check_one(medium, &format!("boot image {number}"), spot, SectorSize::S512, SectorSize::S512, report);
    }
    !images.is_empty()
}

/// Returns true if a GPT of 128 entries fits before the first partition and after the last one.
fn has_room(medium: &dyn Medium, sector: SectorSize, partitions: &[MbrPartition]) -> bool {
    let (front, back) = (34, 33);
    let last = (medium.size() / sector.bytes()).saturating_sub(back);
    partitions
        .iter()
        .all(|part| part.starting_lba.0 >= front && part.starting_lba.0.saturating_add(part.sectors) <= last)
}

fn check_partition(medium: &dyn Medium, part: &MbrPartition, sector: SectorSize, report: &mut Report) {
    let name = format!("partition {}", part.number);
    esp::check_one(medium, &name, (part.starting_lba, part.sectors), sector, sector, report);
}
