//! Checks the boot sector code, which decides what a legacy BIOS boot shows.

use super::rules::mbr::{
    BIOS_BOOT_EMPTY, CODE_UNKNOWN, LOADER_CODE, LOADER_STRAY, MESSAGE_4KN, MESSAGE_BROKEN, MESSAGE_GARBLED,
    MESSAGE_MISSING,
};
use super::{Place, Report, Subject, loaders};
use crate::format::bootsector::{Found, decode_message, is_byebyebios_whole, recognize};
use crate::format::bytes::le64;
use crate::format::gpt::{Gpt, Partition};
use crate::format::mbr::Mbr;
use crate::format::pe::Machine;
use crate::format::{Guid, Medium, SectorSize, iso9660};

/// Checks the boot code of a disk with these partition tables.
pub(super) fn check(medium: &dyn Medium, mbr: &Mbr, tables: &[Gpt], report: &mut Report) {
    let place = || Place::part("boot sector").byte(0);
    let partitions = || tables.iter().flat_map(|gpt| &gpt.partitions);
    let core = partitions().any(|part| [Guid::BIOS_BOOT, Guid::FREEBSD_BOOT].contains(&part.type_guid));
    // The boot code of an isohybrid image loads a file of the ISO 9660 file system.
    let legacy = core
        || iso9660::is_iso(medium)
        || has_grub_core(medium, mbr)
        || partitions().any(|partition| partition.attributes & Partition::LEGACY_BOOTABLE != 0);
    if tables.iter().all(|gpt| gpt.sector == SectorSize::S4096) && !tables.is_empty() {
        report.add(MESSAGE_4KN, place(), "every partition table is for 4096-byte sectors");
        return;
    }
    let found = recognize(&mbr.boot_code);
    let message = decode_message(&mbr.boot_area());
    report.subjects.push(Subject::new("boot sector", describe_code(&found, message.as_deref())));
    match found {
        Found::Nothing if core => {
            report.add(BIOS_BOOT_EMPTY, place(), "no boot code, despite a BIOS boot partition");
        }
        // No BIOS runs on other machines.
        Found::Nothing if is_for_others(&loaders::of_esps(medium, tables)) => {}
        Found::Nothing => report.add(MESSAGE_MISSING, place(), "no boot code"),
        Found::Bootling if message.is_none() => report.add(MESSAGE_BROKEN, place(), "bootling's stub, message damaged"),
        Found::Bootling => {}
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

/// Returns true if there are loaders, but none for a PC.
fn is_for_others(machines: &[Machine]) -> bool {
    !machines.is_empty() && !machines.iter().any(|machine| [Machine::X64, Machine::IA32].contains(machine))
}

/// Returns true if GRUB's boot code finds more of its code outside of any partition: the sector whose number is in the
/// boot code is neither empty nor the GPT (`grub-core/boot/i386/pc/boot.S`, `kernel_sector`).
fn has_grub_core(medium: &dyn Medium, mbr: &Mbr) -> bool {
    if !matches!(recognize(&mbr.boot_code), Found::Loader("GRUB" | "Ventoy")) {
        return false;
    }
    let mut sector = [0; 512];
    let offset = le64(&mbr.boot_code, 92).checked_mul(512).filter(|offset| *offset > 0);
    offset.is_some_and(|offset| medium.read_at(&mut sector, offset).is_ok())
        && sector != [0; 512]
        && !sector.starts_with(b"EFI PART")
}

/// Describes the boot code, with the first line of its message.
fn describe_code(found: &Found, message: Option<&str>) -> String {
    match message.and_then(|message| message.lines().find(|line| !line.trim().is_empty())) {
        Some(line) => format!("{found}: {:?}", line.trim()),
        None => found.to_string(),
    }
}
