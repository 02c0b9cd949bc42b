//! Whose boot code stands on a disk: a table of what is known of others' from their public sources.
//!
//! A text that the code shows tells most; where a loader is silent, how its code begins. What is found is a name for
//! messages: all that is not ours, the ancestor's or nothing is somebody's, known or not.

use std::fmt;

use super::ours;
use crate::format::mbr::BOOT_CODE;

/// Boot code that is already on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// All zero.
    Nothing,
    /// Ours.
    Ours,
    /// The ancestor's, byebyebios.
    Byebyebios,
    /// Somebody's boot loader, by name: `GRUB`, `syslinux`, `Windows`.
    Loader(&'static str),
    /// Something that is not known.
    Unknown,
}

/// What gives a loader away.
#[derive(Debug, Clone, Copy)]
enum Sign {
    /// These bytes, at this offset.
    At(usize, &'static [u8]),
    /// This text, anywhere.
    Says(&'static str),
}

use Sign::{At, Says};

/// Loaders and their signs: all of a row are needed, the first row that fits counts.
const LOADERS: &[(&str, &[Sign])] = &[
    // grub-core/boot/i386/pc/boot.S keeps stage1's texts; Ventoy's fork has another name before them.
    ("Ventoy", &[Says("Hard Disk\0Read\0 Error"), Says("Ventoy")]),
    ("GRUB", &[Says("GRUB \0"), Says("Hard Disk\0Read\0 Error")]),
    ("GRUB4DOS", &[Says("Missing MBR-helper")]),
    // syslinux: mbr/isohdpfx.S, mbr/gptmbr.S, mbr/mbr.S, mbr/altmbr.S.
    ("isolinux (an isohybrid image)", &[Says("isolinux.bin missing or corrupt")]),
    ("isolinux (an isohybrid image)", &[At(0, &[0x33, 0xED, 0x90, 0x90])]),
    ("syslinux", &[Says("Multiple active partitions")]),
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
    ("FreeBSD", &[Says("Boot loader too large")]),
    ("FreeBSD", &[Says("Default: "), Says("Drive ")]),
    ("FreeBSD", &[At(0, &[0xFC, 0x31, 0xC0, 0x8E, 0xC0, 0x8E, 0xD8, 0x8E, 0xD0, 0xBC, 0x00, 0x7C])]),
    // OpenBSD: sys/arch/amd64/stand/mbr/mbr.S.
    ("OpenBSD", &[At(0, &[0xEA, 0x05, 0x00, 0xC0, 0x07])]),
    ("Debian's mbr package", &[At(0, &[0xFC, 0x31, 0xC0, 0x8E, 0xD0, 0x31, 0xE4]), Says("MBR ")]),
    ("VeraCrypt", &[Says("VeraCrypt")]),
    ("TrueCrypt", &[Says("TrueCrypt")]),
    ("Rufus", &[Says("boot from USB")]),
    // libparted/labels/dos.c, written into every new label.
    ("parted (it starts the active partition)", &[At(0, &[0xFA, 0xB8, 0x00, 0x10, 0x8E, 0xD0, 0xBC, 0x00, 0xB0])]),
    // dosfstools' src/mkfs.fat.c: a file system without partitions was made on this disk.
    ("mkfs.fat", &[Says("This is not a bootable disk")]),
    // arch/x86/boot/header.S before 6.7: a kernel written to the disk as it is.
    ("a Linux kernel", &[Says("Use a boot loader")]),
    // Windows from 2000 on; its texts are translated, its beginning is not.
    ("Windows", &[At(0, &[0x33, 0xC0, 0x8E, 0xD0, 0xBC, 0x00, 0x7C])]),
    ("Windows", &[Says("Invalid partition table"), Says("Missing operating system")]),
    ("DOS", &[At(0, &[0xFA, 0x33, 0xC0, 0x8E, 0xD0, 0xBC, 0x00, 0x7C])]),
    // Of the many that say one of the two, none is only a message.
    ("a loader that starts the active partition", &[Says("nvalid partition table")]),
    ("a loader that starts the active partition", &[Says("issing operating system")]),
];

/// The ancestor's 21 bytes (bootstub.S); it knows one serial port only, and its message follows at once.
const BYEBYEBIOS: &[u8] = &[
    0xBE, 0x15, 0x7C, 0xB4, 0x0E, 0xBA, 0xF8, 0x03, 0xAC, 0x3C, 0x00, 0x74, 0x05, 0xCD, 0x10, 0xEE, 0xEB, 0xF6, 0xF4,
    0xEB, 0xFD,
];

impl Sign {
    fn is_in(self, code: &[u8; BOOT_CODE]) -> bool {
        match self {
            At(offset, bytes) => code[offset..].starts_with(bytes),
            Says(text) => code.windows(text.len()).any(|window| window == text.as_bytes()),
        }
    }
}

/// Whether what follows the ancestor's code ends inside the boot code, as its text does; else it goes on printing what
/// comes behind, the partition table first.
pub fn is_byebyebios_whole(code: &[u8; BOOT_CODE]) -> bool {
    code[BYEBYEBIOS.len()..].contains(&0)
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("no boot code"),
            Self::Ours => f.write_str("a message of bootling's"),
            Self::Byebyebios => f.write_str("a message of byebyebios"),
            Self::Loader(name) => write!(f, "the boot code of {name}"),
            Self::Unknown => f.write_str("boot code of unknown origin"),
        }
    }
}

/// Whose code stands on a disk.
pub fn recognise(code: &[u8; BOOT_CODE]) -> Found {
    if code.iter().all(|byte| *byte == 0) {
        return Found::Nothing;
    }
    if ours::is_stub(code) {
        return Found::Ours;
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
    use super::{BYEBYEBIOS, Found, LOADERS, Sign, recognise};
    use crate::format::mbr::BOOT_CODE;

    /// A sector that begins with `start` and has `texts` further down.
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
    fn what_is_common_is_known_by_name() {
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
            assert_eq!(recognise(&code), Found::Loader(name));
            assert_eq!(recognise(&code).to_string(), format!("the boot code of {name}"));
        }
        assert_eq!(recognise(&sector(BYEBYEBIOS, &["STOP"])), Found::Byebyebios);
        assert_eq!(recognise(&sector(&[0xEB, 0xFE], &[])), Found::Unknown);
        assert_eq!(recognise(&[0; BOOT_CODE]), Found::Nothing);
    }

    #[test]
    fn every_row_can_be_found_and_only_by_all_its_signs() {
        for (name, signs) in LOADERS {
            let mut code = [0x90; BOOT_CODE];
            let mut text = 0x80;
            for sign in *signs {
                let (at, bytes) = match sign {
                    Sign::At(offset, bytes) => (*offset, *bytes),
                    Sign::Says(words) => (text, words.as_bytes()),
                };
                code[at..at + bytes.len()].copy_from_slice(bytes);
                text += 0x60;
            }
            assert_eq!(recognise(&code), Found::Loader(name));
        }
    }
}
