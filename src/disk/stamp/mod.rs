//! Plan for `stamp`: the new contents of the first sector of a disk, or the reason for leaving it unchanged.
//!
//! A pure function of the first 512 bytes, the partition tables and the sector size. Changes only the 440 bytes of boot
//! code and, on request, the protective record. Refuses disks that a legacy BIOS may already boot, and files that are
//! not disks; `--force` overrides most refusals, but content that is not boot code is overwritten only if it is saved. Partition records: UEFI 2.11, section 5.2.

mod error;
pub(crate) mod objection;
mod operation;
pub(crate) mod records;
mod report;
pub(crate) mod write;

pub use self::error::StampError;
pub use self::objection::Objection;
use self::objection::Override;
pub use self::operation::{StampSpec, stamp_image};
pub use self::report::StampReport;
pub use self::write::apply;

use std::io;

use crate::disk::mbr::{self, MbrPartition};
use crate::disk::signature;
use crate::format::bootsector::{Found, recognize};
use crate::format::gpt::{self, Fault, Gpt, Partition};
use crate::format::iso9660::{self, Platform};
use crate::format::mbr::{BOOT_CODE, Mbr, PROTECTIVE, Record};
use crate::format::{Guid, Medium, SectorSize};

/// Data read from a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// First 512 bytes.
    pub(crate) first: [u8; 512],
    /// Size of the disk in bytes. `None` if only its start was read; then the partition tables determine the size.
    pub size: Option<u64>,
    /// Partition tables.
    pub tables: Vec<Gpt>,
    /// Fault of a damaged table, if no table is valid.
    pub(crate) damaged: Option<String>,
    /// Sector size, if it is known from a source other than the disk's contents.
    pub sector: Option<SectorSize>,
    /// Content other than boot code that the first sector belongs to: `an EFI program`.
    pub occupant: Option<&'static str>,
    /// Facts about the ISO 9660 file system, if the disk is also a CD.
    pub cd: Option<Cd>,
    /// True if a logical partition of the MBR partition table is an EFI system partition.
    pub(crate) has_logical_esp: bool,
}

/// Facts about an image that is also a CD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cd {
    /// True if its boot catalog has an image for a legacy BIOS.
    pub boots_by_bios: bool,
    /// True if the image contains its own checksum, which any change invalidates.
    pub has_checksum: bool,
}

/// Action on the boot code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Write this boot code.
    Write([u8; BOOT_CODE]),
    /// Restore the saved boot code and, if they were saved, the partition records.
    Restore([u8; BOOT_CODE], Option<Records>),
    /// Remove bootling's boot code.
    Remove,
}

/// The part of the first sector that follows the boot code and the disk signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Records {
    /// Partition records.
    pub records: [Record; 4],
    /// Last two bytes: the boot signature `55 AA`, or a value that no BIOS boots.
    pub end: [u8; 2],
}

/// Requested changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent option")]
pub struct Request {
    /// Action on the boot code.
    pub action: Action,
    /// With [`Action::Write`]: the end of boot code that needs the bytes of the disk signature, too.
    pub signature: Option<[u8; 6]>,
    /// True to repair an invalid protective record.
    pub fix_mbr: bool,
    /// True to add the dummy active record, or to remove it along with bootling's boot code.
    pub bios_active: bool,
    /// True to override the objections that can be overridden.
    pub force: bool,
    /// True if the caller saves the bytes that are replaced.
    pub saved: bool,
}

impl Request {
    /// Returns a request for an action, without repairs, that heeds all objections.
    pub const fn new(action: Action) -> Self {
        Self { action, signature: None, fix_mbr: false, bios_active: false, force: false, saved: false }
    }
}

/// Planned change: the first 512 bytes before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// Old bytes.
    pub before: [u8; 512],
    /// New bytes.
    pub after: [u8; 512],
    /// Notes for the user, one sentence each.
    pub notes: Vec<String>,
    /// Overridden objections.
    pub overridden: Vec<Objection>,
}

impl Stamp {
    /// Returns true if the sector must be written.
    pub fn changes(&self) -> bool {
        self.before != self.after
    }
}

impl Facts {
    /// Reads a complete disk.
    pub fn read(disk: &impl Medium, sector: Option<SectorSize>) -> io::Result<Self> {
        let size = disk.size();
        let mut facts = Self::read_begin(disk)?;
        facts.size = Some(size);
        facts.sector = sector;
        Ok(facts)
    }

    /// Reads the start of a disk of unknown size.
    pub fn read_begin(begin: &impl Medium) -> io::Result<Self> {
        let mut first = [0; 512];
        begin.read_at(&mut first, 0)?;
        let tables = gpt::probe(begin);
        let damaged = if tables.is_empty() { trace(begin) } else { None };
        let (occupant, cd) = (signature::occupant(begin), Cd::read(begin));
        // Only 512-byte sectors: no BIOS boots from other disks.
        let partitions = mbr::read(begin, SectorSize::S512).unwrap_or_default();
        let has_logical_esp = partitions.iter().any(MbrPartition::is_logical_esp);
        Ok(Self { first, size: None, tables, damaged, sector: None, occupant, cd, has_logical_esp })
    }

    /// Returns the relevant table: the one for the known sector size, or else the first.
    fn table(&self) -> Option<&Gpt> {
        let known = self.tables.iter().find(|table| Some(table.sector) == self.sector);
        known.or(self.tables.first())
    }

    /// Returns the size of the disk in bytes, up to the end of its last sector, according to its partition table.
    pub fn size_in_table(&self) -> Option<u64> {
        let table = self.table()?;
        // One of the two headers is in the last sector.
        let last = table.header.my_lba.0.max(table.header.alternate_lba.0);
        last.checked_add(1)?.checked_mul(table.sector.bytes())
    }

    /// Returns the size of the disk in sectors. If it has tables for both sector sizes, no single number is correct,
    /// and the result is `u64::MAX`.
    fn sectors(&self) -> Option<u64> {
        let table = self.table()?;
        if self.tables.len() > 1 {
            return Some(u64::MAX);
        }
        self.size.or_else(|| self.size_in_table()).map(|size| size / table.sector.bytes())
    }
}

impl Cd {
    /// Reads the descriptors and the boot catalog; `None` if the disk is not a CD.
    fn read(disk: &impl Medium) -> Option<Self> {
        let volume = iso9660::Volume::open(disk).ok()?;
        let entries = volume.boot_entries().unwrap_or_default();
        let boots_by_bios = entries.iter().any(|entry| entry.bootable && entry.platform == Platform::Bios);
        Some(Self { boots_by_bios, has_checksum: volume.descriptors().has_checksum })
    }
}

/// Returns the fault of the partition table of a disk without a valid table. `None` if it has no table at all.
fn trace(disk: &impl Medium) -> Option<String> {
    SectorSize::ALL.into_iter().find_map(|sector| match gpt::read(disk, sector, gpt::Copy::Primary) {
        Err(fault) if !fault.is_absent() => Some(describe_fault(&fault)),
        Ok(_) | Err(_) => None,
    })
}

/// Formats a fault on one line.
fn describe_fault(fault: &Fault) -> String {
    match fault {
        Fault::Read { source, .. } => format!("{fault}: {source}"),
        Fault::Header { .. } | Fault::WrongLba { .. } | Fault::Entries { .. } => fault.to_string(),
    }
}

/// Plans the change. Returns the first objection that is not or cannot be overridden.
pub fn plan(facts: &Facts, request: &Request) -> Result<Stamp, Objection> {
    let mut mbr = Mbr::decode(&facts.first);
    let found = recognize(&mbr.boot_code);
    let mut objections = match request.action {
        Action::Write(code) => against_writing(facts, &mbr, &found, mbr.boot_code == code),
        Action::Restore(code, records) => {
            let mut objections = against_undoing(&mbr, &found, Some(&code));
            objections.extend(records.and_then(|records| records::against_restoring(&mbr, &records)));
            objections
        }
        Action::Remove => against_undoing(&mbr, &found, None),
    };
    let kept = match request.action {
        Action::Write(code) | Action::Restore(code, _) => mbr.boot_code == code,
        Action::Remove => false,
    };
    if let Some(content) = against_overwriting(facts, &mbr, &found).filter(|_| !kept) {
        objections.insert(0, content);
    }
    let insists = |objection: &Objection| match objection.overridden_by() {
        Override::Force => !request.force,
        Override::ForceAndSave => !(request.force && request.saved),
        Override::Never => true,
    };
    if let Some(first) = objections.iter().find(|objection| insists(objection)) {
        return Err(first.clone());
    }
    let mut notes = Vec::new();
    match request.action {
        Action::Write(code) => {
            mbr.boot_code = code;
            mbr.signature = request.signature.unwrap_or(mbr.signature);
            // Without it, no BIOS starts the code.
            mbr.bootable = true;
        }
        Action::Restore(code, records) => {
            mbr.boot_code = code;
            mbr.records = records.map_or(mbr.records, |saved| saved.records);
        }
        // Without boot code to remove, this changes nothing.
        Action::Remove => mbr.boot_code = [0; BOOT_CODE],
    }
    match request.action {
        Action::Write(_) => {
            records::mend(facts, &mut mbr, request, &mut notes)?;
            sectors_noted(facts, &mut notes);
        }
        Action::Restore(..) | Action::Remove if request.bios_active => records::take_active(&mut mbr),
        Action::Restore(..) | Action::Remove => {}
    }
    if facts.cd.is_some_and(|cd| cd.has_checksum) && !kept {
        notes.push("the image contains its own checksum, which changes (`implantisomd5 --force` renews it)".into());
    }
    Ok(Stamp { before: facts.first, after: encode(&mbr, &facts.first, &request.action), notes, overridden: objections })
}

/// Encodes the sector. An invalid boot signature is left unchanged unless it was repaired.
fn encode(mbr: &Mbr, before: &[u8; 512], action: &Action) -> [u8; 512] {
    let mut bytes = mbr.encode();
    match action {
        Action::Restore(_, Some(saved)) => bytes[510..].copy_from_slice(&saved.end),
        Action::Write(_) | Action::Restore(_, None) | Action::Remove if !mbr.bootable => {
            bytes[510..].copy_from_slice(&before[510..]);
        }
        Action::Write(_) | Action::Restore(_, None) | Action::Remove => {}
    }
    bytes
}

/// Returns the objection to overwriting content that is not boot code. Without a partition table and a boot signature,
/// nothing starts the code in the first sector, so unknown bytes there are data.
fn against_overwriting(facts: &Facts, mbr: &Mbr, found: &Found) -> Option<Objection> {
    let is_data = facts.tables.is_empty() && facts.damaged.is_none() && !mbr.bootable;
    match found {
        Found::Bootling | Found::Byebyebios | Found::Nothing => None,
        // The boot code in the first sector of a file system is part of it.
        Found::Loader(_) => facts.occupant.map(Objection::Content),
        Found::Unknown => facts.occupant.or(is_data.then_some("data of an unknown format")).map(Objection::Content),
    }
}

/// Returns the objections to writing boot code. If the same code is already `there`, no foreign code is lost.
fn against_writing(facts: &Facts, mbr: &Mbr, found: &Found, there: bool) -> Vec<Objection> {
    let mut objections = Vec::new();
    let by_mbr = (mbr.has_esp() || facts.has_logical_esp) && !mbr.is_protective();
    if facts.tables.is_empty() {
        match &facts.damaged {
            Some(fault) => objections.push(Objection::Damaged(fault.clone())),
            None if by_mbr => {}
            None => objections.push(Objection::NoTable),
        }
    }
    let kinds: Vec<u8> = mbr.records.iter().map(|record| record.kind).filter(|kind| *kind != 0).collect();
    let foreign: Vec<u8> = kinds.iter().copied().filter(|kind| *kind != PROTECTIVE).collect();
    if !foreign.is_empty() && !by_mbr {
        let protective = mbr.is_protective();
        objections.push(if protective { Objection::Hybrid(foreign) } else { Objection::MbrPartitions(foreign) });
    }
    match found {
        Found::Nothing | Found::Bootling | Found::Byebyebios => {}
        Found::Loader(_) | Found::Unknown if there => {}
        Found::Loader(name) => objections.push(Objection::Loader((*name).to_owned())),
        Found::Unknown => objections.push(Objection::UnknownCode),
    }
    if facts.cd.is_some_and(|cd| cd.boots_by_bios) {
        objections.push(Objection::BootCatalog);
    }
    for partition in facts.tables.iter().flat_map(|table| &table.partitions) {
        let objection = if partition.type_guid == Guid::BIOS_BOOT {
            Objection::BiosBoot(partition.number)
        } else if partition.attributes & Partition::LEGACY_BOOTABLE != 0 {
            Objection::LegacyBootable(partition.number)
        } else {
            continue;
        };
        // The two tables of a disk should list the same partitions. An objection from either is enough.
        if !objections.contains(&objection) {
            objections.push(objection);
        }
    }
    objections
}

/// Returns the objections to removing bootling's boot code.
fn against_undoing(mbr: &Mbr, found: &Found, old: Option<&[u8; BOOT_CODE]>) -> Vec<Objection> {
    match found {
        Found::Bootling | Found::Byebyebios => Vec::new(),
        Found::Nothing if old.is_none() => Vec::new(),
        Found::Nothing | Found::Loader(_) | Found::Unknown if old == Some(&mbr.boot_code) => Vec::new(),
        Found::Nothing => vec![Objection::NothingThere],
        Found::Loader(name) => vec![Objection::ForeignCode(format!("that of {name}"))],
        Found::Unknown => vec![Objection::ForeignCode("unknown code".to_owned())],
    }
}

/// Adds notes about the sector size and about a damaged primary table.
fn sectors_noted(facts: &Facts, notes: &mut Vec<String>) {
    let Some(table) = facts.table() else { return };
    let only = facts.tables.len() == 1;
    if facts.sector == Some(SectorSize::S4096) || only && table.sector == SectorSize::S4096 {
        notes.push(
            "sector size is 4096 bytes: no BIOS boots from such a disk, so few users will see the message".into(),
        );
    }
    if facts.sector.is_some_and(|sector| only && sector != table.sector) {
        notes.push(format!(
            "the partition table is for sectors of {} bytes, but the disk has another size",
            table.sector
        ));
    }
    if table.header.my_lba.0 != 1 {
        notes.push("the primary partition table is damaged; bootling read the backup table at the end".into());
    }
}

#[cfg(test)]
mod tests;
