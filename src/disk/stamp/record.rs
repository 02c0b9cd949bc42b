//! The partition records of a stamped disk: the protective one, and the active one for old BIOSes.

use super::{Facts, Objection, Records, Wish};
use crate::format::mbr::{Mbr, PROTECTIVE, Record};

/// Notes what is wrong with the protective record, or mends it; puts the active one in where that is wished.
pub fn mend(facts: &Facts, mbr: &mut Mbr, wish: &Wish, notes: &mut Vec<String>) -> Result<(), Objection> {
    if wish.fix_mbr {
        fix(facts, mbr)?;
    } else {
        note(facts, mbr, notes);
    }
    if wish.bios_active {
        let [_, second, ..] = &mut mbr.records;
        if !second.is_empty() && *second != Record::dummy_active() {
            return Err(Objection::SlotTaken);
        }
        *second = Record::dummy_active();
    }
    Ok(())
}

/// Takes the active record out where it is the one that [`mend`] puts there.
pub fn take_active(mbr: &mut Mbr) {
    let [_, second, ..] = &mut mbr.records;
    if *second == Record::dummy_active() {
        *second = Record::default();
    }
}

/// What speaks against putting saved records back: they are of another partitioning, which nothing here ever changes.
pub fn against_restoring(mbr: &Mbr, saved: &Records) -> Option<Objection> {
    let foreign =
        |records: &[Record; 4]| records.map(|record| (!matches!(record.kind, 0 | PROTECTIVE)).then_some(record));
    (foreign(&mbr.records) != foreign(&saved.records)).then_some(Objection::OtherRecords)
}

/// How many sectors the record must cover: all but the first, or as many as it can say.
fn covered(facts: &Facts) -> Option<u32> {
    facts.sectors().map(|sectors| Record::protective(sectors).sectors)
}

/// Whether the record covers what it must. "As many as there can be" is right everywhere: older tools wrote it, and for
/// an image for both sizes of sectors nothing else can be.
fn covers(record: &Record, sectors: Option<u32>) -> bool {
    sectors.is_none_or(|sectors| record.sectors == sectors || record.sectors == u32::MAX)
}

/// The record that protects the GPT, or else the first one that is meant to, and its slot from 0.
fn meant(mbr: &Mbr) -> Option<(usize, Record)> {
    let slot = mbr.protective_slot().or_else(|| mbr.records.iter().position(|record| record.kind == PROTECTIVE))?;
    Some((slot, *mbr.records.get(slot)?))
}

fn fix(facts: &Facts, mbr: &mut Mbr) -> Result<(), Objection> {
    mbr.bootable = true;
    let right = Record::protective(facts.sectors().unwrap_or(u64::MAX));
    if let Some((slot, mut record)) = meant(mbr) {
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
        // Somebody else's record, that of a hybrid disk, keeps its number.
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

/// Notes a protective record that is not the first one, or not the only one. What stands in the first slot of a hybrid
/// disk stays there.
fn note_slot(mbr: &Mbr, slot: usize, wrong: &mut Vec<String>) {
    let [first, ..] = &mbr.records;
    let count = mbr.protective_count();
    if count > 1 {
        wrong.push(format!("{count} of its records are protective, but strict readers want one alone"));
    } else if slot > 0 && first.kind == 0 {
        wrong.push(format!("its protective record is number {}, but strict readers want the first one", slot + 1));
    }
}

fn note(facts: &Facts, mbr: &Mbr, notes: &mut Vec<String>) {
    if facts.tables.is_empty() {
        return;
    }
    let mut wrong = Vec::new();
    if !mbr.bootable {
        wrong.push("its boot record does not end with 55 AA, without which no BIOS starts it".to_owned());
    }
    match meant(mbr) {
        None => wrong.push("its boot record has no protective partition, without which Linux sees no GPT".to_owned()),
        Some((slot, record)) => {
            note_slot(mbr, slot, &mut wrong);
            if record.first_lba != 1 {
                let from = record.first_lba;
                wrong.push(format!("its protective record begins at sector {from}, not 1: Linux sees no GPT"));
            }
            if let Some(sectors) = covered(facts).filter(|_| !covers(&record, covered(facts))) {
                let says = record.sectors;
                wrong.push(format!("its protective record covers {says} sectors, but {sectors} follow the first one"));
            }
            if record.indicator != 0 {
                wrong
                    .push("its protective record is marked active: some UEFI firmware then takes it for no GPT".into());
            }
        }
    }
    let count = wrong.len();
    notes.extend(wrong);
    // Said once, behind the last of them.
    if let Some(last) = notes.last_mut().filter(|_| count > 0) {
        last.push_str(" (--fix-mbr mends that)");
    }
}
