//! Names of directory entries: the short one of eight and three, and the long one that stands before it in pieces.

use crate::disk::bootsector::cp437::to_char;

/// Bytes of a directory entry.
pub(super) const ENTRY: usize = 32;
/// Code units of a piece, and how many pieces a name has at most: 255 code units.
const PIECE: usize = 13;
const MOST_PIECES: u8 = 20;

/// The short name as people write it. `case` is the byte by which Windows NT notes lower case: bit 3 the stem, bit 4
/// the extension. What is not ASCII is told as code page 437 has it, which is Linux's default.
pub(super) fn short(raw: &[u8; 11], case: u8) -> String {
    let part = |bytes: &[u8], lower: bool| {
        let end = bytes.iter().rposition(|byte| *byte != b' ').map_or(0, |at| at + 1);
        let chars = bytes[..end].iter().map(|byte| if lower { byte.to_ascii_lowercase() } else { *byte });
        chars.map(to_char).collect::<String>()
    };
    let mut stem = *raw;
    // The first byte E5 would mean "deleted".
    if stem[0] == 0x05 {
        stem[0] = 0xE5;
    }
    let (name, extension) = (part(&stem[..8], case & 0x08 != 0), part(&raw[8..], case & 0x10 != 0));
    if extension.is_empty() { name } else { format!("{name}.{extension}") }
}

/// The sum of a short name that each piece of its long name carries.
pub(super) fn checksum(raw: &[u8; 11]) -> u8 {
    raw.iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte))
}

/// Pieces of a long name, gathered from entries that precede the short one, last piece first.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    /// Number of the piece that was seen last; 0 when nothing is gathered.
    number: u8,
    sum: u8,
    units: Vec<u16>,
    broken: bool,
}

impl Pieces {
    /// Takes in one piece. One that does not continue those before it begins anew, or is stray.
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
        if !(1..=MOST_PIECES).contains(&number) {
            *self = Self { broken: true, ..Self::default() };
            return;
        }
        self.number = number;
        let fields = [&entry[1..11], &entry[14..26], &entry[28..32]];
        let units = fields.iter().flat_map(|field| field.as_chunks::<2>().0).map(|pair| u16::from_le_bytes(*pair));
        let mut piece: Vec<u16> = units.collect();
        debug_assert_eq!(piece.len(), PIECE);
        // The last piece comes first: what was gathered belongs behind this one.
        piece.append(&mut self.units);
        self.units = piece;
    }

    /// The long name of the entry with this short name, if the pieces are its own and whole; and whether pieces were
    /// there that belong to nobody. Nothing is gathered afterwards.
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

    /// Whether pieces are left that no entry followed. Nothing is gathered afterwards.
    pub(super) fn left(&mut self) -> bool {
        let pieces = std::mem::take(self);
        pieces.number != 0 || pieces.broken
    }
}

#[cfg(test)]
mod tests {
    use super::{checksum, short};

    #[test]
    fn short_names_are_written_as_people_do() {
        assert_eq!(short(b"BOOTX64 EFI", 0), "BOOTX64.EFI");
        assert_eq!(short(b"BOOTX64 EFI", 0x18), "bootx64.efi");
        assert_eq!(short(b"EFI        ", 0x10), "EFI");
        assert_eq!(short(b"\x05BC     T  ", 0), "σBC.T");
        assert_eq!(short(b"A B     C D", 0x08), "a b.C D");
    }

    #[test]
    fn the_sum_is_microsofts() {
        // The worked example everybody has: mkfs and Windows agree on it.
        assert_eq!(checksum(b"BOOTX64 EFI"), {
            let mut sum: u8 = 0;
            for byte in b"BOOTX64 EFI" {
                sum = (if sum & 1 != 0 { 0x80_u8 } else { 0 }).wrapping_add(sum >> 1).wrapping_add(*byte);
            }
            sum
        });
    }
}
