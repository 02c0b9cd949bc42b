//! Partition records of a stamped disk: the protective record, and the active record for old BIOSes.

use super::{Facts, Objection, Records, Request};
use crate::format::mbr::{Mbr, PROTECTIVE, Record};

/// Notes the faults of the protective record, or repairs it. Adds the active record on request.
pub(crate) fn mend(facts: &Facts, mbr: &mut Mbr, request: &Request, notes: &mut Vec<String>) -> Result<(), Objection> {
    if request.fix_mbr {
        fix(facts, mbr)?;
    } else {
        note(facts, mbr, notes);
    }
    if request.bios_active {
        let [_, second, ..] = &mut mbr.records;
        if !second.is_empty() && *second != Record::dummy_active() {
            return Err(Objection::SlotTaken);
        }
        *second = Record::dummy_active();
    }
    Ok(())
}

/// Removes the active record that [`mend`] adds.
pub(crate) fn take_active(mbr: &mut Mbr) {
    let [_, second, ..] = &mut mbr.records;
    if *second == Record::dummy_active() {
        *second = Record::default();
    }
}

/// Returns the objection to restoring saved records of another partitioning. `stamp` never changes the partitioning.
pub(crate) fn against_restoring(mbr: &Mbr, saved: &Records) -> Option<Objection> {
    let foreign =
        |records: &[Record; 4]| records.map(|record| (!matches!(record.kind, 0 | PROTECTIVE)).then_some(record));
    (foreign(&mbr.records) != foreign(&saved.records)).then_some(Objection::OtherRecords)
}

/// Returns the number of sectors that the protective record must cover: all but the first, limited to 32 bits.
fn covered(facts: &Facts) -> Option<u32> {
    facts.sectors().map(|sectors| Record::protective(sectors).sectors)
}

/// Returns true if the record covers `sectors`. The maximum, `0xFFFFFFFF`, is always valid: older tools write it, and
/// an image for both sector sizes has no other correct value.
fn covers(record: &Record, sectors: Option<u32>) -> bool {
    sectors.is_none_or(|sectors| record.sectors == sectors || record.sectors == u32::MAX)
}

/// Returns the valid protective record, or else the first record of the protective type, and its index from 0.
fn protective_record(mbr: &Mbr) -> Option<(usize, Record)> {
    let slot = mbr.protective_slot().or_else(|| mbr.records.iter().position(|record| record.kind == PROTECTIVE))?;
    Some((slot, *mbr.records.get(slot)?))
}

fn fix(facts: &Facts, mbr: &mut Mbr) -> Result<(), Objection> {
    mbr.bootable = true;
    let right = Record::protective(facts.sectors().unwrap_or(u64::MAX));
    if let Some((slot, mut record)) = protective_record(mbr) {
        let placed = record.first_lba == 1 && record.first_chs == right.first_chs && record.indicator == 0;
        if !placed || !covers(&record, covered(facts)) {
            record = right;
        }
        for other in mbr.records.iter_mut().filter(|other| other.kind == PROTECTIVE) {
            *other = Record::default();
        }
        if let Some(place) = mbr.records.get_mut(slot) {
            *place = record;
        }
        // A record of another type, on a hybrid disk, keeps its number.
        let [first, ..] = &mbr.records;
        if first.kind == 0 {
            mbr.records.swap(0, slot);
        }
        return Ok(());
    }
    if mbr.records.iter().any(|record| record.kind != 0) {
        return Err(Objection::WouldHide);
    }
    let [first, ..] = &mut mbr.records;
    *first = right;
    Ok(())
}

/// Notes a protective record that is not the first or not the only one. The first record of a hybrid disk may have
/// another type.
fn note_slot(mbr: &Mbr, slot: usize, wrong: &mut Vec<String>) {
    let [first, ..] = &mbr.records;
    let count = mbr.protective_count();
    if count > 1 {
        wrong.push(format!("the boot record has {count} protective records, but strict readers require exactly one"));
    } else if slot > 0 && first.kind == 0 {
        wrong.push(format!("the protective record is number {}, but strict readers require number 1", slot + 1));
    }
}

fn note(facts: &Facts, mbr: &Mbr, notes: &mut Vec<String>) {
    if facts.tables.is_empty() {
        return;
    }
    let mut wrong = Vec::new();
    match protective_record(mbr) {
        None => wrong.push("the boot record has no protective record: Linux ignores the GPT".to_owned()),
        Some((slot, record)) => {
            note_slot(mbr, slot, &mut wrong);
            if record.first_lba != 1 {
                let from = record.first_lba;
                wrong.push(format!("the protective record starts at sector {from}, not 1: Linux ignores the GPT"));
            }
            if let Some(sectors) = covered(facts).filter(|_| !covers(&record, covered(facts))) {
                let says = record.sectors;
                wrong.push(format!("the protective record covers {says} sectors, expected {sectors}"));
            }
            if record.indicator != 0 {
                wrong.push("the protective record is marked active: some UEFI firmware then ignores the GPT".into());
            }
        }
    }
    let count = wrong.len();
    notes.extend(wrong);
    // The last note has the advice for all of them.
    if let Some(last) = notes.last_mut().filter(|_| count > 0) {
        last.push_str(" (--fix-mbr repairs this)");
    }
}
