//! Small disks with a partition table, and the external tools that check images.

use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::process::{Command, Output};

use bootling::format::Guid;
use bootling::format::Lba;
use bootling::format::SectorSize;
use bootling::format::gpt::Gpt;
use bootling::format::gpt::Partition;
use bootling::format::mbr::BOOT_CODE;
use bootling::format::mbr::Mbr;

#[path = "skip.rs"]
mod skip;

#[allow(unused_imports, reason = "some tests need no tools")]
pub(crate) use skip::tools;

/// Size of a disk in bytes.
pub(crate) const DISK: u64 = 4 << 20;

/// Builds a disk with an ESP and a root partition, both filled with a pattern; with a disk signature, without boot
/// code.
pub(crate) fn gpt_disk(sector: SectorSize) -> Vec<u8> {
    gpt_disk_with(sector, &[(1, Guid::ESP, 0), (3, Guid::ROOT_X86_64, 0)])
}

/// Builds a disk with partitions of these numbers, types and attributes, 512 KiB each.
pub(crate) fn gpt_disk_with(sector: SectorSize, partitions: &[(u32, Guid, u64)]) -> Vec<u8> {
    let disk: Vec<u8> = (0..DISK).map(|at| if at < 1 << 20 { 0 } else { (at >> 9) as u8 }).collect();
    let sectors = (512 << 10) / sector.bytes();
    let partitions = (1..).zip(partitions).map(|(place, (number, kind, attributes))| Partition {
        number: *number,
        type_guid: *kind,
        unique_guid: Guid::derived(&number.to_le_bytes(), "partition"),
        starting_lba: Lba((place + 1) * sectors),
        ending_lba: Lba((place + 2) * sectors - 1),
        attributes: *attributes,
        name: String::new(),
    });
    let gpt = Gpt::new(sector, DISK, Guid::derived(b"test", "disk"), partitions.collect());
    let mut disk = Cursor::new(disk);
    gpt.write(&mut disk).and_then(|()| gpt.backup().write(&mut disk)).expect("in memory");
    let mut disk = disk.into_inner();
    let mut mbr = Mbr::protective([0; BOOT_CODE], DISK, Some(sector));
    mbr.signature = [0xde, 0xad, 0xbe, 0xef, 0, 0];
    disk[..512].copy_from_slice(&mbr.encode());
    disk
}

/// Creates a temporary directory, in memory if possible: stamping syncs the image, which is slow on disks.
#[allow(dead_code, reason = "some tests use a disk")]
pub(crate) fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory")
}

/// Runs a tool in a directory and checks that it succeeds.
#[allow(dead_code, reason = "some tests need no tools")]
#[track_caller]
pub(crate) fn tool(dir: &Path, words: &[&str]) -> Output {
    let output = Command::new(words[0]).args(&words[1..]).current_dir(dir).output().expect("the tool runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {}\n{text}", output.status);
    output
}

/// Reads a file in a directory.
pub(crate) fn read(dir: &Path, name: &str) -> Vec<u8> {
    fs::read(dir.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}
