//! Small, valid disk images, UKIs and initrds for tests. Of the code under test, only the partition table writer is
//! used.

use std::io::{Cursor, Write};

use std::collections::BTreeSet;

use bootling::disk::check::Finding;
use bootling::disk::check::Report;
use bootling::format::Guid;
use bootling::format::Lba;
use bootling::format::SectorSize;
use bootling::format::bootsector::Message;
use bootling::format::bootsector::Then;
use bootling::format::bootsector::boot_code;
use bootling::format::gpt::Gpt;
use bootling::format::gpt::Partition;
use bootling::format::mbr::Mbr;

/// Offset of the ESP in bytes.
pub(crate) const ESP: usize = 1 << 20;

/// Notes about every disk of these tests: not FAT32, and not signed.
pub(crate) const NOTED: [&str; 2] = ["fat-kind", "sign-none"];

/// A disk with an ESP that contains a UKI, and with a message in the boot sector.
pub(crate) struct Recipe {
    pub sector: SectorSize,
    pub kind: fatfs::FatType,
    /// FAT sector size in bytes.
    pub fat_sector: u16,
    /// Size of the ESP in bytes.
    pub esp: usize,
    /// Additional bytes at the end of the disk.
    pub extra: usize,
}

impl Default for Recipe {
    fn default() -> Self {
        Self { sector: SectorSize::S512, kind: fatfs::FatType::Fat16, fat_sector: 512, esp: 8 << 20, extra: 0 }
    }
}

impl Recipe {
    /// Builds the disk.
    pub(crate) fn build(&self) -> Vec<u8> {
        let size = ESP + self.esp + (1 << 20) + self.extra;
        let mut disk = Cursor::new(vec![0; size]);
        let sector = self.sector.bytes();
        let part = esp(ESP as u64 / sector, (ESP + self.esp) as u64 / sector - 1);
        let gpt = Gpt::new(self.sector, size as u64, Guid::derived(b"t", "disk"), vec![part]);
        gpt.write(&mut disk).and_then(|()| gpt.backup().write(&mut disk)).expect("in memory");
        let mut disk = disk.into_inner();
        let code = boot_code(&Message::standard(), Then::Halt).expect("the standard message fits");
        disk[..512].copy_from_slice(&Mbr::protective(code, size as u64, Some(self.sector)).encode());
        let uki = uki(&initrd(b"init", 0o100_755));
        let volume = volume(self.kind, self.fat_sector, self.esp, &[("EFI/BOOT/BOOTX64.EFI", &uki)]);
        disk[ESP..ESP + self.esp].copy_from_slice(&volume);
        disk
    }
}

/// Returns the partition entry of an ESP.
pub(crate) fn esp(first: u64, last: u64) -> Partition {
    Partition {
        number: 1,
        type_guid: Guid::ESP,
        unique_guid: Guid::derived(b"t", "esp"),
        starting_lba: Lba(first),
        ending_lba: Lba(last),
        attributes: 0,
        name: "ESP".into(),
    }
}

/// Builds a FAT volume for the offset [`ESP`] of a disk.
pub(crate) fn volume(kind: fatfs::FatType, sector: u16, bytes: usize, files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut disk = Cursor::new(vec![0; bytes]);
    let cluster = if kind == fatfs::FatType::Fat12 { 4096 } else { u32::from(sector) };
    let options = fatfs::FormatVolumeOptions::new().fat_type(kind).bytes_per_sector(sector).bytes_per_cluster(cluster);
    fatfs::format_volume(&mut disk, options).expect("a volume");
    {
        let volume = fatfs::FileSystem::new(&mut disk, fatfs::FsOptions::new()).expect("a volume");
        let root = volume.root_dir();
        for (path, content) in files {
            for (at, _) in path.match_indices('/') {
                root.create_dir(&path[..at]).expect("a directory");
            }
            root.create_file(path).expect("a file").write_all(content).expect("room");
        }
    }
    let mut volume = disk.into_inner();
    let hidden = (ESP / usize::from(sector)) as u32;
    let backup = if kind == fatfs::FatType::Fat32 { 6 * usize::from(sector) } else { 0 };
    for at in [0, backup] {
        volume[at + 28..at + 32].copy_from_slice(&hidden.to_le_bytes());
    }
    fix_dots(&mut volume);
    volume
}

/// Fixes the `.` and `..` entries of fatfs 0.3, which have long names and, in a first-level directory, refer to the
/// FAT32 root by its cluster: fsck.fat reports both.
fn fix_dots(volume: &mut [u8]) {
    let root = if volume[22..24] == [0, 0] { volume[44..46].to_vec() } else { vec![0, 0] };
    for at in (32..volume.len() - 96).step_by(32) {
        if &volume[at..at + 11] == b".          " && &volume[at + 64..at + 75] == b"..         " {
            volume.copy_within(at..at + 32, at - 32);
            volume.copy_within(at + 64..at + 96, at);
            volume[at + 32] = 0xE5;
            volume[at + 64] = 0xE5;
            if volume[at + 26..at + 28] == *root {
                volume[at + 26..at + 28].fill(0);
            }
        }
    }
}

/// Builds a UKI with this initrd and all usual sections.
pub(crate) fn uki(initrd: &[u8]) -> Vec<u8> {
    let kernel = pe(&[(".text", b"kernel")]);
    pe(&[
        (".text", b"stub"),
        (".sdmagic", b"#### LoaderInfo: systemd-stub 252 ####"),
        (".osrel", b"ID=test\n"),
        (".cmdline", b"console=ttyS0"),
        (".uname", b"6.12.0-test"),
        (".initrd", initrd),
        (".linux", &kernel),
    ])
}

/// Builds an x64 EFI application with these sections, aligned to pages in memory and to 512 bytes in the file.
pub(crate) fn pe(sections: &[(&str, &[u8])]) -> Vec<u8> {
    let mut file = vec![0; 1024];
    let mut address = 0x1000_u32;
    for (index, (name, content)) in sections.iter().enumerate() {
        let at = 0x98 + 240 + 40 * index;
        let (size, raw) = (content.len() as u32, content.len().next_multiple_of(512) as u32);
        file[at..at + name.len().min(8)].copy_from_slice(&name.as_bytes()[..name.len().min(8)]);
        for (index, word) in [size, address, raw, file.len() as u32].into_iter().enumerate() {
            file[at + 8 + 4 * index..at + 12 + 4 * index].copy_from_slice(&word.to_le_bytes());
        }
        file[at + 36..at + 40].copy_from_slice(&0x4000_0040_u32.to_le_bytes());
        file.extend(*content);
        file.resize(file.len().next_multiple_of(512), 0);
        address += size.next_multiple_of(0x1000).max(0x1000);
    }
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &[0x80]);
    put(0x80, b"PE\0\0\x64\x86");
    put(0x86, &(sections.len() as u16).to_le_bytes());
    put(0x94, &240_u16.to_le_bytes());
    put(0x98, &0x20b_u16.to_le_bytes());
    for (at, word) in [(32, 0x1000), (36, 0x200), (44, 1), (56, address), (60, 1024), (68, 10), (108, 16)] {
        put(0x98 + at, &u32::to_le_bytes(word));
    }
    file
}

/// Builds an initrd with one file of this name and mode.
pub(crate) fn initrd(name: &[u8], mode: u32) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, mode, content) in [(name, mode, &b"#!/bin/sh\n"[..]), (b"TRAILER!!!", 0, b"")] {
        let fields = [1, mode, 0, 0, 1, 0, content.len() as u32, 0, 0, 0, 0, name.len() as u32 + 1, 0];
        archive.extend(b"070701");
        archive.extend(fields.iter().flat_map(|field| format!("{field:08x}").into_bytes()));
        archive.extend(name);
        archive.push(0);
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend(content);
        archive.resize(archive.len().next_multiple_of(4), 0);
    }
    archive
}

pub(crate) fn ids(report: &Report) -> BTreeSet<&'static str> {
    report.findings.iter().map(|finding| finding.rule.id).collect()
}

pub(crate) fn small() -> Vec<u8> {
    Recipe::default().build()
}

/// Returns the offset of the first FAT in the ESP of [`small`] or `fat32`.
pub(crate) fn table(disk: &[u8]) -> usize {
    ESP + 512 * usize::from(u16::from_le_bytes([disk[ESP + 14], disk[ESP + 15]]))
}

/// Returns the offset of the loader.
pub(crate) fn loader(disk: &[u8]) -> usize {
    ESP + disk[ESP..].chunks(512).position(|sector| sector.starts_with(b"MZ")).expect("a loader") * 512
}

pub(crate) fn put(disk: &mut [u8], at: usize, bytes: &[u8]) {
    disk[at..at + bytes.len()].copy_from_slice(bytes);
}

pub(crate) fn describe(report: &Report) -> Vec<String> {
    let tell = |f: &Finding| format!("{} {:?} {:?}: {}", f.rule.id, f.place.part, f.place.offset, f.what);
    report.findings.iter().map(tell).collect()
}
