//! The partition records of a stamped disk: the protective one, and the active one for old BIOSes.

use super::{Facts, Objection, Wish};
use crate::disk::mbr::{Mbr, PROTECTIVE, Record};

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

/// How many sectors the record must cover: all but the first, or as many as it can say.
fn covered(facts: &Facts) -> Option<u32> {
    facts.sectors().map(|sectors| Record::protective(sectors).sectors)
}

/// Whether the record covers what it must. "As many as there can be" is right everywhere: older tools wrote it, and for
/// an image for both sizes of sectors nothing else can be.
fn covers(record: &Record, sectors: Option<u32>) -> bool {
    sectors.is_none_or(|sectors| record.sectors == sectors || record.sectors == u32::MAX)
}

fn fix(facts: &Facts, mbr: &mut Mbr) -> Result<(), Objection> {
    mbr.bootable = true;
    let right = Record::protective(facts.sectors().unwrap_or(u64::MAX));
    if let Some(record) = mbr.records.iter_mut().find(|record| record.kind == PROTECTIVE) {
        let placed = record.first_lba == 1 && record.first_chs == right.first_chs && record.indicator == 0;
        if !placed || !covers(record, covered(facts)) {
            *record = right;
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

fn note(facts: &Facts, mbr: &Mbr, notes: &mut Vec<String>) {
    if facts.tables.is_empty() {
        return;
    }
    let mut wrong = Vec::new();
    if !mbr.bootable {
        wrong.push("its boot record does not end with 55 AA, without which no BIOS starts it".to_owned());
    }
    match mbr.records.iter().find(|record| record.kind == PROTECTIVE) {
        None => wrong.push("its boot record has no protective partition, without which Linux sees no GPT".to_owned()),
        Some(record) => {
            if record.first_lba != 1 {
                let from = record.first_lba;
                wrong.push(format!("its protective record begins at sector {from}, not 1: Linux sees no GPT"));
            }
            if let Some(sectors) = covered(facts).filter(|_| !covers(record, covered(facts))) {
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
