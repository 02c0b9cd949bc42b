//! Boot catalog ("El Torito" Bootable CD-ROM Format Specification 1.0; UEFI 2.11, section 13.3.2.1): what firmware
//! starts from a CD.

use super::descriptor::SECTOR;
use super::fault::Fault;
use crate::format::Medium;
use crate::format::bytes::le32;

/// Length of an entry.
const ENTRY: usize = 32;
/// Catalog bytes read: 128 entries.
const LONGEST: usize = 2 * SECTOR as usize;

/// Firmware that an entry is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// A legacy BIOS.
    Bios,
    /// UEFI.
    Uefi,
    /// Another platform (PowerPC, Macintosh), by its number.
    Other(u8),
}

/// Drive that a legacy BIOS emulates with the boot image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emulation {
    /// None: the image is loaded and started.
    None,
    /// A diskette.
    Diskette,
    /// A hard disk.
    HardDisk,
    /// An unknown value.
    Unknown(u8),
}

/// Boot image in the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootEntry {
    /// Firmware that the image is for.
    pub platform: Platform,
    /// True if the entry is marked as bootable.
    pub bootable: bool,
    /// Emulated drive.
    pub emulation: Emulation,
    /// First sector of 2048 bytes.
    pub lba: u32,
    /// Number of sectors of 512 bytes that firmware loads. For UEFI, 0 and 1 mean the rest of the medium.
    pub sectors: u16,
}

impl BootEntry {
    /// Returns the byte range of the image on a medium of `size` bytes, as EDK2 determines it
    /// (`MdeModulePkg/Universal/Disk/PartitionDxe/ElTorito.c`): offset and length.
    pub fn span(&self, size: u64) -> (u64, u64) {
        let start = u64::from(self.lba) * SECTOR;
        let rest = size.saturating_sub(start);
        match self.sectors {
            0 | 1 => (start, rest),
            sectors => (start, (u64::from(sectors) * 512).min(rest)),
        }
    }
}

impl Platform {
    const fn from_id(id: u8) -> Self {
        match id {
            0 => Self::Bios,
            0xEF => Self::Uefi,
            other => Self::Other(other),
        }
    }
}

/// Reads the boot catalog in sector `lba`.
pub(super) fn read(medium: &impl Medium, lba: u32) -> Result<Vec<BootEntry>, Fault> {
    let offset = u64::from(lba) * SECTOR;
    let there = medium.size().saturating_sub(offset).min(LONGEST as u64);
    let mut bytes = vec![0; usize::try_from(there).unwrap_or(0)];
    medium.read_at(&mut bytes, offset).map_err(|source| Fault::Read { offset, source })?;
    let (entries, _) = bytes.as_chunks::<ENTRY>();
    let [validation, initial, following @ ..] = entries else { return Err(Fault::Catalog("it is cut off")) };
    if validation[0] != 1 || validation[30..] != [0x55, 0xAA] {
        return Err(Fault::Catalog("the validation entry is missing"));
    }
    let (words, _) = validation.as_chunks::<2>();
    if words.iter().fold(0u16, |sum, word| sum.wrapping_add(u16::from_le_bytes(*word))) != 0 {
        return Err(Fault::Catalog("the checksum of the validation entry is wrong"));
    }
    let mut found = Vec::new();
    found.extend(decode(initial, Platform::from_id(validation[1])));
    // Section headers, each followed by its entries.
    let (mut platform, mut left) = (Platform::Bios, 0);
    for entry in following {
        match entry[0] {
            0x90 | 0x91 if left == 0 => {
                platform = Platform::from_id(entry[1]);
                left = u16::from_le_bytes([entry[2], entry[3]]);
            }
            // An extension of the selection criteria.
            0x44 => {}
            0x88 | 0x00 if left > 0 => {
                left -= 1;
                found.extend(decode(entry, platform));
            }
            _ => break,
        }
    }
    Ok(found)
}

/// Decodes an entry; `None` for an unused one.
fn decode(entry: &[u8; ENTRY], platform: Platform) -> Option<BootEntry> {
    let lba = le32(entry, 8);
    let emulation = match entry[1] & 0x0F {
        0 => Emulation::None,
        1..=3 => Emulation::Diskette,
        4 => Emulation::HardDisk,
        other => Emulation::Unknown(other),
    };
    let sectors = u16::from_le_bytes([entry[6], entry[7]]);
    (lba != 0).then_some(BootEntry { platform, bootable: entry[0] == 0x88, emulation, lba, sectors })
}
