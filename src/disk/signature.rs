//! Recognizes content that begins in the first sector of a file, where a boot sector would destroy it: programs, file
//! systems, archives, encrypted volumes, and containers that were opened as raw.
//!
//! File systems that leave their first sector free (ext4, btrfs, ISO 9660, swap) are not listed. The signatures are
//! those of `file(1)` and of `libblkid`.

use super::container::Content;
use crate::format::Medium;
use crate::format::compression::Compression;
use crate::format::fat::Bpb;

/// Signatures: byte offset, bytes, name with its article.
const SIGNATURES: &[(usize, &[u8], &str)] = &[
    (3, b"NTFS    ", "an NTFS file system"),
    (3, b"EXFAT   ", "an exFAT file system"),
    (3, b"-FVE-FS-", "a BitLocker volume"),
    (0, b"XFSB", "an XFS file system"),
    (0, b"hsqs", "a squashfs file system"),
    (0, b"sqsh", "a squashfs file system"),
    (0, b"\x45\x3d\xcd\x28", "a cramfs file system"),
    (0, b"LUKS\xba\xbe", "a LUKS volume"),
    (0, b"\x7fELF", "an ELF program"),
    (0x202, b"HdrS", "a Linux kernel"),
    (0, b"07070", "a cpio archive"),
    (0, b"\xc7\x71", "a cpio archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"!<arch>\n", "an ar archive or a Debian package"),
    (0, b"\xed\xab\xee\xdb", "an RPM package"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!", "a RAR archive"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"LZIP", "an lzip file"),
    (0, b"\x1f\x9d", "a compress (.Z) file"),
    (0, b"\x04\x22\x4d\x18", "an lz4 file"),
    (0, b"\x3a\xff\x26\xed", "an Android sparse image"),
    (0, b"%PDF", "a PDF document"),
    (0, b"#!", "a script"),
];

/// Returns the content that the first sector belongs to, such as `an EFI program`; `None` if it is free or boot code.
pub(crate) fn occupant(begin: &(impl Medium + ?Sized)) -> Option<&'static str> {
    let mut first = [0; 4096];
    let there = usize::try_from(begin.size()).unwrap_or(usize::MAX).min(first.len());
    let (first, _) = first.split_at_mut(there);
    begin.read_at(first, 0).ok()?;
    let has = |at: usize, magic: &[u8]| first.get(at..).is_some_and(|rest| rest.starts_with(magic));
    if has(0, b"MZ") {
        return program(begin, first);
    }
    if let Some((_, _, name)) = SIGNATURES.iter().find(|(at, magic, _)| has(*at, magic)) {
        return Some(name);
    }
    if first.first_chunk().is_some_and(Bpb::looks_like_fat) {
        return Some("a FAT file system");
    }
    match Compression::detect(first) {
        Compression::None => match Content::by_head(first) {
            None | Some(Content::Raw) => None,
            Some(Content::Qcow2 | Content::Vhd | Content::Compressed(_) | Content::Foreign(_)) => {
                Some("an image container")
            }
        },
        compression => Some(compression.properties().file),
    }
}

/// Returns the name of a program that starts with `MZ`. Boot code may start with these bytes (`dec bp; pop dx`), too.
fn program(begin: &(impl Medium + ?Sized), first: &[u8]) -> Option<&'static str> {
    let place = first.get(0x3c..0x40).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes)?;
    let mut magic = [0; 4];
    let is_pe = begin.read_at(&mut magic, place.into()).is_ok() && &magic == b"PE\0\0";
    let is_boot_sector = first.get(510..512) == Some(&[0x55, 0xAA]);
    match (is_pe, is_boot_sector) {
        (true, _) => Some("an EFI program"),
        (false, false) => Some("a program (MZ)"),
        (false, true) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::occupant;

    fn with(parts: &[(usize, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; 8192];
        for (at, part) in parts {
            bytes[*at..at + part.len()].copy_from_slice(part);
        }
        bytes
    }

    #[test]
    fn content_that_a_boot_sector_would_destroy_is_named() {
        let signed: (usize, &[u8]) = (510, &[0x55, 0xAA]);
        for (parts, name) in [
            (&[][..], None),
            (&[(0, &b"MZ"[..]), (0x3c, &[0x80]), (0x80, b"PE\0\0")][..], Some("an EFI program")),
            (&[(0, b"MZ")], Some("a program (MZ)")),
            (&[(0, b"MZ"), signed], None),
            (&[(3, b"NTFS    "), signed], Some("an NTFS file system")),
            (&[(82, b"FAT32   "), signed], Some("a FAT file system")),
            (&[(0, b"LUKS\xba\xbe\0\x02")], Some("a LUKS volume")),
            (&[(257, b"ustar")], Some("a tar archive")),
            (&[(0, b"BZh9")], Some("a bzip2 file")),
            (&[(0, b"\x02\x21\x4c\x18")], Some("an lz4 file")),
            (&[(0, b"QFI\xfb\0\0\0\x03")], Some("an image container")),
            // Boot code, and file systems that leave the first sector free.
            (&[(0, b"\xeb\x63\x90"), signed], None),
            (&[(1080, b"\x53\xef")], None),
        ] {
            assert_eq!(occupant(&with(parts)), name, "{parts:?}");
        }
        assert_eq!(occupant(&b"#!/bin/sh\n".as_slice()), Some("a script"));
        assert_eq!(occupant(&Vec::new()), None);
    }
}
