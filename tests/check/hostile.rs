//! Malicious images: a check ends quickly, without a panic, and reports the fault.

use std::collections::BTreeSet;

use bootling::disk::check::Severity;
use bootling::disk::check::disk;
use bootling::disk::check::disk_within;
use bootling::disk::check::initrd;

use crate::recipe::{self, ESP, ids, loader, put, small, table};

#[test]
fn the_walk_ends_in_directories_seventy_levels_deep() {
    let mut image = small();
    let path = ["a"; 70].join("/") + "/x";
    let volume = recipe::volume(fatfs::FatType::Fat16, 512, 8 << 20, &[(&path, b"")]);
    put(&mut image, ESP, &volume);
    assert_eq!(ids(&disk(&image, None)), BTreeSet::from(["fat-cut", "fat-kind"]));
}

/// An endless archive.
struct Endless {
    member: Vec<u8>,
    at: usize,
}

impl std::io::Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        for byte in buffer.iter_mut() {
            *byte = self.member[self.at % self.member.len()];
            self.at += 1;
        }
        Ok(buffer.len())
    }
}

#[test]
fn an_endless_archive_is_cut() {
    let archive = recipe::initrd(b"init", 0o100_755);
    let end = archive.windows(10).position(|bytes| bytes == b"TRAILER!!!").expect("a trailer") - 110;
    let report = initrd(Endless { member: archive[..end].to_vec(), at: 0 }, "x").expect("an initrd");
    assert_eq!(ids(&report), BTreeSet::from(["initrd-cut"]));
}

#[test]
fn a_truncated_image_is_reported() {
    let image = small();
    let uki = loader(&image);
    let end = image.len();
    let lengths = [0, 1, 511, 512, 513, 1023, 1024, 1100, 17_407, 17_408, ESP, ESP + 511, ESP + 512, ESP + 5000, uki];
    let more = [uki + 1, uki + 64, uki + 0x90, uki + 500, uki + 5000, end - 17_000, end - 512, end - 1];
    for length in lengths.into_iter().chain(more) {
        let cut = image[..length].to_vec();
        let report = disk(&cut, None);
        assert!(report.count(Severity::Error) > 0, "{length}");
    }
}

#[test]
fn any_byte_of_the_tables_may_change() {
    let mut image = small();
    let uki = loader(&image);
    let spots = (440..640).chain(1024..1160).chain(ESP..ESP + 64).chain(uki..uki + 0x98 + 240 + 280);
    for at in spots.chain(table(&image)..table(&image) + 64) {
        for byte in [0, 0x7F, 0x80, 0xFF] {
            let good = std::mem::replace(&mut image[at], byte);
            assert!(disk(&image, None).findings.len() < 200);
            image[at] = good;
        }
    }
}

/// Builds a UKI with an initrd of some kilobytes that unpacks to 64 MiB.
fn bomb() -> Vec<u8> {
    let mut archive = recipe::initrd(b"init", 0o100_755);
    archive.resize(64 << 20, 0);
    recipe::uki(&zstd::encode_all(archive.as_slice(), 1).expect("a stream"))
}

#[test]
fn the_unpacked_size_of_all_initrds_together_is_bounded() {
    let bomb = bomb();
    let names: Vec<String> = (0..8).map(|n| format!("EFI/LINUX/{n}.EFI")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), bomb.as_slice())).collect();
    let mut image = small();
    put(&mut image, ESP, &recipe::volume(fatfs::FatType::Fat16, 512, 8 << 20, &files));
    assert!(!ids(&disk(&image, None)).contains("initrd-cut"));
    // Enough for the first initrd and a part of the second.
    let report = disk_within(&image, None, 100 << 20);
    let cut = report.findings.iter().filter(|finding| finding.rule.id == "initrd-cut").count();
    assert_eq!(cut, 7, "{:#?}", recipe::describe(&report));
    assert!(!ids(&report).contains("initrd-broken"), "{:#?}", recipe::describe(&report));
}

#[test]
fn zeros_between_archives_count_toward_the_limit() {
    let mut members = recipe::initrd(b"init", 0o100_755);
    members.resize(16 << 20, 0);
    let segment = zstd::encode_all(members.as_slice(), 1).expect("a stream");
    let uki = recipe::uki(&segment.repeat(8));
    let mut image = small();
    let volume = recipe::volume(fatfs::FatType::Fat16, 512, 8 << 20, &[("EFI/BOOT/BOOTX64.EFI", &uki)]);
    put(&mut image, ESP, &volume);
    assert!(ids(&disk_within(&image, None, 100 << 20)).contains("initrd-cut"));
    assert!(!ids(&disk_within(&image, None, 200 << 20)).contains("initrd-cut"));
}

#[test]
fn a_file_with_many_names_is_checked_once_and_the_number_of_files_is_limited() {
    let names: Vec<String> = (0..80).map(|n| format!("EFI/LINUX/{n:02}.EFI")).collect();
    let uki = recipe::uki(&recipe::initrd(b"init", 0o100_755));
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), uki.as_slice())).collect();
    let mut image = small();
    put(&mut image, ESP, &recipe::volume(fatfs::FatType::Fat16, 512, 8 << 20, &files));
    let programs = |image: &Vec<u8>| {
        let report = disk(image, None);
        let looked = report.subjects.iter().filter(|subject| subject.facts.starts_with("UKI")).count();
        (looked, ids(&report).contains("loader-cut"))
    };
    assert_eq!(programs(&image), (64, true));
    // Every entry refers to the cluster of the first.
    let entries: Vec<usize> =
        (ESP..image.len() - 32).step_by(32).filter(|at| image[at + 2..at + 11] == *b"      EFI").collect();
    assert_eq!(entries.len(), 80);
    let first = image[entries[0] + 26..entries[0] + 28].to_vec();
    for at in entries {
        put(&mut image, at + 26, &first);
    }
    assert_eq!(programs(&image), (1, false));
}
