//! Detects boot code on a disk, with a table of known loaders from their public sources.
//!
//! Most loaders are detected by a text in the code; a loader without text by its first bytes. The names serve only for
//! messages: any code except bootling's and byebyebios's counts as foreign, known or not.

use std::fmt;

use super::stub;
use crate::format::mbr::BOOT_CODE;

/// Existing boot code on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// All zero.
    Nothing,
    /// bootling's stub.
    Bootling,
    /// The stub of byebyebios, bootling's predecessor.
    Byebyebios,
    /// A known boot loader, by name: `GRUB`, `syslinux`, `Windows`.
    Loader(&'static str),
    /// Unknown code.
    Unknown,
}

/// Signature of a loader.
#[derive(Debug, Clone, Copy)]
enum Sign {
    /// These bytes, at this offset.
    At(usize, &'static [u8]),
    /// This text, anywhere.
    Text(&'static str),
}

use Sign::{At, Text};

/// Loaders and their signatures. All signatures of a row must match; the first matching row counts.
const LOADERS: &[(&str, &[Sign])] = &[
    // grub-core/boot/i386/pc/boot.S has the texts of stage1; Ventoy's fork has another name in front of them.
    ("Ventoy", &[Text("Hard Disk\0Read\0 Error"), Text("Ventoy")]),
    ("GRUB", &[Text("GRUB \0"), Text("Hard Disk\0Read\0 Error")]),
    ("GRUB4DOS", &[Text("Missing MBR-helper")]),
    // syslinux: mbr/isohdpfx.S, mbr/gptmbr.S, mbr/mbr.S, mbr/altmbr.S.
    ("isolinux (an isohybrid image)", &[Text("isolinux.bin missing or corrupt")]),
    ("isolinux (an isohybrid image)", &[At(0, &[0x33, 0xED, 0x90, 0x90])]),
    ("syslinux", &[Text("Multiple active partitions")]),
    ("syslinux", &[At(0, &[0x33, 0xC0, 0xFA, 0x8E, 0xD8, 0x8E, 0xD0, 0xBC, 0x00, 0x7C, 0x89, 0xE6])]),
    // Limine: common/../bootsect.asm jumps over a blank BPB to cli, cld, ljmp.
    ("Limine", &[At(0, &[0xEB, 0x58, 0x90, 0x00]), At(0x5A, &[0xFA, 0xFC, 0xEA])]),
    // rust-osdev/bootloader: bios/boot_sector/src/boot.s.
    (
        "the bootloader crate",
        &[At(0, &[0x31, 0xC0, 0x8E, 0xD8, 0x8E, 0xC0, 0x8E, 0xD0, 0x8E, 0xE0, 0x8E, 0xE8, 0xFC, 0xBC, 0x00, 0x7C])],
    ),
    ("LILO", &[At(6, b"LILO")]),
    ("LILO", &[At(2, b"LILO")]),
    // FreeBSD: stand/i386/pmbr/pmbr.S, boot0/boot0.S, mbr/mbr.S.
    ("FreeBSD", &[Text("Boot loader too large")]),
    ("FreeBSD", &[Text("Default: "), Text("Drive ")]),
    ("FreeBSD", &[At(0, &[0xFC, 0x31, 0xC0, 0x8E, 0xC0, 0x8E, 0xD8, 0x8E, 0xD0, 0xBC, 0x00, 0x7C])]),
    // OpenBSD: sys/arch/amd64/stand/mbr/mbr.S.
    ("OpenBSD", &[At(0, &[0xEA, 0x05, 0x00, 0xC0, 0x07])]),
    ("Debian's mbr package", &[At(0, &[0xFC, 0x31, 0xC0, 0x8E, 0xD0, 0x31, 0xE4]), Text("MBR ")]),
    ("VeraCrypt", &[Text("VeraCrypt")]),
    ("TrueCrypt", &[Text("TrueCrypt")]),
    ("Rufus", &[Text("boot from USB")]),
    // libparted/labels/dos.c, written with every new label.
    ("parted (it starts the active partition)", &[At(0, &[0xFA, 0xB8, 0x00, 0x10, 0x8E, 0xD0, 0xBC, 0x00, 0xB0])]),
    // dosfstools src/mkfs.fat.c: the disk has a file system without partitions.
    ("mkfs.fat", &[Text("This is not a bootable disk")]),
    // arch/x86/boot/header.S before 6.7: a kernel written directly to the disk.
    ("a Linux kernel", &[Text("Use a boot loader")]),
    // Windows since 2000; its texts are translated, its first bytes are the same.
    ("Windows", &[At(0, &[0x33, 0xC0, 0x8E, 0xD0, 0xBC, 0x00, 0x7C])]),
    ("Windows", &[Text("Invalid partition table"), Text("Missing operating system")]),
    ("DOS", &[At(0, &[0xFA, 0x33, 0xC0, 0x8E, 0xD0, 0xBC, 0x00, 0x7C])]),
    // Many loaders contain one of these texts; all of them boot a partition.
    ("a loader that starts the active partition", &[Text("nvalid partition table")]),
    ("a loader that starts the active partition", &[Text("issing operating system")]),
];

/// The 21 bytes of the byebyebios stub (bootstub.S). It supports only one serial port; its message follows directly.
const BYEBYEBIOS: &[u8] = &[
    0xBE, 0x15, 0x7C, 0xB4, 0x0E, 0xBA, 0xF8, 0x03, 0xAC, 0x3C, 0x00, 0x74, 0x05, 0xCD, 0x10, 0xEE, 0xEB, 0xF6, 0xF4,
    0xEB, 0xFD,
];

impl Sign {
    fn is_in(self, code: &[u8; BOOT_CODE]) -> bool {
        match self {
            At(offset, bytes) => code[offset..].starts_with(bytes),
            Text(text) => code.windows(text.len()).any(|window| window == text.as_bytes()),
        }
    }
}

/// Returns true if the message of a byebyebios stub ends within the boot code. Otherwise the stub continues to print
/// the following bytes, starting with the partition table.
pub fn is_byebyebios_whole(code: &[u8; BOOT_CODE]) -> bool {
    code[BYEBYEBIOS.len()..].contains(&0)
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("no boot code"),
            Self::Bootling => f.write_str("a bootling message"),
            Self::Byebyebios => f.write_str("a byebyebios message"),
            Self::Loader(name) => write!(f, "the boot code of {name}"),
            Self::Unknown => f.write_str("boot code of unknown origin"),
        }
    }
}

/// Detects the boot code of a disk.
pub fn recognize(code: &[u8; BOOT_CODE]) -> Found {
    if code.iter().all(|byte| *byte == 0) {
        return Found::Nothing;
    }
    if stub::is_stub(code) {
        return Found::Bootling;
    }
    if code.starts_with(BYEBYEBIOS) {
        return Found::Byebyebios;
    }
    LOADERS
        .iter()
        .find(|(_, signs)| signs.iter().all(|sign| sign.is_in(code)))
        .map_or(Found::Unknown, |(name, _)| Found::Loader(name))
}

#[cfg(test)]
mod tests {
    use super::{BYEBYEBIOS, Found, LOADERS, Sign, recognize};
    use crate::format::mbr::BOOT_CODE;

    /// Returns a sector that starts with `start` and contains `texts`.
    fn sector(start: &[u8], texts: &[&str]) -> [u8; BOOT_CODE] {
        let mut code = [0x90; BOOT_CODE];
        code[..start.len()].copy_from_slice(start);
        let mut at = 0x100;
        for text in texts {
            code[at..at + text.len()].copy_from_slice(text.as_bytes());
            at += text.len();
        }
        code
    }

    #[test]
    fn common_loaders_are_detected() {
        let grub = "GRUB \0Geom\0Hard Disk\0Read\0 Error\r\n";
        let windows = "Invalid partition table\0Error loading operating system\0Missing operating system\0";
        for (code, name) in [
            (sector(&[0xEB, 0x63, 0x90], &[grub]), "GRUB"),
            (sector(&[0xEB, 0x63, 0x90], &["Ventoy\0Geom\0Hard Disk\0Read\0 Error\r\n"]), "Ventoy"),
            (
                sector(&[0x33, 0xED, 0x90, 0x90], &["isolinux.bin missing or corrupt.\r\n"]),
                "isolinux (an isohybrid image)",
            ),
            (sector(&[0x33, 0xC0, 0xFA], &["Missing OS\r\n", "Multiple active partitions\r\n"]), "syslinux"),
            (sector(&[0x33, 0xC0, 0x8E, 0xD0, 0xBC, 0x00, 0x7C], &[windows]), "Windows"),
            (sector(&[0x33, 0xC0, 0x8E, 0xD0, 0xBC, 0x00, 0x7C], &["Ung\u{fc}ltige Partitionstabelle"]), "Windows"),
            (sector(&[0xFA], &[windows]), "Windows"),
            (sector(&[0xFA, 0xEB, 0x21, 0x01, 0xB4, 0x01, b'L', b'I', b'L', b'O'], &[]), "LILO"),
            (sector(&[0xFC], &["Missing boot loader", "Boot loader too large"]), "FreeBSD"),
            (
                sector(&[0xEB, 0x3C, 0x90], &["This is not a bootable disk.  Please insert a bootable floppy"]),
                "mkfs.fat",
            ),
        ] {
            assert_eq!(recognize(&code), Found::Loader(name));
            assert_eq!(recognize(&code).to_string(), format!("the boot code of {name}"));
        }
        assert_eq!(recognize(&sector(BYEBYEBIOS, &["STOP"])), Found::Byebyebios);
        assert_eq!(recognize(&sector(&[0xEB, 0xFE], &[])), Found::Unknown);
        assert_eq!(recognize(&[0; BOOT_CODE]), Found::Nothing);
    }

    #[test]
    fn every_row_of_the_table_can_match() {
        for (name, signs) in LOADERS {
            let mut code = [0x90; BOOT_CODE];
            let mut text = 0x80;
            for sign in *signs {
                let (at, bytes) = match sign {
                    Sign::At(offset, bytes) => (*offset, *bytes),
                    Sign::Text(words) => (text, words.as_bytes()),
                };
                code[at..at + bytes.len()].copy_from_slice(bytes);
                text += 0x60;
            }
            assert_eq!(recognize(&code), Found::Loader(name));
        }
    }
}
