//! What legacy BIOS shows: the boot sector's code.

use super::rules::mbr::{
    BIOS_BOOT_EMPTY, CODE_UNKNOWN, LOADER_CODE, LOADER_STRAY, MESSAGE_4KN, MESSAGE_BROKEN, MESSAGE_GARBLED,
    MESSAGE_MISSING,
};
use super::{Place, Report, Subject};
use crate::format::bootsector::{Found, decode_message, is_byebyebios_whole, recognise};
use crate::format::gpt::{Gpt, Partition};
use crate::format::mbr::Mbr;
use crate::format::{Guid, SectorSize};

/// Checks the boot code of a disk with these tables.
pub(super) fn check(mbr: &Mbr, tables: &[Gpt], report: &mut Report) {
    let place = || Place::part("boot sector").byte(0);
    let partitions = || tables.iter().flat_map(|gpt| &gpt.partitions);
    let core = partitions().any(|partition| partition.kind == Guid::BIOS_BOOT);
    let legacy = core || partitions().any(|partition| partition.attributes & Partition::LEGACY_BOOTABLE != 0);
    if tables.iter().all(|gpt| gpt.sector == SectorSize::S4096) && !tables.is_empty() {
        report.add(MESSAGE_4KN, place(), "all its tables count in 4096-byte sectors");
        return;
    }
    let found = recognise(&mbr.boot_code);
    let message = decode_message(&mbr.boot_code);
    report.subjects.push(Subject::new("boot sector", tell(&found, message.as_deref())));
    match found {
        Found::Nothing if core => {
            report.add(BIOS_BOOT_EMPTY, place(), "there is a BIOS boot partition, but no boot code");
        }
        Found::Nothing => report.add(MESSAGE_MISSING, place(), "there is no boot code"),
        Found::Ours if message.is_none() => report.add(MESSAGE_BROKEN, place(), "it is bootling's, but damaged"),
        Found::Ours => {}
        Found::Byebyebios if !is_byebyebios_whole(&mbr.boot_code) => {
            report.add(MESSAGE_BROKEN, place(), "it is byebyebios', and does not end");
        }
        Found::Byebyebios => report.add(MESSAGE_GARBLED, place(), "byebyebios has stamped it"),
        Found::Loader(name) if legacy => report.add(LOADER_CODE, place(), format!("it has the boot code of {name}")),
        Found::Loader(name) => {
            let what =
                format!("it has the boot code of {name}, but neither a BIOS boot partition nor a legacy-bootable one");
            report.add(LOADER_STRAY, place(), what);
        }
        Found::Unknown => report.add(CODE_UNKNOWN, place(), "it has boot code of nobody known"),
    }
}

/// What is there; of a message its first line, which tells messages apart.
fn tell(found: &Found, message: Option<&str>) -> String {
    match message.and_then(|message| message.lines().find(|line| !line.trim().is_empty())) {
        Some(line) => format!("{found}: {:?}", line.trim()),
        None => found.to_string(),
    }
}
