//! Checks a whole disk.

use super::rules::gpt::{DUAL_SPANS, GPT_ENTRY_SIZE, GPT_NONE};
use super::rules::mbr::{SIZE_MIB, SIZE_SECTOR};
use super::{MOST_UNPACKED, Place, Report, Rule, Subject, boot_code, esp, gpt, mbr, no_gpt, partitions};
use crate::disk::stamp::{Action, Facts, Request, plan};
use crate::format::mbr::{BOOT_CODE, Mbr};
use crate::format::{Medium, SectorSize, gpt as table, iso9660};

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
    // Only a GPT has a copy at the end, which must be moved.
    let mend = |rule: &Rule| if tables.is_empty() { "truncate -s %1M IMAGE" } else { rule.mend };
    if !size.is_multiple_of(512) {
        let what = format!("{size} bytes: {} past the last whole sector", size % 512);
        report.add_mended(SIZE_SECTOR, Place::whole(), what, mend(&SIZE_SECTOR));
    } else if !size.is_multiple_of(1 << 20) && !iso9660::is_iso(medium) {
        let what = format!("{size} bytes, not a multiple of 1 MiB");
        report.add_mended(SIZE_MIB, Place::whole(), what, mend(&SIZE_MIB));
    }
    let mut first = [0; 512];
    if medium.read_at(&mut first, 0).is_err() {
        report.add(GPT_NONE, Place::whole(), format!("the first sector cannot be read (size {size} bytes)"));
        return report;
    }
    let record = Mbr::decode(&first);
    let hinted = gpt::hints(medium);
    // Without a protective record, nothing reads the GPT of an isohybrid image; UEFI starts it as a CD.
    let iso = iso9660::is_iso(medium);
    if tables.is_empty() && hinted.is_empty() || iso && !record.is_protective() {
        no_gpt::check(medium, sector, &first, &mut report);
        return report;
    }
    let stamps = Facts::read(&medium, sector).is_ok_and(|facts| can_fix(&facts));
    mbr::check(&record, size, &tables, stamps, &mut report);
    boot_code::check(medium, &record, &tables, &mut report);
    for sector in hinted {
        gpt::check(medium, sector, &mut report);
    }
    // EDK2 reads entries of any size.
    if tables.is_empty() && !report.has(&GPT_ENTRY_SIZE) {
        report.add(GPT_NONE, Place::whole(), "no usable copy of a GPT");
    }
    gpt::check_sector(sector, &tables, &mut report);
    partitions::check(medium, &tables, &mut report);
    esp::check(medium, &tables, &mut report);
    // gdisk reads the table for the sector size of the disk, which is 512 bytes for a file.
    match tables.as_slice() {
        [_, _, ..] => report.replace_mends("gdisk", |_| DUAL_SPANS.mend.into()),
        [one] if one.sector == SectorSize::S4096 => {
            report.replace_mends("gdisk", |mend| {
                format!("on a disk with 4096-byte sectors (losetup -b 4096): {mend}").into()
            });
        }
        [] | [_] => {}
    }
    report
}

/// Returns true if `stamp --fix-mbr` does not refuse the disk.
fn can_fix(facts: &Facts) -> bool {
    plan(facts, &Request { fix_mbr: true, ..Request::new(Action::Write([0; BOOT_CODE])) }).is_ok()
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
