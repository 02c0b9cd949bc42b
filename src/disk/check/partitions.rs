//! Checks partitions, in one table or in two that must agree.

use super::rules::gpt::{
    DUAL_OVERLAP, DUAL_SPANS, GPT_GUID, PART_ALIGNMENT, PART_GUID, PART_NO_BLOCK_IO, PART_ORDER, PART_OVERLAP,
    PART_RANGE,
};
use super::{Place, Report};
use crate::format::gpt::{Copy, ENTRY_SIZE, Gpt, Partition, read};
use crate::format::{Guid, Lba, Medium, SectorSize, iso9660};

/// Size of a physical sector of current disks in bytes.
const PAGE: u64 = 4096;

/// Checks the partitions of all tables of a disk.
pub(super) fn check(medium: &dyn Medium, tables: &[Gpt], report: &mut Report) {
    // The partitions of an ISO image are files or gaps of its file system, with blocks of 2048 bytes.
    let iso = iso9660::is_iso(medium);
    match tables {
        [] => {}
        [one] => check_one(one, iso, report),
        [one, rest @ ..] => {
            check_one(one, iso, report);
            for other in rest {
                if spans(one) != spans(other) {
                    let what = format!("the tables for {}-byte and {}-byte sectors differ", one.sector, other.sector);
                    report.add(DUAL_SPANS, Place::part("partitions"), what);
                    check_one(other, iso, report);
                }
                overlaps(medium, one, other, report);
                overlaps(medium, other, one, report);
            }
        }
    }
}

/// Number, byte offset and length, type GUID and unique GUID of a partition.
type Span = (u32, Option<(u64, u64)>, Guid, Guid);

fn spans(gpt: &Gpt) -> Vec<Span> {
    gpt.partitions.iter().map(|part| (part.number, part.span(gpt.sector), part.type_guid, part.unique_guid)).collect()
}

fn name(partition: &Partition) -> String {
    format!("partition {}", partition.number)
}

fn check_one(gpt: &Gpt, iso: bool, report: &mut Report) {
    let sector = gpt.sector;
    for part in &gpt.partitions {
        let place = || Place::part(name(part)).lba(part.starting_lba.0, sector);
        let (first, last) = (part.starting_lba, part.ending_lba);
        if last < first {
            report.add(PART_ORDER, place(), format!("starting LBA {first}, ending LBA {last}"));
            continue;
        }
        let header = &gpt.header;
        if first < header.first_usable_lba || last > header.last_usable_lba {
            let (from, to) = (header.first_usable_lba, header.last_usable_lba);
            report.add(PART_RANGE, place(), format!("LBA {first} to {last}, usable are {from} to {to}"));
        }
        // A BIOS boot partition is read once, at boot; it often fills the gap after the table.
        let aligned = first.offset(sector).is_some_and(|offset| offset.is_multiple_of(PAGE));
        if !aligned && !iso && part.type_guid != Guid::BIOS_BOOT {
            report.add(PART_ALIGNMENT, place(), format!("LBA {first} of {sector} bytes is not a multiple of {PAGE}"));
        }
        if part.type_guid == Guid::ESP && part.attributes & Partition::NO_BLOCK_IO != 0 {
            report.add(PART_NO_BLOCK_IO, place(), format!("attributes are {:016x}", part.attributes));
        }
        if part.unique_guid == Guid::ZERO {
            report.add(GPT_GUID, place(), "the partition GUID is zero");
        }
    }
    overlapping(gpt, report);
    duplicate_guids(gpt, report);
}

fn overlapping(gpt: &Gpt, report: &mut Report) {
    let mut parts: Vec<&Partition> =
        gpt.partitions.iter().filter(|part| part.ending_lba >= part.starting_lba).collect();
    parts.sort_by_key(|part| part.starting_lba);
    let mut before: Option<&Partition> = None;
    for part in parts {
        if let Some(other) = before.filter(|other| other.ending_lba >= part.starting_lba) {
            let what = format!("starts in partition {}, which ends at LBA {}", other.number, other.ending_lba);
            report.add(PART_OVERLAP, Place::part(name(part)).lba(part.starting_lba.0, gpt.sector), what);
        }
        before = before.filter(|other| other.ending_lba > part.ending_lba).or(Some(part));
    }
}

fn duplicate_guids(gpt: &Gpt, report: &mut Report) {
    let mut parts: Vec<&Partition> = gpt.partitions.iter().filter(|part| part.unique_guid != Guid::ZERO).collect();
    parts.sort_by_key(|part| (part.unique_guid, part.number));
    for pair in parts.windows(2).filter(|pair| pair[0].unique_guid == pair[1].unique_guid) {
        let what = format!("partition {} has the same GUID, {}", pair[0].number, pair[0].unique_guid);
        report.add(PART_GUID, Place::part(name(pair[1])).lba(pair[1].starting_lba.0, gpt.sector), what);
    }
}

/// Returns name, byte offset and length of the header and the entries of each readable copy of a table.
fn table_ranges(medium: &dyn Medium, gpt: &Gpt) -> Vec<(&'static str, u64, u64)> {
    let copies =
        [(Copy::Primary, "primary header", "primary entries"), (Copy::Backup, "backup header", "backup entries")];
    let at = |lba: Lba| lba.offset(gpt.sector).unwrap_or(u64::MAX);
    let read = |(copy, header, entries)| {
        let found = read(&medium, gpt.sector, copy).ok()?.header;
        let array = u64::from(found.number_of_partition_entries) * ENTRY_SIZE as u64;
        // The rest of the header's sector is unused: two backups may share the last 4096 bytes.
        Some([(header, at(found.my_lba), found.header_size.into()), (entries, at(found.partition_entry_lba), array)])
    };
    copies.into_iter().filter_map(read).flatten().collect()
}

/// Reports each part of `one` that overlaps the partitions or the table of `other`.
fn overlaps(medium: &dyn Medium, one: &Gpt, other: &Gpt, report: &mut Report) {
    let theirs = table_ranges(medium, other);
    for (what, start, len) in table_ranges(medium, one) {
        let hits = |from: u64, length: u64| start < from.saturating_add(length) && from < start.saturating_add(len);
        let place = || Place::part(format!("GPT for {}-byte sectors", one.sector)).byte(start);
        let parts = other.partitions.iter().filter_map(|part| Some((part, part.span(other.sector)?)));
        for (part, _) in parts.filter(|(_, (from, length))| hits(*from, *length)) {
            report.add(DUAL_OVERLAP, place(), format!("the {what} overlap partition {}", part.number));
        }
        // Report each overlap of the two tables only once.
        let first = one.sector == SectorSize::S512;
        for (theirs, _, _) in theirs.iter().filter(|(_, from, length)| first && hits(*from, *length)) {
            report.add(DUAL_OVERLAP, place(), format!("the {what} overlap the {theirs} of the other table"));
        }
    }
}
