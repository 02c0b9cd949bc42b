//! Changes to a valid image, by name instead of offset.

use bootling::format::Guid;
use bootling::format::Lba;
use bootling::format::SectorSize;
use bootling::format::gpt::Copy;
use bootling::format::gpt::Gpt;
use bootling::format::gpt::Header;
use bootling::format::gpt::Partition;
use bootling::format::gpt::read;
use bootling::format::mbr::Mbr;

use crate::recipe::{self, ESP, loader, put};

/// Returns the offset of the directory entry with this short name.
pub fn entry(disk: &[u8], short: &[u8; 11]) -> usize {
    ESP + disk[ESP..].chunks(32).position(|entry| &entry[..11] == short).expect("an entry") * 32
}

/// Returns the first cluster of the entry with this short name.
pub fn cluster(disk: &[u8], short: &[u8; 11]) -> u16 {
    let at = entry(disk, short) + 26;
    u16::from_le_bytes([disk[at], disk[at + 1]])
}

/// Returns the offset of the section header with this name in the UKI.
pub fn section(disk: &[u8], name: &str) -> usize {
    let start = loader(disk) + 0x98 + 240;
    start + disk[start..].chunks(40).position(|header| header.starts_with(name.as_bytes())).expect("a section") * 40
}

/// Changes the table and rewrites both copies.
pub fn retable(disk: &mut [u8], change: impl Fn(&mut Gpt)) {
    let mut gpt = read(&disk.to_vec(), SectorSize::S512, Copy::Primary).expect("a table");
    change(&mut gpt);
    let header = gpt.header;
    let rebuilt = Gpt::new(SectorSize::S512, disk.len() as u64, header.disk_guid, Lba(2), Lba(0), gpt.partitions);
    let crc = rebuilt.header.entries_crc;
    let gpt = Gpt { header: Header { entries_crc: crc, ..header }, ..rebuilt };
    for placed in gpt.encode() {
        put(disk, placed.offset as usize, &placed.bytes);
    }
}

/// Changes only the primary header and updates its checksum.
pub fn rehead(disk: &mut [u8], change: impl Fn(&mut Header)) {
    let mut header = Header::decode(&disk[512..1024]).expect("a header");
    change(&mut header);
    put(disk, 512, &header.encode(SectorSize::S512));
}

/// Changes the MBR.
pub fn rerecord(disk: &mut [u8], change: impl Fn(&mut Mbr)) {
    let mut mbr = Mbr::decode(disk[..512].try_into().expect("512 bytes"));
    change(&mut mbr);
    put(disk, 0, &mbr.encode());
}

pub fn add_partition(gpt: &mut Gpt, number: u32, kind: Guid, first: u64, last: u64) {
    let id = Guid::derived(&[number as u8], "another");
    gpt.partitions.push(Partition { number, kind, id, ..recipe::esp(first, last) });
}
