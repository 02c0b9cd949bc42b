//! Changes to a valid image, by name instead of offset.

use std::io::Cursor;

use bootling::format::Guid;
use bootling::format::SectorSize;
use bootling::format::gpt::Copy;
use bootling::format::gpt::Gpt;
use bootling::format::gpt::Partition;
use bootling::format::gpt::read;
use bootling::format::mbr::Mbr;

use crate::recipe::{self, ESP, loader, put};

/// Returns the offset of the directory entry with this short name.
pub(crate) fn entry(disk: &[u8], short: &[u8; 11]) -> usize {
    ESP + disk[ESP..].chunks(32).position(|entry| &entry[..11] == short).expect("an entry") * 32
}

/// Returns the first cluster of the entry with this short name.
pub(crate) fn cluster(disk: &[u8], short: &[u8; 11]) -> u16 {
    let at = entry(disk, short) + 26;
    u16::from_le_bytes([disk[at], disk[at + 1]])
}

/// Returns the offset of the section header with this name in the UKI.
pub(crate) fn section(disk: &[u8], name: &str) -> usize {
    let start = loader(disk) + 0x98 + 240;
    start + disk[start..].chunks(40).position(|header| header.starts_with(name.as_bytes())).expect("a section") * 40
}

/// Changes the table and rewrites both copies.
pub(crate) fn retable(disk: &mut [u8], change: impl Fn(&mut Gpt)) {
    let mut gpt = read(&disk.to_vec(), SectorSize::S512, Copy::Primary).expect("a table");
    change(&mut gpt);
    let mut disk = Cursor::new(disk);
    gpt.write(&mut disk).and_then(|()| gpt.backup().write(&mut disk)).expect("in memory");
}

/// Changes bytes of the primary header and corrects its checksum.
pub(crate) fn rehead(disk: &mut [u8], at: usize, bytes: &[u8]) {
    put(disk, 512 + at, bytes);
    put(disk, 512 + 16, &[0; 4]);
    let checksum = crc32fast::hash(&disk[512..512 + 92]);
    put(disk, 512 + 16, &checksum.to_le_bytes());
}

/// Changes the MBR.
pub(crate) fn rerecord(disk: &mut [u8], change: impl Fn(&mut Mbr)) {
    let mut mbr = Mbr::decode(disk[..512].try_into().expect("512 bytes"));
    change(&mut mbr);
    put(disk, 0, &mbr.encode());
}

pub(crate) fn add_partition(gpt: &mut Gpt, number: u32, type_guid: Guid, first: u64, last: u64) {
    let unique_guid = Guid::derived(&[number as u8], "another");
    gpt.partitions.push(Partition { number, type_guid, unique_guid, ..recipe::esp(first, last) });
}
