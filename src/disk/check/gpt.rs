//! Checks both copies of a GPT.

use super::rules::gpt::{
    GPT_ALTERNATE, GPT_ARRAY, GPT_BACKUP, GPT_COPIES, GPT_ENTRIES, GPT_ENTRY_COUNT, GPT_ENTRY_SIZE, GPT_GUID,
    GPT_PRIMARY, GPT_REVISION, GPT_SECTOR, GPT_USABLE,
};
use super::{Place, Report, Rule};
use crate::format::gpt::{Copy, ENTRY_SIZE, EntriesFault, Fault, Gpt, Header, read};
use crate::format::{Guid, Medium, SectorSize, Window};

/// Minimum bytes reserved for partition entries (UEFI 2.11, section 5.3.1).
const ARRAY: u64 = 16_384;

/// Returns the sector sizes for which a GPT header, valid or not, is at its place.
pub(super) fn hints(medium: &dyn Medium) -> Vec<SectorSize> {
    let signed = |offset: u64| {
        let mut bytes = [0; 8];
        medium.read_at(&mut bytes, offset).is_ok() && &bytes == b"EFI PART"
    };
    let at = |sector: &SectorSize| signed(sector.bytes()) || signed(last_lba(medium, *sector) * sector.bytes());
    SectorSize::ALL.into_iter().filter(at).collect()
}

/// Returns the last LBA of the disk.
fn last_lba(medium: &dyn Medium, sector: SectorSize) -> u64 {
    (medium.size() / sector.bytes()).saturating_sub(1)
}

/// Checks both copies of the GPT for sectors of size `sector`.
pub(super) fn check(medium: &dyn Medium, sector: SectorSize, report: &mut Report) {
    let last = last_lba(medium, sector);
    let primary = read(&medium, sector, Copy::Primary);
    let mut faults = Vec::new();
    if let Err(fault) = &primary {
        faults.push((fault, GPT_PRIMARY, Place::part("primary GPT").lba(1, sector)));
    }
    let alternate = primary.as_ref().ok().map(|gpt| gpt.header.alternate_lba.0).filter(|lba| *lba != last);
    let backup = match alternate {
        None => read(&medium, sector, Copy::Backup).map_err(|fault| (fault, last)),
        Some(lba) => {
            let place = Place::part("primary GPT").lba(1, sector);
            report.add_mended(GPT_ALTERNATE, place, misplaced(lba, last), moved(primary.as_ref().ok(), last));
            // The table has the former size of the disk: its backup is in the last sector of that size.
            let end = lba.saturating_add(1).saturating_mul(sector.bytes());
            read(&Window::new(medium, 0, end), sector, Copy::Backup).map_err(|fault| (fault, lba))
        }
    };
    match &backup {
        // A backup past the end of the disk is already reported.
        Err((_, stands)) if *stands > last => {}
        Err((fault, stands)) => faults.push((fault, GPT_BACKUP, Place::part("backup GPT").lba(*stands, sector))),
        Ok(_) => {}
    }
    let other = primary.is_ok() || backup.is_ok();
    for (fault, rule, place) in faults {
        report_fault(fault, rule, place, other, report);
    }
    let primary = primary.ok();
    let backup = backup.ok();
    if let (Some(primary), Some(backup)) = (&primary, &backup) {
        compare(primary, backup, report);
    }
    if let Some(gpt) = &primary {
        header(&gpt.header, &Place::part("primary GPT").lba(1, sector), report);
        usable(gpt, sector, report);
    } else if let Some(gpt) = &backup {
        header(&gpt.header, &Place::part("backup GPT").lba(gpt.header.my_lba.0, sector), report);
    }
    if let Some(gpt) = &backup {
        usable_backup(gpt, sector, report);
    }
}

/// Returns the remedy that moves the backup to the end of the disk, where it needs room after the last partition.
fn moved(gpt: Option<&Gpt>, last: u64) -> &'static str {
    let end = gpt.and_then(|gpt| gpt.partitions.iter().map(|part| part.ending_lba.0).max()).unwrap_or(0);
    if end < last.saturating_sub(33) { GPT_ALTERNATE.mend } else { "restore the complete image" }
}

fn misplaced(lba: u64, last: u64) -> String {
    if lba > last {
        format!("AlternateLBA is {lba}, last LBA of the disk is {last}: the disk was truncated")
    } else {
        format!("AlternateLBA is {lba}, last LBA of the disk is {last}: the disk has grown, or data was appended")
    }
}

/// Reports why a copy is unusable. `other` is true if the other copy is usable.
fn report_fault(fault: &Fault, header: Rule, place: Place, other: bool, report: &mut Report) {
    let (rule, what) = match fault {
        Fault::Header { fault, .. } => (header, fault.to_string()),
        Fault::WrongLba { my_lba, expected, .. } => (header, format!("MyLBA is {my_lba}, expected {expected}")),
        Fault::Read { offset, .. } if place.offset == Some(*offset) => (header, "the header cannot be read".to_owned()),
        Fault::Read { offset, .. } => (GPT_ENTRIES, format!("the entries at byte {offset} cannot be read")),
        Fault::Entries { fault, .. } => {
            let rule = match fault {
                EntriesFault::EntrySize(_) => GPT_ENTRY_SIZE,
                EntriesFault::TooLarge { .. } => GPT_ENTRY_COUNT,
                EntriesFault::Checksum { .. } => GPT_ENTRIES,
            };
            (rule, fault.to_string())
        }
    };
    let works = other && !matches!(fault, Fault::Read { .. });
    report.add_mended(rule, place, what, if works { rule.mend } else { GPT_USABLE.mend });
}

/// Checks the fields of one header.
fn header(header: &Header, place: &Place, report: &mut Report) {
    if header.revision != 0x0001_0000 {
        report.add(GPT_REVISION, place.clone(), format!("revision {:08x}, expected 00010000", header.revision));
    }
    if header.disk_guid == Guid::ZERO {
        report.add(GPT_GUID, place.clone(), "the disk GUID is zero");
    }
}

/// Checks that enough space is reserved for entries, regardless of their number.
fn array(room: u64, sector: SectorSize, place: Place, report: &mut Report) {
    let room = room.saturating_mul(sector.bytes());
    if room < ARRAY {
        report.add(GPT_ARRAY, place, format!("{room} bytes reserved for partition entries"));
    }
}

/// Returns the number of sectors that the entries use.
fn entry_sectors(header: &Header, sector: SectorSize) -> u64 {
    (u64::from(header.number_of_partition_entries) * ENTRY_SIZE as u64).div_ceil(sector.bytes())
}

fn usable(gpt: &Gpt, sector: SectorSize, report: &mut Report) {
    let header = &gpt.header;
    let (first, last) = (header.first_usable_lba.0, header.last_usable_lba.0);
    let end = header.partition_entry_lba.0.saturating_add(entry_sectors(header, sector));
    let place = || Place::part("primary GPT").lba(1, sector);
    array(first.saturating_sub(header.partition_entry_lba.0), sector, place(), report);
    if header.partition_entry_lba.0 < 2 || end > first {
        let what =
            format!("entries from LBA {} to before LBA {end}, first usable LBA is {first}", header.partition_entry_lba);
        report.add(GPT_USABLE, place(), what);
    }
    if first > last || last >= header.alternate_lba.0 {
        let what = format!("usable from LBA {first} to {last}, backup at LBA {}", header.alternate_lba);
        report.add(GPT_USABLE, place(), what);
    }
}

fn usable_backup(gpt: &Gpt, sector: SectorSize, report: &mut Report) {
    let header = &gpt.header;
    let end = header.partition_entry_lba.0.saturating_add(entry_sectors(header, sector));
    let room = header.my_lba.0.saturating_sub(header.last_usable_lba.0.saturating_add(1));
    array(room, sector, Place::part("backup GPT").lba(header.my_lba.0, sector), report);
    if header.partition_entry_lba <= header.last_usable_lba || end > header.my_lba.0 {
        let (place, lba) = (Place::part("backup GPT").lba(header.my_lba.0, sector), header.partition_entry_lba);
        let what = format!("entries at LBA {lba}, last usable LBA is {}", header.last_usable_lba);
        report.add(GPT_USABLE, place, what);
    }
}

/// Checks that both copies agree.
fn compare(primary: &Gpt, backup: &Gpt, report: &mut Report) {
    let (one, other) = (&primary.header, &backup.header);
    let differs = [
        (one.disk_guid != other.disk_guid, "the disk GUID"),
        (
            (one.first_usable_lba, one.last_usable_lba) != (other.first_usable_lba, other.last_usable_lba),
            "the usable sectors",
        ),
        (one.number_of_partition_entries != other.number_of_partition_entries, "the number of entries"),
        (primary.partitions != backup.partitions, "the partitions"),
        (other.alternate_lba != one.my_lba, "the LBA of the primary header"),
    ];
    for (_, what) in differs.iter().filter(|(differs, _)| *differs) {
        let place = Place::part("backup GPT").lba(other.my_lba.0, backup.sector);
        report.add(GPT_COPIES, place, format!("the copies differ in {what}"));
    }
}

/// Checks that a table exists for the sector size of the disk, if that is known.
pub(super) fn check_sector(known: Option<SectorSize>, tables: &[Gpt], report: &mut Report) {
    let Some(known) = known else { return };
    if let (true, Some(gpt)) = (tables.iter().all(|gpt| gpt.sector != known), tables.first()) {
        let what = format!("the disk has {known}-byte sectors, the GPT is for {}-byte sectors", gpt.sector);
        report.add(GPT_SECTOR, Place::part("primary GPT").lba(1, gpt.sector), what);
    }
}
