//! Checks the protective MBR of a GPT disk.

use super::rules::mbr::{
    MBR_ACTIVE, MBR_SIGNATURE, PMBR_CHS, PMBR_FLAG, PMBR_HYBRID, PMBR_MISSING, PMBR_SIZE, PMBR_SLOT,
};
use super::{Place, Report, Rule};
use crate::format::gpt::Gpt;
use crate::format::mbr::{Mbr, Record};

/// Remedy for a protective record, for a disk that `bootling stamp` refuses. Preserves the boot code.
const GDISK: &str = PMBR_HYBRID.mend;
/// Same without any protective record: gdisk then asks which table to use.
const GDISK_MISSING: &str = "printf '2\\nx\\nn\\nw\\ny\\n' | gdisk IMAGE";

/// Checks the MBR of a disk of `size` bytes with these partition tables. `stamps`: `bootling stamp` accepts the disk.
pub(super) fn check(mbr: &Mbr, size: u64, tables: &[Gpt], stamps: bool, report: &mut Report) {
    let mend = |rule: &Rule| if stamps { rule.mend } else { GDISK };
    let place = || Place::part("MBR").byte(0);
    if !mbr.bootable {
        report.add_mended(MBR_SIGNATURE, place().byte(510), "boot signature 55 AA missing", mend(&MBR_SIGNATURE));
    }
    let Some((slot, record)) = mbr.protective_slot().and_then(|slot| Some((slot, mbr.records.get(slot)?))) else {
        let mend = if stamps { PMBR_MISSING.mend } else { GDISK_MISSING };
        report.add_mended(PMBR_MISSING, place(), format!("record types are {}", kinds(&mbr.records)), mend);
        return;
    };
    let place = || Place::part(format!("MBR record {}", slot + 1)).byte(446 + 16 * slot as u64);
    if slot != 0 || mbr.protective_count() > 1 {
        report.add_mended(PMBR_SLOT, place(), format!("record types are {}", kinds(&mbr.records)), mend(&PMBR_SLOT));
    }
    if record.indicator != 0 {
        let what = format!("first byte is {:02x}, expected 00", record.indicator);
        report.add_mended(PMBR_FLAG, place(), what, mend(&PMBR_FLAG));
    }
    if record.first_chs != [0, 2, 0] {
        let [head, sector, cylinder] = record.first_chs;
        let what = format!("CHS {head:02x} {sector:02x} {cylinder:02x}, expected 00 02 00");
        report.add_mended(PMBR_CHS, place(), what, mend(&PMBR_CHS));
    }
    // The protective record of a hybrid MBR ends at its first partition.
    if mbr.is_hybrid() {
        report.add(PMBR_HYBRID, place(), format!("record types are {}", kinds(&mbr.records)));
    } else {
        check_size(record, size, tables, (&place(), mend(&PMBR_SIZE)), report);
    }
    let active = mbr.records.iter().position(|record| record.indicator == 0x80 && record.kind == 0);
    if let Some(active) = active {
        let place = Place::part(format!("MBR record {}", active + 1)).byte(446 + 16 * active as u64);
        report.add(MBR_ACTIVE, place, "an active record of type 00");
    }
}

fn check_size(record: &Record, size: u64, tables: &[Gpt], (place, mend): (&Place, &'static str), report: &mut Report) {
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
    report.add_mended(PMBR_SIZE, place.clone(), what, mend);
}

fn kinds(records: &[Record; 4]) -> String {
    records.map(|record| format!("{:02X}", record.kind)).join(" ")
}
