//! Checks the boot sector code, which decides what a legacy BIOS boot shows.

use super::rules::mbr::{
    BIOS_BOOT_EMPTY, CODE_UNKNOWN, LOADER_CODE, LOADER_STRAY, MESSAGE_4KN, MESSAGE_BROKEN, MESSAGE_GARBLED,
    MESSAGE_MISSING,
};
use super::{Place, Report, Subject};
use crate::format::bootsector::{Found, decode_message, is_byebyebios_whole, recognise};
use crate::format::gpt::{Gpt, Partition};
use crate::format::mbr::Mbr;
use crate::format::{Guid, SectorSize};

/// Checks the boot code of a disk with these partition tables.
pub(super) fn check(mbr: &Mbr, tables: &[Gpt], report: &mut Report) {
    let place = || Place::part("boot sector").byte(0);
    let partitions = || tables.iter().flat_map(|gpt| &gpt.partitions);
    let core = partitions().any(|partition| partition.type_guid == Guid::BIOS_BOOT);
    let legacy = core || partitions().any(|partition| partition.attributes & Partition::LEGACY_BOOTABLE != 0);
    if tables.iter().all(|gpt| gpt.sector == SectorSize::S4096) && !tables.is_empty() {
        report.add(MESSAGE_4KN, place(), "every partition table is for 4096-byte sectors");
        return;
    }
    let found = recognise(&mbr.boot_code);
    let message = decode_message(&mbr.boot_code);
    report.subjects.push(Subject::new("boot sector", describe_code(&found, message.as_deref())));
    match found {
        Found::Nothing if core => {
            report.add(BIOS_BOOT_EMPTY, place(), "no boot code, despite a BIOS boot partition");
        }
        Found::Nothing => report.add(MESSAGE_MISSING, place(), "no boot code"),
        Found::Ours if message.is_none() => report.add(MESSAGE_BROKEN, place(), "bootling's stub, message damaged"),
        Found::Ours => {}
        Found::Byebyebios if !is_byebyebios_whole(&mbr.boot_code) => {
            report.add(MESSAGE_BROKEN, place(), "byebyebios stub, message without an end");
        }
        Found::Byebyebios => report.add(MESSAGE_GARBLED, place(), "byebyebios stub"),
        Found::Loader(name) if legacy => report.add(LOADER_CODE, place(), format!("boot code of {name}")),
        Found::Loader(name) => {
            let what =
                format!("boot code of {name}, but neither a BIOS boot partition nor a legacy-bootable partition");
            report.add(LOADER_STRAY, place(), what);
        }
        Found::Unknown => report.add(CODE_UNKNOWN, place(), "unknown boot code"),
    }
}

/// Describes the boot code, with the first line of its message.
fn describe_code(found: &Found, message: Option<&str>) -> String {
    match message.and_then(|message| message.lines().find(|line| !line.trim().is_empty())) {
        Some(line) => format!("{found}: {:?}", line.trim()),
        None => found.to_string(),
    }
}
