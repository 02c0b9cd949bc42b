//! Tests with a small image made here: nested directories, Rock Ridge, Joliet, a boot catalog, and damage.

use std::io::Read;

use super::{EntryKind, Fault, Platform, Volume, is_iso};

const SECTOR: usize = 2048;

/// Directory record of `len` bytes at `block`, with this name and these system use fields.
fn record(name: &[u8], block: u32, len: u32, flags: u8, fields: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 33];
    bytes[2..6].copy_from_slice(&block.to_le_bytes());
    bytes[10..14].copy_from_slice(&len.to_le_bytes());
    bytes[18..25].copy_from_slice(&[126, 11, 29, 1, 2, 3, 0]);
    bytes[25] = flags;
    bytes[32] = name.len() as u8;
    bytes.extend(name);
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes.extend(fields);
    bytes[0] = bytes.len() as u8;
    bytes
}

fn field(name: &[u8], data: &[u8]) -> Vec<u8> {
    [name, &[4 + data.len() as u8, 1], data].concat()
}

fn nm(name: &str) -> Vec<u8> {
    field(b"NM", &[&[0], name.as_bytes()].concat())
}

fn put(image: &mut [u8], sector: usize, bytes: &[u8]) {
    image[sector * SECTOR..sector * SECTOR + bytes.len()].copy_from_slice(bytes);
}

fn descriptor(kind: u8) -> Vec<u8> {
    let mut bytes = vec![0; SECTOR];
    bytes[0] = kind;
    bytes[1..7].copy_from_slice(b"CD001\x01");
    bytes
}

fn catalog() -> Vec<u8> {
    let mut bytes = vec![0; 128];
    bytes[0] = 1;
    bytes[30..34].copy_from_slice(&[0x55, 0xAA, 0x88, 0]);
    let sum = bytes[..32].chunks(2).fold(0u16, |sum, word| sum.wrapping_add(u16::from_le_bytes([word[0], word[1]])));
    bytes[28..30].copy_from_slice(&sum.wrapping_neg().to_le_bytes());
    bytes[38] = 4;
    bytes[40] = 23;
    bytes[64..68].copy_from_slice(&[0x91, 0xEF, 1, 0]);
    bytes[96] = 0x88;
    bytes[102] = 8;
    bytes[104] = 24;
    bytes
}

/// Sectors: 16 to 18 descriptors, 19 boot catalog, 20 root directory, 21 `sub`, 22 file, 23 and 24 boot images, 25
/// continuation area, 26 Joliet root.
fn image(rock_ridge: bool) -> Vec<u8> {
    let mut image = vec![0; 32 * SECTOR];
    let fields = |fields: Vec<u8>| if rock_ridge { fields } else { Vec::new() };
    let mut primary = descriptor(1);
    primary[40..72].fill(b' ');
    primary[40..45].copy_from_slice(b"LABEL");
    primary[80] = 32;
    primary[128..130].copy_from_slice(&2048_u16.to_le_bytes());
    primary[156..190].copy_from_slice(&record(&[0], 20, 2048, 2, &[]));
    primary[883..893].copy_from_slice(b"ISO MD5SUM");
    put(&mut image, 16, &primary);
    let mut boot = descriptor(0);
    boot[7..30].copy_from_slice(b"EL TORITO SPECIFICATION");
    boot[71] = 19;
    put(&mut image, 17, &boot);
    put(&mut image, 18, &descriptor(255));
    put(&mut image, 19, &catalog());
    let far = [25, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0];
    let target = field(b"SL", &[0, 4, 0, 0, 3, b's', b'u', b'b']);
    let root = [
        record(&[0], 20, 2048, 2, &fields(field(b"SP", &[0xBE, 0xEF, 0]))),
        record(&[1], 20, 2048, 2, &[]),
        record(b"SUB", 21, 2048, 2, &fields(nm("a sub-directory"))),
        record(b"README.TXT;1", 22, 5, 0, &fields([nm("Read"), field(b"CE", &far)].concat())),
        record(b"LINK.;1", 0, 0, 0, &fields([nm("link"), target].concat())),
    ];
    put(&mut image, 20, &root.concat());
    let sub = [
        record(&[0], 21, 2048, 2, &[]),
        record(&[1], 20, 2048, 2, &[]),
        record(b"BIG.;1", 22, 2048, 0x80, &fields(nm("big"))),
        record(b"BIG.;1", 24, 3, 0, &fields(nm("big"))),
    ];
    put(&mut image, 21, &sub.concat());
    put(&mut image, 22, b"hello");
    put(&mut image, 24, b"efi");
    put(&mut image, 25, &nm(" me first"));
    image
}

fn paths(image: &[u8]) -> Vec<String> {
    let tree = Volume::open(image).expect("a volume").tree();
    tree.nodes.into_iter().map(|node| node.path).collect()
}

fn text(image: &[u8], path: &str) -> Vec<u8> {
    let volume = Volume::open(image).expect("a volume");
    let entry = volume.find(path).expect("found").expect("not the root");
    let mut bytes = Vec::new();
    volume.content(&entry).expect("a file").read_to_end(&mut bytes).expect("read");
    bytes
}

#[test]
fn names_links_and_files_of_rock_ridge_are_read() {
    let image = image(true);
    assert!(is_iso(&image));
    assert_eq!(paths(&image), ["a sub-directory", "Read me first", "link", "a sub-directory/big"]);
    assert_eq!(text(&image, "/Read me first"), b"hello");
    let big = text(&image, "A SUB-DIRECTORY/big");
    assert_eq!((big.len(), &big[..5], &big[2048..]), (2051, &b"hello"[..], &b"efi"[..]));
    let volume = Volume::open(&image).expect("a volume");
    let link = volume.find("link").expect("found").expect("an entry");
    assert_eq!(link.kind, EntryKind::Link("../sub".to_owned()));
    assert_eq!(link.modified.to_string(), "2026-11-29 01:02");
    assert!(matches!(volume.content(&link), Err(Fault::WrongType(..))));
    assert!(matches!(volume.find("none"), Err(Fault::Missing(_))));
    let descriptors = volume.descriptors();
    assert_eq!((descriptors.label.as_str(), descriptors.size, descriptors.has_checksum), ("LABEL", 65_536, true));
}

#[test]
fn plain_and_joliet_names_are_read_without_rock_ridge() {
    let mut plain = image(false);
    assert_eq!(paths(&plain), ["SUB", "README.TXT", "LINK", "SUB/BIG"]);
    let mut joliet = descriptor(2);
    joliet[88..91].copy_from_slice(b"%/E");
    joliet[156..190].copy_from_slice(&record(&[0], 26, 2048, 2, &[]));
    put(&mut plain, 18, &joliet);
    put(&mut plain, 26, &record(b"\0\xfc\0n\0i\0;\x001", 22, 5, 0, &[]));
    assert_eq!(paths(&plain), ["üni"]);
}

#[test]
fn the_boot_catalog_lists_an_image_for_each_firmware() {
    let image = image(true);
    let entries = Volume::open(&image).expect("a volume").boot_entries().expect("a catalog");
    let found: Vec<_> = entries.iter().map(|entry| (entry.platform, entry.bootable, entry.span(1 << 20))).collect();
    assert_eq!(found, [(Platform::Bios, true, (23 * 2048, 2048)), (Platform::Uefi, true, (24 * 2048, 4096))]);
    let mut rest = image.clone();
    rest[19 * SECTOR + 102] = 0;
    let entries = Volume::open(&rest).expect("a volume").boot_entries().expect("a catalog");
    assert_eq!(entries[1].span(32 * 2048), (24 * 2048, 8 * 2048), "the rest of the medium, as EDK2 reads it");
    for (at, byte) in [(0, 0), (31, 0), (4, 1)] {
        let mut bad = image.clone();
        bad[19 * SECTOR + at] = byte;
        assert!(matches!(Volume::open(&bad).expect("a volume").boot_entries(), Err(Fault::Catalog(_))), "{at}");
    }
}

#[test]
fn hostile_images_end_in_a_fault() {
    let whole = image(true);
    for length in [0, 16 * SECTOR, 16 * SECTOR + 2047, 20 * SECTOR] {
        assert!(Volume::open(&whole[..length]).is_err(), "{length}");
    }
    // A directory that contains itself is read once.
    let mut looped = whole.clone();
    put(&mut looped, 21, &record(b"UP", 20, 2048, 2, &nm("up")));
    assert_eq!(paths(&looped).last().map(String::as_str), Some("a sub-directory/up"));
    // A record that crosses the end of the directory, and a directory past the end of the medium.
    let mut cut = whole.clone();
    cut[21 * SECTOR] = 255;
    cut[21 * SECTOR + 32] = 250;
    let tree = Volume::open(&cut).expect("a volume").tree();
    assert!(matches!(tree.faults[..], [(_, Fault::Record { .. })]), "{:?}", tree.faults);
    let mut far = whole.clone();
    put(&mut far, 21, &record(b"FAR", u32::MAX, 2048, 2, &nm("far")));
    let tree = Volume::open(&far).expect("a volume").tree();
    assert!(matches!(tree.faults[..], [(_, Fault::Read { .. })]), "{:?}", tree.faults);
    let mut block = whole;
    block[16 * SECTOR + 128] = 1;
    assert!(matches!(Volume::open(&block), Err(Fault::Descriptor)));
}
