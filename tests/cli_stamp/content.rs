//! Files that are not disks: `stamp` never destroys what it recognizes, whatever the options.

use bootling::format::mbr::BOOT_CODE;

use crate::case::{Case, standard};

/// Returns a file of 64 KiB without zeros in its first sector, with these bytes.
fn file(parts: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; 64 << 10];
    bytes[..512].fill(0xa5);
    for (at, part) in parts {
        bytes[*at..at + part.len()].copy_from_slice(part);
    }
    bytes
}

#[test]
fn what_a_boot_sector_would_destroy_is_overwritten_only_after_it_is_saved() {
    let pe: &[(usize, &[u8])] = &[(0, b"MZ"), (0x3c, &[0x80, 0, 0, 0]), (0x80, b"PE\0\0")];
    let signed: (usize, &[u8]) = (510, &[0x55, 0xAA]);
    for (name, bytes) in [
        ("an EFI program", file(pe)),
        ("a FAT file system", file(&[(82, b"FAT32   "), signed])),
        ("an NTFS file system", file(&[(3, b"NTFS    "), signed])),
        ("a LUKS volume", file(&[(0, b"LUKS\xba\xbe\0\x02")])),
        ("an lz4 file", file(&[(0, b"\x02\x21\x4c\x18")])),
        ("a tar archive", file(&[(257, b"ustar")])),
        ("data of an unknown format", file(&[])),
    ] {
        let case = Case::with(&bytes);
        let refused = format!(
            "error: failed to stamp x.img: it contains {name}, not a partitioned disk[..]\nadvice: [..]--save[..]\n"
        );
        for words in [&["stamp", "x.img"][..], &["stamp", "--force", "x.img"], &["stamp", "--undo", "--force", "x.img"]]
        {
            case.fails(words, &refused);
        }
        case.fails(&["stamp", "--save", "old", "x.img"], &refused);
        case.fails(&["byebyebios", "-f", "x.img"], &refused);
        case.bootling(&["stamp", "-q", "--force", "--save", "old", "x.img"]).assert().success();
        // A BIOS starts only a sector with this signature.
        let is_signed = bytes[510..512] == [0x55, 0xAA];
        let (after, mut rest) = (case.read("x.img"), bytes[BOOT_CODE..].to_vec());
        rest[510 - BOOT_CODE..512 - BOOT_CODE].copy_from_slice(&[0x55, 0xAA]);
        assert!(after[..BOOT_CODE] == standard() && after[BOOT_CODE..] == rest, "{name}");
        assert!(case.read("old") == bytes[..if is_signed { BOOT_CODE } else { 512 }], "{name}");
        case.bootling(&["stamp", "-q", "--undo=old", "x.img"]).assert().success();
        assert!(case.read("x.img") == bytes, "{name}: the file is the old one again");
    }
}

#[test]
fn a_container_opened_as_raw_is_not_overwritten() {
    let case = Case::with(file(&[(0, b"QFI\xfb\0\0\0\x03")]));
    case.fails(
        &["stamp", "--force", "--format", "raw", "x.img"],
        "error: failed to stamp x.img: it contains an image container[..]\nadvice: [..]\n",
    );
}

#[test]
fn an_mbr_disk_with_an_esp_is_stamped_and_one_without_is_refused() {
    let mut disk = vec![0; 1 << 20];
    disk[446..462].copy_from_slice(&[0, 0, 2, 0, 0xEF, 0xFF, 0xFF, 0xFF, 64, 0, 0, 0, 0, 1, 0, 0]);
    disk[510..512].copy_from_slice(&[0x55, 0xAA]);
    let case = Case::with(&disk);
    case.says(&["stamp", "x.img"], "bootling: x.img (raw): boot sector written, [..] of 440 bytes\n");
    assert!(case.read("x.img")[BOOT_CODE..] == disk[BOOT_CODE..]);
    disk[450] = 0x83;
    case.write("x.img", &disk);
    case.fails(
        &["stamp", "x.img"],
        "error: failed to stamp x.img: no GUID partition table at byte 512 or byte 4096 and no MBR partition of type EF[..]\nadvice: [..]\n",
    );
}
