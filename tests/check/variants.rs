//! Disks of other kinds: other sector sizes, two tables, sizes at a limit, programs of gigabytes.

use std::collections::BTreeSet;
use std::io::Cursor;

use bootling::disk::check::disk;
use bootling::disk::check::program;
use bootling::format::Guid;
use bootling::format::Lba;
use bootling::format::Medium;
use bootling::format::SectorSize;
use bootling::format::gpt::Copy;
use bootling::format::gpt::Gpt;
use bootling::format::gpt::read;

use crate::change::rerecord;
use crate::recipe::{self, ESP, NOTED, Recipe, describe, ids, put, small, table};

#[test]
fn disks_with_4096_byte_sectors_are_valid_and_not_bootable_by_a_bios() {
    let recipe =
        Recipe { sector: SectorSize::S4096, kind: fatfs::FatType::Fat12, fat_sector: 4096, ..Recipe::default() };
    let image = recipe.build();
    let noted = BTreeSet::from(["fat-kind", "message-4kn", "sign-none"]);
    let report = disk(&image, Some(SectorSize::S4096));
    assert_eq!(ids(&report), noted, "{:#?}", describe(&report));
    let report = disk(&image, Some(SectorSize::S512));
    assert_eq!(ids(&report), &noted | &BTreeSet::from(["gpt-sector"]), "{:#?}", describe(&report));
    let small = Recipe { fat_sector: 512, kind: fatfs::FatType::Fat12, ..recipe }.build();
    assert_eq!(ids(&disk(&small, None)), &noted | &BTreeSet::from(["fat-sector"]));
    let odd = Recipe { extra: 4096, ..Recipe::default() }.build();
    assert_eq!(ids(&disk(&odd, None)), &BTreeSet::from(NOTED) | &BTreeSet::from(["size-mib"]));
}

/// Builds a disk with tables for both sector sizes. `other` is the first and last 4096-byte sector of the partition.
fn dual(other: (u64, u64)) -> Vec<u8> {
    let mut image = Recipe { fat_sector: 4096, kind: fatfs::FatType::Fat12, ..Recipe::default() }.build();
    let (end, size) = (image.len(), image.len() as u64);
    image[512..40_960].fill(0);
    image[end - 40_960..].fill(0);
    let mut disk = Cursor::new(image);
    let mut write = |sector: SectorSize, entries: u64, backup_entries: u64, partition| {
        let lba = |offset: u64| Lba(offset / sector.bytes());
        let mut gpt = Gpt::new(sector, size, Guid::derived(b"t", "disk"), vec![partition]);
        gpt.header.partition_entry_lba = lba(entries);
        gpt.header.first_usable_lba = lba(40_960);
        gpt.header.last_usable_lba = Lba(lba(size - 40_960).0 - 1);
        let mut backup = gpt.backup();
        backup.header.partition_entry_lba = lba(backup_entries);
        backup.write(&mut disk).and_then(|()| gpt.write(&mut disk)).expect("in memory");
    };
    // The zeros after the larger header precede the smaller one, which comes second.
    write(SectorSize::S4096, 8192, size - 20_480, recipe::esp(other.0, other.1));
    write(SectorSize::S512, 24_576, size - 36_864, recipe::esp(2048, 2048 + (8 << 11) - 1));
    let mut image = disk.into_inner();
    rerecord(&mut image, |mbr| mbr.records[0].sectors = u32::MAX);
    image
}

#[test]
fn two_tables_are_valid_together_or_their_differences_reported() {
    let image = dual((256, 256 + (8 << 8) - 1));
    let noted = BTreeSet::from(NOTED);
    let report = disk(&image, None);
    assert_eq!(ids(&report), noted, "{:#?}", describe(&report));
    for known in SectorSize::ALL {
        assert_eq!(ids(&disk(&image, Some(known))), noted);
    }
    let shifted = dual((256, 256 + (8 << 8) - 2));
    assert_eq!(ids(&disk(&shifted, None)), &noted | &BTreeSet::from(["dual-spans"]));
    let mut sized = image.clone();
    rerecord(&mut sized, |mbr| mbr.records[0].sectors = (image.len() / 512 - 1) as u32);
    assert_eq!(ids(&disk(&sized, None)), &noted | &BTreeSet::from(["pmbr-size"]));
    // The partition in the 4096-byte table starts in the entries of the 512-byte table.
    let overlapping = ids(&disk(&dual((9, 256 + (8 << 8) - 1)), None));
    assert!(overlapping.is_superset(&BTreeSet::from(["dual-overlap", "dual-spans", "part-range"])), "{overlapping:?}");
}

#[test]
fn a_header_of_another_revision_is_reported() {
    let mut image = small();
    for at in [512, image.len() - 512] {
        image[at + 10] = 2;
        image[at + 16..at + 20].fill(0);
        let sum = crc32fast::hash(&image[at..at + 92]);
        put(&mut image, at + 16, &sum.to_le_bytes());
    }
    assert_eq!(ids(&disk(&image, None)), &BTreeSet::from(NOTED) | &BTreeSet::from(["gpt-revision"]));
}

#[test]
fn a_cluster_count_close_to_a_limit_is_reported() {
    let mut image = small();
    let at = ESP + 19;
    let sectors = u16::from_le_bytes([image[at], image[at + 1]]);
    let reserved = (table(&image) - ESP) / 512 + 2 * usize::from(image[ESP + 22]) + 32;
    assert!(usize::from(sectors) > reserved + 4090);
    put(&mut image, at, &((reserved + 4090) as u16).to_le_bytes());
    assert_eq!(ids(&disk(&image, None)), &BTreeSet::from(NOTED) | &BTreeSet::from(["fat-margin"]));
}

/// A file with contents at its start and a hole of gigabytes after them.
struct Holey {
    begin: Vec<u8>,
    size: u64,
}

impl Medium for Holey {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        buffer.fill(0);
        let start = usize::try_from(offset).expect("64 bits");
        let there = self.begin.get(start..).unwrap_or_default();
        let count = there.len().min(buffer.len());
        buffer[..count].copy_from_slice(&there[..count]);
        Ok(())
    }
}

#[test]
fn programs_of_two_gigabytes_and_stale_signatures_are_reported() {
    let begin = recipe::uki(&recipe::initrd(b"init", 0o100_755));
    let large = Holey { begin: begin.clone(), size: 1 << 31 };
    assert_eq!(ids(&program(&large, "x")), BTreeSet::from(["pe-large", "sign-none"]));
    let mut signed = begin;
    let (at, digest) = (signed.len() as u32, [7; 32]);
    let oid = b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20";
    signed.extend([64, 0, 0, 0, 0, 2, 2, 0]);
    signed.extend(oid);
    signed.extend(digest);
    signed.resize(at as usize + 64, 0);
    put(&mut signed, 0x98 + 144, &at.to_le_bytes());
    put(&mut signed, 0x98 + 148, &64_u32.to_le_bytes());
    assert_eq!(ids(&program(&signed, "x")), BTreeSet::from(["sign-stale"]));
    // The headers end before the fields that the digest omits: no signature is possible.
    put(&mut signed, 0x98 + 60, &16_u32.to_le_bytes());
    let report = program(&signed, "x");
    assert_eq!(ids(&report), BTreeSet::from(["pe-broken"]), "{:#?}", describe(&report));
}

#[test]
fn a_small_entry_count_is_valid_if_the_space_for_the_minimum_is_reserved() {
    let mut image = small();
    let mut gpt = read(&image, SectorSize::S512, Copy::Primary).expect("a table");
    gpt.header.number_of_partition_entries = 56;
    let mut written = Cursor::new(&mut image[..]);
    gpt.write(&mut written).and_then(|()| gpt.backup().write(&mut written)).expect("in memory");
    let report = disk(&image, None);
    assert_eq!(ids(&report), BTreeSet::from(NOTED), "{:#?}", describe(&report));
}
