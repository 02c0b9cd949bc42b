//! Checks the protective MBR of a GPT disk.

use super::rules::mbr::{
    MBR_ACTIVE, MBR_SIGNATURE, PMBR_CHS, PMBR_FLAG, PMBR_HYBRID, PMBR_MISSING, PMBR_SIZE, PMBR_SLOT,
};
use super::{Place, Report};
use crate::format::gpt::Gpt;
use crate::format::mbr::{Mbr, Record};

/// Checks the MBR of a disk of `size` bytes with these partition tables.
pub(super) fn check(mbr: &Mbr, size: u64, tables: &[Gpt], report: &mut Report) {
    let place = || Place::part("MBR").byte(0);
    if !mbr.bootable {
        report.add(MBR_SIGNATURE, place().byte(510), "boot signature 55 AA missing");
    }
    let Some((slot, record)) = mbr.protective_slot().and_then(|slot| Some((slot, mbr.records.get(slot)?))) else {
        report.add(PMBR_MISSING, place(), format!("record types are {}", kinds(&mbr.records)));
        return;
    };
    let place = || Place::part(format!("MBR record {}", slot + 1)).byte(446 + 16 * slot as u64);
    if slot != 0 || mbr.protective_count() > 1 {
        report.add(PMBR_SLOT, place(), format!("record types are {}", kinds(&mbr.records)));
    }
    if record.indicator != 0 {
        report.add(PMBR_FLAG, place(), format!("first byte is {:02x}, expected 00", record.indicator));
    }
    if record.first_chs != [0, 2, 0] {
        let [head, sector, cylinder] = record.first_chs;
        report.add(PMBR_CHS, place(), format!("CHS {head:02x} {sector:02x} {cylinder:02x}, expected 00 02 00"));
    }
    check_size(record, size, tables, &place(), report);
    if mbr.is_hybrid() {
        report.add(PMBR_HYBRID, place(), format!("record types are {}", kinds(&mbr.records)));
    }
    let active = mbr.records.iter().position(|record| record.indicator == 0x80 && record.kind == 0);
    if let Some(active) = active {
        let place = Place::part(format!("MBR record {}", active + 1)).byte(446 + 16 * active as u64);
        report.add(MBR_ACTIVE, place, "an active record of type 00");
    }
}

fn check_size(record: &Record, size: u64, tables: &[Gpt], place: &Place, report: &mut Report) {
    // Readers for both sector sizes accept only FFFFFFFF, unless the size is right for both.
    let right = |gpt: &Gpt| {
        let wanted = (size / gpt.sector.bytes()).saturating_sub(1);
        u64::from(record.sectors) == wanted.min(u64::from(u32::MAX))
    };
    if record.sectors == u32::MAX || tables.iter().all(right) {
        return;
    }
    let counted: Vec<String> = tables
        .iter()
        .map(|gpt| format!("{} of {} bytes", (size / gpt.sector.bytes()).saturating_sub(1), gpt.sector))
        .collect();
    let what = format!("size is {} sectors, expected {}", record.sectors, counted.join(" or "));
    report.add(PMBR_SIZE, place.clone(), what);
}

fn kinds(records: &[Record; 4]) -> String {
    records.map(|record| format!("{:02X}", record.kind)).join(" ")
}
