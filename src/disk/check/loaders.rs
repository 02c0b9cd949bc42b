//! Finds the default loaders that firmware starts, in any FAT volume of a disk.

use crate::format::fat::Volume;
use crate::format::gpt::{Gpt, Partition};
use crate::format::pe::Machine;
use crate::format::{Guid, Medium, SectorSize, Window};

/// Machines that have a default loader (UEFI 2.11, table 3.4).
pub(super) const MACHINES: [Machine; 6] =
    [Machine::X64, Machine::IA32, Machine::AA64, Machine::ARM, Machine::RISCV64, Machine::LOONGARCH64];

/// Maximum partitions searched. A table can have thousands.
const MOST_PARTITIONS: usize = 128;

/// Returns the machines that the FAT volume at this byte offset has a default loader for; empty without a volume.
pub(super) fn machines(medium: &dyn Medium, start: u64, len: u64) -> Vec<Machine> {
    let len = len.min(medium.size().saturating_sub(start));
    let Ok(volume) = Volume::open(Window::new(medium, start, len)) else { return Vec::new() };
    let there = |machine: &Machine| {
        let path = machine.default_loader().map(|name| format!("EFI/BOOT/{name}"));
        path.is_some_and(|path| matches!(volume.find(&path), Ok(Some(entry)) if !entry.directory))
    };
    MACHINES.into_iter().filter(there).collect()
}

/// Returns the machines that a partition has a default loader for.
fn of_partition(medium: &dyn Medium, part: &Partition, sector: SectorSize) -> Vec<Machine> {
    part.span(sector).map_or_else(Vec::new, |(start, len)| machines(medium, start, len))
}

/// Returns the machines that the EFI system partitions of a disk have default loaders for.
pub(super) fn of_esps(medium: &dyn Medium, tables: &[Gpt]) -> Vec<Machine> {
    let Some(gpt) = tables.first() else { return Vec::new() };
    let esps = gpt.partitions.iter().filter(|part| part.type_guid == Guid::ESP);
    esps.take(MOST_PARTITIONS).flat_map(|part| of_partition(medium, part, gpt.sector)).collect()
}

/// Returns the first partition with a default loader.
pub(super) fn partition<'a>(medium: &dyn Medium, gpt: &'a Gpt) -> Option<&'a Partition> {
    let mut parts = gpt.partitions.iter().take(MOST_PARTITIONS);
    parts.find(|part| !of_partition(medium, part, gpt.sector).is_empty())
}
