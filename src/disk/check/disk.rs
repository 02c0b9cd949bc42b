//! Checks a whole disk.

use super::rules::gpt::GPT_NONE;
use super::rules::mbr::{MBR_PARTITIONS, MBR_TABLE, SIZE_MIB, SIZE_SECTOR};
use super::{MOST_UNPACKED, Place, Report, Subject, boot_code, esp, gpt, mbr, partitions};
use crate::disk::mbr::{self as mbr_table, MbrFault};
use crate::format::mbr::{Mbr, Record};
use crate::format::{Lba, Medium, SectorSize, gpt as table};

/// MBR partition type of an EFI system partition (UEFI 2.11, table 5.3).
const EF: u8 = 0xEF;

/// Checks a disk. `sector` is its sector size, if that is known independently of the content, as for a block device.
pub fn disk(medium: &dyn Medium, sector: Option<SectorSize>) -> Report {
    disk_within(medium, sector, MOST_UNPACKED)
}

/// Same as [`disk`], but unpacks at most `unpackable` bytes of initrds.
pub fn disk_within(medium: &dyn Medium, sector: Option<SectorSize>, unpackable: u64) -> Report {
    let mut report = Report::within(unpackable);
    let size = medium.size();
    let tables = table::probe(&medium);
    report.subjects.push(Subject::new("disk", facts(size, &tables)));
    if !size.is_multiple_of(512) {
        report.add(SIZE_SECTOR, Place::whole(), format!("{size} bytes: {} past the last whole sector", size % 512));
    } else if !size.is_multiple_of(1 << 20) {
        report.add(SIZE_MIB, Place::whole(), format!("{size} bytes, not a multiple of 1 MiB"));
    }
    let mut first = [0; 512];
    if medium.read_at(&mut first, 0).is_err() {
        report.add(GPT_NONE, Place::whole(), format!("the first sector cannot be read (size {size} bytes)"));
        return report;
    }
    let record = Mbr::decode(&first);
    let hinted = gpt::hints(medium);
    if tables.is_empty() && hinted.is_empty() {
        check_mbr_disk(medium, sector, (&record, &first), &mut report);
        return report;
    }
    mbr::check(&record, size, &tables, &mut report);
    boot_code::check(&record, &tables, &mut report);
    for sector in hinted {
        gpt::check(medium, sector, &mut report);
    }
    if tables.is_empty() {
        report.add(GPT_NONE, Place::whole(), "no usable copy of a GPT");
    }
    gpt::check_sector(sector, &tables, &mut report);
    partitions::check(medium, &tables, &mut report);
    esp::check(medium, &tables, &mut report);
    report
}

/// Checks a disk without a GPT: UEFI can only boot it by its MBR partition table.
fn check_mbr_disk(
    medium: &dyn Medium,
    sector: Option<SectorSize>,
    (record, first): (&Mbr, &[u8; 512]),
    report: &mut Report,
) {
    let partitions = match mbr_table::read(medium, sector.unwrap_or(SectorSize::S512)) {
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
    let used: Vec<&Record> = record.records.iter().filter(|record| record.kind == EF && record.sectors > 0).collect();
    if used.is_empty() || !record.bootable {
        let what = match crate::format::fat::Bpb::looks_like_fat(first) {
            true => "a FAT file system without a partition table",
            false if record.bootable => "a boot sector without an EFI system partition",
            false => "neither a boot sector nor a partition table",
        };
        report.add(GPT_NONE, Place::whole(), what);
        return;
    }
    report.add(MBR_TABLE, Place::part("MBR").byte(0), "an MBR partition table with an EFI system partition");
    for record in used {
        let spot = (Lba(record.first_lba.into()), u64::from(record.sectors));
        esp::one(medium, "EFI system partition", spot, SectorSize::S512, SectorSize::S512, report);
    }
}

/// Returns the facts about a disk: size, tables, partitions.
fn facts(size: u64, tables: &[table::Gpt]) -> String {
    let sectors: Vec<String> = tables.iter().map(|gpt| gpt.sector.to_string()).collect();
    let count = tables.first().map_or(0, |gpt| gpt.partitions.len());
    let partitions = format!("{count} partition{}", if count == 1 { "" } else { "s" });
    let tables = match sectors.as_slice() {
        [] => "no GPT".to_owned(),
        [one] => format!("GPT of {one}-byte sectors, {partitions}"),
        [..] => format!("GPTs of {}-byte sectors, {partitions}", sectors.join(" and ")),
    };
    format!("{size} bytes, {tables}")
}
