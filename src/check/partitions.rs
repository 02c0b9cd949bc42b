//! Partitions, in one table or in two that must agree.

use super::rules::gpt::{
    DUAL_OVERLAP, DUAL_SPANS, GPT_GUID, PART_ALIGNMENT, PART_GUID, PART_ORDER, PART_OVERLAP, PART_RANGE,
};
use super::{Place, Report};
use crate::disk::gpt::{ENTRY_SIZE, Gpt, Partition};
use crate::disk::{Guid, SectorSize};

const MIB: u64 = 1 << 20;

/// Checks the partitions of all tables of a disk.
pub(super) fn check(tables: &[Gpt], report: &mut Report) {
    match tables {
        [] => {}
        [one] => check_one(one, report),
        [one, rest @ ..] => {
            check_one(one, report);
            for other in rest {
                if spans(one) != spans(other) {
                    let what = format!("the tables for {}- and {}-byte sectors differ", one.sector, other.sector);
                    report.add(DUAL_SPANS, Place::part("partitions"), what);
                    check_one(other, report);
                }
                overlaps(one, other, report);
                overlaps(other, one, report);
            }
        }
    }
}

/// Number, place in bytes, kind and name of a partition.
type Span = (u32, Option<(u64, u64)>, Guid, Guid);

fn spans(gpt: &Gpt) -> Vec<Span> {
    gpt.partitions.iter().map(|part| (part.number, part.span(gpt.sector), part.kind, part.id)).collect()
}

fn name(partition: &Partition) -> String {
    format!("partition {}", partition.number)
}

fn check_one(gpt: &Gpt, report: &mut Report) {
    let sector = gpt.sector;
    for part in &gpt.partitions {
        let place = || Place::part(name(part)).lba(part.first.0, sector);
        let (first, last) = (part.first, part.last);
        if last < first {
            report.add(PART_ORDER, place(), format!("it goes from LBA {first} to {last}"));
            continue;
        }
        let header = &gpt.header;
        if first < header.first_usable || last > header.last_usable {
            let (from, to) = (header.first_usable, header.last_usable);
            report.add(PART_RANGE, place(), format!("LBA {first} to {last}, but usable are {from} to {to}"));
        }
        if first.offset(sector).is_none_or(|offset| !offset.is_multiple_of(MIB)) {
            report.add(PART_ALIGNMENT, place(), format!("LBA {first} of {sector} bytes is no multiple of 1 MiB"));
        }
        if part.id == Guid::ZERO {
            report.add(GPT_GUID, place(), "its GUID is zero");
        }
    }
    overlapping(gpt, report);
    twins(gpt, report);
}

fn overlapping(gpt: &Gpt, report: &mut Report) {
    let mut parts: Vec<&Partition> = gpt.partitions.iter().filter(|part| part.last >= part.first).collect();
    parts.sort_by_key(|part| part.first);
    let mut before: Option<&Partition> = None;
    for part in parts {
        if let Some(other) = before.filter(|other| other.last >= part.first) {
            let what = format!("it begins in partition {}, which ends at LBA {}", other.number, other.last);
            report.add(PART_OVERLAP, Place::part(name(part)).lba(part.first.0, gpt.sector), what);
        }
        before = before.filter(|other| other.last > part.last).or(Some(part));
    }
}

fn twins(gpt: &Gpt, report: &mut Report) {
    let mut parts: Vec<&Partition> = gpt.partitions.iter().filter(|part| part.id != Guid::ZERO).collect();
    parts.sort_by_key(|part| (part.id, part.number));
    for pair in parts.windows(2).filter(|pair| pair[0].id == pair[1].id) {
        let what = format!("partition {} has the same GUID, {}", pair[0].number, pair[0].id);
        report.add(PART_GUID, Place::part(name(pair[1])).lba(pair[1].first.0, gpt.sector), what);
    }
}

/// Where a table itself stands, in bytes: headers and entries of both copies.
fn own(gpt: &Gpt) -> [(&'static str, u64, u64); 4] {
    let size = gpt.sector.bytes();
    let header = &gpt.header;
    let array = (u64::from(header.entry_count) * ENTRY_SIZE as u64).next_multiple_of(size);
    let at = |lba: u64| lba.saturating_mul(size);
    let backup = at(header.alternate_lba.0.max(header.my_lba.0));
    let entries = if header.my_lba.0 == 1 { at(header.entries_lba.0) } else { at(2) };
    [
        ("primary header", size, size),
        ("primary entries", entries, array),
        ("backup entries", backup.saturating_sub(array), array),
        ("backup header", backup, size),
    ]
}

/// Whether something of `one` lies in what `other` uses.
fn overlaps(one: &Gpt, other: &Gpt, report: &mut Report) {
    for (what, start, len) in own(one) {
        let hits = |from: u64, length: u64| start < from.saturating_add(length) && from < start.saturating_add(len);
        let place = || Place::part(format!("GPT for {}-byte sectors", one.sector)).byte(start);
        let parts = other.partitions.iter().filter_map(|part| Some((part, part.span(other.sector)?)));
        for (part, _) in parts.filter(|(_, (from, length))| hits(*from, *length)) {
            report.add(DUAL_OVERLAP, place(), format!("its {what} lie in partition {}", part.number));
        }
        // Of the two tables' own parts, each pair is told once.
        let first = one.sector == SectorSize::S512;
        for (theirs, _, _) in own(other).into_iter().filter(|(_, from, length)| first && hits(*from, *length)) {
            report.add(DUAL_OVERLAP, place(), format!("its {what} lie in the other's {theirs}"));
        }
    }
}
