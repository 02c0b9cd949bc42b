//! Tests of the FAT reader with volumes written by the fatfs crate, valid and damaged.

use std::io::{Cursor, Read, Write};

use proptest::collection::vec;
use proptest::prelude::{any, proptest};

use super::chain::ChainFault;
use super::directory::{Entry, Irregularity};
use super::{Bpb, BpbFault, FatType, Fault, Volume};
use crate::format::Medium;

type FaultTest = fn(&Fault) -> bool;
type BpbTest = fn(&BpbFault) -> bool;

/// Returns a volume with files, written by the fatfs crate.
fn made(kind: fatfs::FatType, sector: u16, bytes: u64) -> Vec<u8> {
    let mut disk = Cursor::new(vec![0; bytes as usize]);
    let options =
        fatfs::FormatVolumeOptions::new().fat_type(kind).bytes_per_sector(sector).bytes_per_cluster(u32::from(sector));
    fatfs::format_volume(&mut disk, options).expect("a volume");
    {
        let volume = fatfs::FileSystem::new(&mut disk, fatfs::FsOptions::new()).expect("a volume");
        let root = volume.root_dir();
        for (path, content) in files() {
            if let Some((parent, _)) = path.rsplit_once('/') {
                let mut so_far = String::new();
                for name in parent.split('/') {
                    so_far += name;
                    root.create_dir(&so_far).expect("a directory");
                    so_far.push('/');
                }
            }
            root.create_file(path).expect("a file").write_all(&content).expect("room");
        }
    }
    disk.into_inner()
}

fn files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("EFI/BOOT/BOOTX64.EFI", (0..70_001_u32).map(|n| (n % 251) as u8).collect()),
        ("EFI/BOOT/a rather long name, in lower case.txt", b"long".to_vec()),
        ("loader/Größe – ☃.conf", b"names of all kinds".to_vec()),
        ("empty", Vec::new()),
    ]
}

fn read(volume: &Volume<Vec<u8>>, path: &str) -> Vec<u8> {
    let entry = volume.find(path).expect("a path").expect("no root");
    let mut bytes = Vec::new();
    volume.content(&entry).expect("content").read_to_end(&mut bytes).expect("bytes");
    bytes
}

const KINDS: [(fatfs::FatType, FatType, u16, u64); 6] = [
    (fatfs::FatType::Fat12, FatType::Fat12, 512, 1 << 20),
    (fatfs::FatType::Fat12, FatType::Fat12, 4096, 8 << 20),
    (fatfs::FatType::Fat16, FatType::Fat16, 512, 8 << 20),
    (fatfs::FatType::Fat16, FatType::Fat16, 4096, 40 << 20),
    (fatfs::FatType::Fat32, FatType::Fat32, 512, 40 << 20),
    (fatfs::FatType::Fat32, FatType::Fat32, 4096, 300 << 20),
];

#[test]
fn volumes_of_fatfs_are_read_in_all_types_and_sector_sizes() {
    for (theirs, kind, sector, bytes) in KINDS {
        let volume = Volume::open(made(theirs, sector, bytes)).expect("a volume");
        assert_eq!(volume.geometry().fat_type, kind, "{sector}");
        assert_eq!((volume.geometry().sector, volume.geometry().size), (u64::from(sector), bytes));
        for (path, content) in files() {
            assert_eq!(read(&volume, path), content, "{kind} {path}");
            assert_eq!(read(&volume, &path.to_ascii_uppercase().replace('/', "\\")), content, "{kind} {path}");
        }
        let tree = volume.tree();
        let paths: Vec<String> = (0..tree.nodes.len()).map(|index| tree.path(Some(index))).collect();
        assert_eq!(paths.len(), 7, "{paths:?}");
        assert!(files().iter().all(|(path, _)| paths.iter().any(|other| other == path)), "{paths:?}");
        assert!(tree.faults.is_empty() && tree.shared.is_empty() && tree.oversized.is_empty(), "{tree:?}");
    }
}

#[test]
fn file_content_supports_random_access() {
    let volume = Volume::open(made(fatfs::FatType::Fat16, 512, 8 << 20)).expect("a volume");
    let entry = volume.find("efi/boot/bootx64.efi").expect("a path").expect("no root");
    let content = volume.content(&entry).expect("content");
    let whole = files().remove(0).1;
    let mut bytes = [0; 1000];
    content.read_at(&mut bytes, 69_001).expect("inside");
    assert_eq!(bytes[..], whole[69_001..]);
    content.read_at(&mut bytes, 69_002).expect_err("past the end");
    content.read_at(&mut bytes, u64::MAX).expect_err("past the end");
    assert_eq!(content.size(), 70_001);
}

#[test]
fn a_missing_name_and_a_file_used_as_a_directory_are_different_errors() {
    let volume = Volume::open(made(fatfs::FatType::Fat12, 512, 1 << 20)).expect("a volume");
    assert!(matches!(volume.find("EFI/nothing"), Err(Fault::Missing(name)) if name == "nothing"));
    assert!(matches!(volume.find("empty/x"), Err(Fault::WrongType(name, _)) if name == "empty"));
    assert!(matches!(volume.find("/"), Ok(None)));
    let directory = volume.find("EFI").expect("a path").expect("no root");
    assert!(matches!(volume.content(&directory), Err(Fault::WrongType(..))));
}

/// Returns the offset of the entry with this short name.
fn entry_at(disk: &[u8], short: &[u8; 11]) -> usize {
    disk.chunks(32).position(|entry| &entry[..11] == short).expect("the entry") * 32
}

/// Returns a FAT16 volume and its large file.
fn sample() -> (Vec<u8>, Entry) {
    let disk = made(fatfs::FatType::Fat16, 512, 8 << 20);
    let volume = Volume::open(disk.clone()).expect("a volume");
    let entry = volume.find("EFI/BOOT/BOOTX64.EFI").expect("a path").expect("no root");
    (disk, entry)
}

fn set(disk: &mut [u8], cluster: u32, value: u16) {
    let table = Volume::open(disk.to_vec()).expect("a volume").geometry().table as usize;
    disk[table + 2 * cluster as usize..][..2].copy_from_slice(&value.to_le_bytes());
}

#[test]
fn invalid_chains_end_in_a_fault() {
    let (good, entry) = sample();
    let second = entry.cluster + 1;
    let cases: [(u16, FaultTest); 6] = [
        (entry.cluster as u16, |fault| matches!(fault, Fault::Chain(ChainFault::Loop { .. }))),
        (second as u16, |fault| matches!(fault, Fault::Chain(ChainFault::Loop { .. }))),
        (0, |fault| matches!(fault, Fault::Chain(ChainFault::Unallocated { what: "free", .. }))),
        (0xFFF7, |fault| matches!(fault, Fault::Chain(ChainFault::Unallocated { what: "bad", .. }))),
        (0xFFF0, |fault| matches!(fault, Fault::Chain(ChainFault::OutOfRange { .. }))),
        (0xFFFF, |fault| matches!(fault, Fault::Short { has: 2, .. })),
    ];
    for (value, expected) in cases {
        let mut disk = good.clone();
        set(&mut disk, second, value);
        let volume = Volume::open(disk).expect("a volume");
        let fault = volume.content(&entry).expect_err("a fault");
        assert!(expected(&fault), "{value:x}: {fault:?}");
        let tree = volume.tree();
        assert!(tree.faults.len() + tree.shared.len() >= 1, "{value:x}");
    }
}

#[test]
fn a_directory_that_contains_itself_is_listed_once() {
    let (mut disk, _) = sample();
    let volume = Volume::open(disk.clone()).expect("a volume");
    let above = volume.find("EFI").expect("a path").expect("no root").cluster as u16;
    let at = entry_at(&disk, b"BOOT       ");
    disk[at + 26..at + 28].copy_from_slice(&above.to_le_bytes());
    let volume = Volume::open(disk).expect("a volume");
    let tree = volume.tree();
    assert_eq!(tree.shared.len(), 1, "{tree:?}");
    assert!(tree.nodes.len() < 10);
    // A lookup by path follows the loop as often as the path does.
    assert!(volume.find("EFI/BOOT/BOOT/BOOT/BOOT").expect("a path").is_some());
}

#[test]
fn files_that_share_a_cluster_and_chains_that_are_too_long_are_reported() {
    let (mut disk, entry) = sample();
    let at = entry_at(&disk, b"EMPTY      ");
    disk[at + 26..at + 28].copy_from_slice(&(entry.cluster as u16 + 3).to_le_bytes());
    disk[at + 28] = 1;
    assert_eq!(Volume::open(disk.clone()).expect("a volume").tree().shared.len(), 1);
    let large = entry_at(&disk, b"BOOTX64 EFI");
    disk[large + 28..large + 32].copy_from_slice(&600_u32.to_le_bytes());
    disk[at + 26..at + 29].fill(0);
    let tree = Volume::open(disk).expect("a volume").tree();
    assert_eq!(tree.oversized.len(), 1);
    assert!(tree.faults.is_empty(), "{:?}", tree.faults);
}

#[test]
fn a_damaged_long_name_is_reported_and_the_short_name_is_used() {
    let (mut disk, _) = sample();
    let at = entry_at(&disk, b"ARATHE~1TXT");
    disk[at - 32 + 13] ^= 1;
    let volume = Volume::open(disk).expect("a volume");
    let tree = volume.tree();
    assert!(tree.irregular.iter().any(|(_, odd)| *odd == Irregularity::StrayName), "{:?}", tree.irregular);
    assert!(volume.find("EFI/BOOT/ARATHE~1.TXT").expect("a path").is_some());
}

#[test]
fn invalid_boot_sectors_are_refused_with_a_reason() {
    let (good, _) = sample();
    let cases: [(usize, &[u8], BpbTest); 10] = [
        (11, &[0, 0], |fault| matches!(fault, BpbFault::Zero("the sector size"))),
        (11, &[1, 2], |fault| matches!(fault, BpbFault::SectorSize(513))),
        (11, &[0, 128], |fault| matches!(fault, BpbFault::SectorSize(32768))),
        (13, &[3], |fault| matches!(fault, BpbFault::ClusterSectors(3))),
        (13, &[0], |fault| matches!(fault, BpbFault::Zero(_))),
        (14, &[0, 0], |fault| matches!(fault, BpbFault::Zero(_))),
        (16, &[0], |fault| matches!(fault, BpbFault::Zero(_))),
        (19, &[20, 0], |fault| matches!(fault, BpbFault::NoRoom { sectors: 20, .. })),
        (17, &[0, 0], |fault| matches!(fault, BpbFault::RootEntries)),
        (21, &[0x77], |fault| matches!(fault, BpbFault::Media(0x77))),
    ];
    for (at, bytes, expected) in cases {
        let mut disk = good.clone();
        disk[at..at + bytes.len()].copy_from_slice(bytes);
        let Err(Fault::Bpb(fault)) = Volume::open(disk) else { panic!("{at} {bytes:?}") };
        assert!(expected(&fault), "{at}: {fault}");
    }
    assert!(matches!(Volume::open(vec![0; 511]), Err(Fault::Read { .. })));
}

#[test]
fn fat32_with_too_few_clusters_is_read_and_detected() {
    let mut disk = made(fatfs::FatType::Fat32, 512, 40 << 20);
    assert!(!Volume::open(disk.clone()).expect("a volume").geometry().has_too_few_clusters());
    disk[32..36].copy_from_slice(&60_000_u32.to_le_bytes());
    let volume = Volume::open(disk).expect("a volume");
    assert!(volume.geometry().has_too_few_clusters());
    assert_eq!(read(&volume, "EFI/BOOT/BOOTX64.EFI").len(), 70_001);
}

proptest! {
    #[test]
    fn geometry_never_overflows(bytes in vec(any::<u8>(), 512)) {
        let bytes: [u8; 512] = bytes.try_into().expect("512 bytes");
        if let Ok(geometry) = Bpb::decode(&bytes).geometry() {
            assert!(geometry.data < geometry.size);
            assert!(geometry.data + geometry.clusters * geometry.cluster <= geometry.size);
        }
    }

    #[test]
    fn damaged_volumes_never_hang_or_panic(changes in vec((0_usize..80_000, any::<u8>()), 1..20)) {
        static GOOD: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let mut disk = GOOD.get_or_init(|| made(fatfs::FatType::Fat12, 512, 1 << 20)).clone();
        for (at, byte) in changes {
            disk[at] = byte;
        }
        if let Ok(volume) = Volume::open(disk) {
            let tree = volume.tree();
            for index in 0..tree.nodes.len() {
                assert!(!tree.path(Some(index)).is_empty());
            }
        }
    }
}
