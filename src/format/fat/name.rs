//! Names of directory entries: the short 8.3 name, and the long name, which precedes it in parts.

use crate::format::bootsector::cp437::to_char;

/// Length of a directory entry in bytes.
pub(super) const ENTRY: usize = 32;
/// UTF-16 code units per part, and maximum parts of a name (255 code units).
const PIECE: usize = 13;
const MAX_PIECES: u8 = 20;

/// Returns the short name as text. `case` is the byte in which Windows NT marks lower case: bit 3 for the stem, bit 4
/// for the extension. Non-ASCII bytes are decoded as code page 437, the default of Linux.
pub(super) fn short(raw: &[u8; 11], case: u8) -> String {
    let part = |bytes: &[u8], lower: bool| {
        let end = bytes.iter().rposition(|byte| *byte != b' ').map_or(0, |at| at + 1);
        let chars = bytes[..end].iter().map(|byte| if lower { byte.to_ascii_lowercase() } else { *byte });
        chars.map(to_char).collect::<String>()
    };
    let mut stem = *raw;
    // 05 stands for E5, because E5 marks a deleted entry.
    if stem[0] == 0x05 {
        stem[0] = 0xE5;
    }
    let (name, extension) = (part(&stem[..8], case & 0x08 != 0), part(&raw[8..], case & 0x10 != 0));
    if extension.is_empty() { name } else { format!("{name}.{extension}") }
}

/// Returns the checksum of a short name, which each part of its long name repeats.
pub(super) fn checksum(raw: &[u8; 11]) -> u8 {
    raw.iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte))
}

/// Collects the parts of a long name from the entries in front of the short name, last part first.
#[derive(Debug, Default)]
pub(super) struct LongName {
    /// Number of the previous part; 0 if no part is collected.
    number: u8,
    sum: u8,
    units: Vec<u16>,
    broken: bool,
}

impl LongName {
    /// Adds a part. A part that does not continue the previous ones starts a new name, or is stray.
    pub(super) fn add(&mut self, entry: &[u8; ENTRY]) {
        let (number, sum) = (entry[0] & 0x3F, entry[13]);
        let first = entry[0] & 0x40 != 0;
        let stray = self.number != 0 || self.broken;
        if first {
            *self = Self { number, sum, units: Vec::new(), broken: stray };
        } else if self.number == 0 || number + 1 != self.number || sum != self.sum {
            *self = Self { broken: true, ..Self::default() };
            return;
        }
        if !(1..=MAX_PIECES).contains(&number) {
            *self = Self { broken: true, ..Self::default() };
            return;
        }
        self.number = number;
        let fields = [&entry[1..11], &entry[14..26], &entry[28..32]];
        let units = fields.iter().flat_map(|field| field.as_chunks::<2>().0).map(|pair| u16::from_le_bytes(*pair));
        let mut piece: Vec<u16> = units.collect();
        debug_assert_eq!(piece.len(), PIECE);
        // The last part comes first, so the collected parts follow this one.
        piece.append(&mut self.units);
        self.units = piece;
    }

    /// Clears the collected parts. Returns the long name, if the parts are complete and match this short name; and true
    /// if there were stray parts.
    pub(super) fn take(&mut self, raw: &[u8; 11]) -> (Option<String>, bool) {
        let pieces = std::mem::take(self);
        if pieces.number == 0 {
            return (None, pieces.broken);
        }
        if pieces.number != 1 || pieces.sum != checksum(raw) {
            return (None, true);
        }
        let end = pieces.units.iter().position(|unit| *unit == 0).unwrap_or(pieces.units.len());
        let name = String::from_utf16_lossy(&pieces.units[..end]);
        (Some(name).filter(|name| !name.is_empty()), pieces.broken)
    }

    /// Clears the collected parts; returns true if there were parts without an entry.
    pub(super) fn clear(&mut self) -> bool {
        let pieces = std::mem::take(self);
        pieces.number != 0 || pieces.broken
    }
}

#[cfg(test)]
mod tests {
    use super::{checksum, short};

    #[test]
    fn short_names_are_displayed_with_a_dot_and_in_the_stored_case() {
        assert_eq!(short(b"BOOTX64 EFI", 0), "BOOTX64.EFI");
        assert_eq!(short(b"BOOTX64 EFI", 0x18), "bootx64.efi");
        assert_eq!(short(b"EFI        ", 0x10), "EFI");
        assert_eq!(short(b"\x05BC     T  ", 0), "σBC.T");
        assert_eq!(short(b"A B     C D", 0x08), "a b.C D");
    }

    #[test]
    fn the_checksum_equals_that_of_the_specification() {
        // The algorithm of the Microsoft specification (ChkSum).
        assert_eq!(checksum(b"BOOTX64 EFI"), {
            let mut sum: u8 = 0;
            for byte in b"BOOTX64 EFI" {
                sum = (if sum & 1 != 0 { 0x80_u8 } else { 0 }).wrapping_add(sum >> 1).wrapping_add(*byte);
            }
            sum
        });
    }
}
