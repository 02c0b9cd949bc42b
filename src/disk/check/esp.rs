//! Checks EFI system partitions: presence, file system, and boot loaders.

use std::collections::HashSet;

use super::loaders::{self, MACHINES};
use super::rules::efi::{LOADER_CUT, LOADER_NONE};
use super::rules::fat::{ESP_NONE, ESP_SEVERAL, ESP_TYPE};
use super::{Place, Report, efi, fat};
use crate::format::fat::{Tree, Volume};
use crate::format::gpt::Gpt;
use crate::format::pe::Machine;
use crate::format::{Guid, Lba, Medium, SectorSize, Window};

/// Maximum programs checked per partition. Each one is digested completely.
const MOST_PROGRAMS: usize = 64;

/// Checks the EFI system partitions of a disk.
pub(super) fn check(medium: &dyn Medium, tables: &[Gpt], report: &mut Report) {
    let Some(gpt) = tables.first() else { return };
    // A volume must support the largest sector size of the image.
    let largest = tables.iter().map(|gpt| gpt.sector).max().unwrap_or(gpt.sector);
    let esps: Vec<_> = gpt
        .partitions
        .iter()
        .filter(|part| part.type_guid == Guid::ESP && part.ending_lba >= part.starting_lba)
        .collect();
    if esps.is_empty() {
        if let Some(part) = loaders::partition(medium, gpt) {
            let name = format!("partition {}", part.number);
            let place = Place::part(&name).lba(part.starting_lba.0, gpt.sector);
            report.add(ESP_TYPE, place, format!("a boot loader in a partition of type {}", part.type_guid));
            check_one(medium, &name, (part.starting_lba, part.sectors()), gpt.sector, largest, report);
        } else {
            let what = format!("no EFI system partition among {} partitions", gpt.partitions.len());
            report.add(ESP_NONE, Place::part("partitions"), what);
        }
    }
    if let [_, second, ..] = esps.as_slice() {
        let place = Place::part(format!("partition {}", second.number)).lba(second.starting_lba.0, gpt.sector);
        report.add(ESP_SEVERAL, place, format!("{} EFI system partitions", esps.len()));
    }
    // A table can have thousands of ESPs, each with 100,000 files.
    for esp in esps.iter().take(4) {
        let name = format!("partition {}", esp.number);
        check_one(medium, &name, (esp.starting_lba, esp.sectors()), gpt.sector, largest, report);
    }
}

/// Checks one EFI system partition. `spot` is its starting LBA and its number of sectors, `logical` the largest sector
/// size that the disk may have.
pub(super) fn check_one(
    medium: &dyn Medium,
    name: &str,
    spot: (Lba, u64),
    sector: SectorSize,
    logical: SectorSize,
    report: &mut Report,
) {
    let (first, sectors) = spot;
    let Some((start, len)) = first.offset(sector).zip(sectors.checked_mul(sector.bytes())) else { return };
    // A partition that extends past the end of the disk is already reported.
    let len = len.min(medium.size().saturating_sub(start));
    let window = Window::new(medium, start, len);
    let place = Place::part(name).lba(first.0, sector);
    let Some((volume, tree)) = fat::check(window, &place, start, logical, report) else { return };
    loaders(&volume, &tree, name, report);
}

/// Checks the programs that firmware or a boot menu starts.
fn loaders<M: Medium>(volume: &Volume<M>, tree: &Tree, esp: &str, report: &mut Report) {
    let names: Vec<String> = MACHINES.into_iter().filter_map(Machine::default_loader).collect();
    let mut some = false;
    let mut programs = 0;
    // Files with a broken chain or shared clusters are already reported. Checking them would read the same clusters
    // again for each file.
    let unsound: HashSet<usize> =
        tree.shared.iter().map(|(node, _)| *node).chain(tree.faults.iter().map(|(node, _)| *node)).flatten().collect();
    for (index, node) in tree.nodes.iter().enumerate().filter(|(_, node)| !node.entry.directory) {
        let path = tree.path(Some(index));
        let upper = path.to_ascii_uppercase();
        let machine = names.iter().position(|name| upper.strip_prefix("EFI/BOOT/") == Some(name));
        some |= machine.is_some();
        let menu =
            upper.starts_with("EFI/LINUX/") && upper.rsplit_once('.').is_some_and(|(_, extension)| extension == "EFI");
        if machine.is_none() && !menu {
            continue;
        }
        if unsound.contains(&index) {
            continue;
        }
        programs += 1;
        if programs > MOST_PROGRAMS {
            continue;
        }
        // Unreadable files are already reported by the file system check.
        let Ok(content) = volume.content(&node.entry) else { continue };
        let machine = machine.and_then(|index| MACHINES.get(index).copied());
        efi::check(&content, &path, machine, report);
    }
    if programs > MOST_PROGRAMS {
        report.add(LOADER_CUT, Place::part(esp), format!("checked {MOST_PROGRAMS} of {programs} programs"));
    }
    if !some && !tree.truncated {
        report.add(LOADER_NONE, Place::part(esp), format!("found none of {}", names.join(", ")));
    }
}
