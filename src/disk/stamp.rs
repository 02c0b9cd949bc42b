//! What `stamp` will make of a disk's first sector, or why it will not touch it.
//!
//! A pure decision over what was read: the first 512 bytes, the partition tables, the sectors' size. Only the 440 bytes of
//! boot code change, and the protective record where that is asked for. Refused is every disk that a legacy BIOS might
//! start already, or that is none; most of it can be overridden. Records: UEFI 2.11, section 5.2.

pub mod objection;
pub mod record;

pub use self::objection::Objection;

use std::io;

use crate::format::bootsector::{Found, recognise};
use crate::format::gpt::{self, Fault, Gpt, Partition};
use crate::format::mbr::{BOOT_CODE, Mbr, Record};
use crate::format::{Guid, Medium, SectorSize};

/// What was read of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Its first 512 bytes.
    pub first: [u8; 512],
    /// Bytes of the disk; `None` where only its begin was seen, and the tables have to be believed.
    pub size: Option<u64>,
    /// Its partition tables.
    pub tables: Vec<Gpt>,
    /// Why there is no table, where there is a trace of one.
    pub damaged: Option<String>,
    /// The size of its sectors, where something but its bytes tells.
    pub sector: Option<SectorSize>,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// This boot code goes in.
    Write([u8; BOOT_CODE]),
    /// This boot code, which was there before ours, goes in, and the records where they were saved with it.
    Restore([u8; BOOT_CODE], Option<Records>),
    /// Ours goes away.
    Remove,
}

/// What follows the boot code and the disk's signature in a first sector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Records {
    /// The partition records.
    pub records: [Record; 4],
    /// Its last two bytes: `55 AA`, or something that no BIOS starts.
    pub end: [u8; 2],
}

/// What is wished for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// What is to be done with the boot code.
    pub deed: Deed,
    /// A wrong protective record is mended.
    pub fix_mbr: bool,
    /// The dummy active record is put in, or taken away where ours goes away.
    pub bios_active: bool,
    /// Objections that can be overridden are.
    pub force: bool,
}

/// A decision: the first 512 bytes before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// What was there.
    pub before: [u8; 512],
    /// What will be.
    pub after: [u8; 512],
    /// What the user should know, a sentence each.
    pub notes: Vec<String>,
    /// What spoke against it and was overridden.
    pub overridden: Vec<Objection>,
}

impl Stamp {
    /// Whether anything has to be written.
    pub fn changes(&self) -> bool {
        self.before != self.after
    }
}

impl Facts {
    /// Reads them off a disk that is there from its begin to its end.
    pub fn read(disk: &impl Medium, sector: Option<SectorSize>) -> io::Result<Self> {
        let size = disk.size();
        let mut facts = Self::read_begin(disk)?;
        facts.size = Some(size);
        facts.sector = sector;
        Ok(facts)
    }

    /// Reads them off the begin of a disk whose end is not known.
    pub fn read_begin(begin: &impl Medium) -> io::Result<Self> {
        let mut first = [0; 512];
        begin.read_at(&mut first, 0)?;
        let tables = gpt::probe(begin);
        let damaged = if tables.is_empty() { trace(begin) } else { None };
        Ok(Self { first, size: None, tables, damaged, sector: None })
    }

    /// The table to go by: that of the sectors that the disk is known to have, or else the first.
    fn table(&self) -> Option<&Gpt> {
        let known = self.tables.iter().find(|table| Some(table.sector) == self.sector);
        known.or(self.tables.first())
    }

    /// Bytes of the disk as its table tells them: to the end of the last sector.
    pub fn told_size(&self) -> Option<u64> {
        let table = self.table()?;
        // The last sector is where either header says that the other one stands.
        let last = table.header.my_lba.0.max(table.header.alternate_lba.0);
        last.checked_add(1)?.checked_mul(table.sector.bytes())
    }

    /// How many sectors a protective record must cover, that behind the table's words included: both for both sizes of
    /// sectors have no number of their own.
    fn sectors(&self) -> Option<u64> {
        let table = self.table()?;
        if self.tables.len() > 1 {
            return Some(u64::MAX);
        }
        self.size.or_else(|| self.told_size()).map(|size| size / table.sector.bytes())
    }
}

/// What is wrong with the tables of a disk that has no valid one; `None` where there is no trace of any.
fn trace(disk: &impl Medium) -> Option<String> {
    SectorSize::ALL.into_iter().find_map(|sector| match gpt::read(disk, sector, gpt::Copy::Primary) {
        Err(fault) if !fault.is_absent() => Some(told(&fault)),
        Ok(_) | Err(_) => None,
    })
}

/// A fault in one line.
fn told(fault: &Fault) -> String {
    match fault {
        Fault::Read { source, .. } => format!("{fault}: {source}"),
        Fault::Header { .. } | Fault::Place { .. } | Fault::Entries { .. } => fault.to_string(),
    }
}

/// Decides. The objection that is returned is the first one that was not, or cannot be, overridden.
pub fn plan(facts: &Facts, wish: &Wish) -> Result<Stamp, Objection> {
    let mut mbr = Mbr::decode(&facts.first);
    let found = recognise(&mbr.boot_code);
    let objections = match wish.deed {
        Deed::Write(code) => against_writing(facts, &mbr, &found, mbr.boot_code == code),
        Deed::Restore(code, records) => {
            let mut objections = against_undoing(&mbr, &found, Some(&code));
            objections.extend(records.and_then(|records| record::against_restoring(&mbr, &records)));
            objections
        }
        Deed::Remove => against_undoing(&mbr, &found, None),
    };
    if let Some(first) = objections.iter().find(|objection| !wish.force || !objection.yields()) {
        return Err(first.clone());
    }
    let mut notes = Vec::new();
    match wish.deed {
        Deed::Write(code) => mbr.boot_code = code,
        Deed::Restore(code, records) => {
            mbr.boot_code = code;
            mbr.records = records.map_or(mbr.records, |saved| saved.records);
        }
        // What is not there need not go.
        Deed::Remove => mbr.boot_code = [0; BOOT_CODE],
    }
    match wish.deed {
        Deed::Write(_) => {
            record::mend(facts, &mut mbr, wish, &mut notes)?;
            sectors_noted(facts, &mut notes);
        }
        Deed::Restore(..) | Deed::Remove if wish.bios_active => record::take_active(&mut mbr),
        Deed::Restore(..) | Deed::Remove => {}
    }
    Ok(Stamp { before: facts.first, after: encode(&mbr, &facts.first, &wish.deed), notes, overridden: objections })
}

/// Back to bytes. A missing end mark stays whatever it was unless it was mended.
fn encode(mbr: &Mbr, before: &[u8; 512], deed: &Deed) -> [u8; 512] {
    let mut bytes = mbr.encode();
    match deed {
        Deed::Restore(_, Some(saved)) => bytes[510..].copy_from_slice(&saved.end),
        Deed::Write(_) | Deed::Restore(_, None) | Deed::Remove if !mbr.bootable => {
            bytes[510..].copy_from_slice(&before[510..]);
        }
        Deed::Write(_) | Deed::Restore(_, None) | Deed::Remove => {}
    }
    bytes
}

/// What speaks against putting boot code onto a disk. Where it is `there` already, nobody else's is lost.
fn against_writing(facts: &Facts, mbr: &Mbr, found: &Found, there: bool) -> Vec<Objection> {
    let mut objections = Vec::new();
    if facts.tables.is_empty() {
        objections.push(match &facts.damaged {
            Some(fault) => Objection::Damaged(fault.clone()),
            None => Objection::NoTable,
        });
    }
    let kinds: Vec<u8> = mbr.records.iter().map(|record| record.kind).filter(|kind| *kind != 0).collect();
    let foreign: Vec<u8> = kinds.iter().copied().filter(|kind| *kind != crate::format::mbr::PROTECTIVE).collect();
    if !foreign.is_empty() {
        let protective = mbr.is_protective();
        objections.push(if protective { Objection::Hybrid(foreign) } else { Objection::MbrPartitions(foreign) });
    }
    match found {
        Found::Nothing | Found::Ours | Found::Byebyebios => {}
        Found::Loader(_) | Found::Unknown if there => {}
        Found::Loader(name) => objections.push(Objection::Loader((*name).to_owned())),
        Found::Unknown => objections.push(Objection::UnknownCode),
    }
    for partition in facts.tables.iter().flat_map(|table| &table.partitions) {
        let objection = if partition.kind == Guid::BIOS_BOOT {
            Objection::BiosBoot(partition.number)
        } else if partition.attributes & Partition::LEGACY_BOOTABLE != 0 {
            Objection::LegacyBootable(partition.number)
        } else {
            continue;
        };
        // Two tables of one disk should tell of the same partitions, but each is believed where it speaks against it.
        if !objections.contains(&objection) {
            objections.push(objection);
        }
    }
    objections
}

/// What speaks against taking our boot code off a disk.
fn against_undoing(mbr: &Mbr, found: &Found, old: Option<&[u8; BOOT_CODE]>) -> Vec<Objection> {
    match found {
        Found::Ours | Found::Byebyebios => Vec::new(),
        Found::Nothing if old.is_none() => Vec::new(),
        Found::Nothing | Found::Loader(_) | Found::Unknown if old == Some(&mbr.boot_code) => Vec::new(),
        Found::Nothing => vec![Objection::NothingThere],
        Found::Loader(name) => vec![Objection::NotOurs(format!("that of {name}"))],
        Found::Unknown => vec![Objection::NotOurs("not known here".to_owned())],
    }
}

/// What the sectors' size means for the message.
fn sectors_noted(facts: &Facts, notes: &mut Vec<String>) {
    let Some(table) = facts.table() else { return };
    let only = facts.tables.len() == 1;
    if facts.sector == Some(SectorSize::S4096) || only && table.sector == SectorSize::S4096 {
        notes.push("its sectors have 4096 bytes: no BIOS starts from such a disk, so few will see the message".into());
    }
    if facts.sector.is_some_and(|sector| only && sector != table.sector) {
        notes.push(format!("its partition table counts in sectors of {} bytes, but its own have others", table.sector));
    }
    if table.header.my_lba.0 != 1 {
        notes.push("its first partition table is damaged; the second one, at its end, was read".into());
    }
}

#[cfg(test)]
mod tests;
