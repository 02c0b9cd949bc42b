//! Characters of a text screen: code page 437 with the glyphs of control characters, which a screen shows too.

use crate::format::bootsector::cp437::to_char;

/// Glyphs of the characters below 0x20.
const LOWER: &str = " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼";

/// Returns the character of a byte. All blanks become a space.
pub(crate) fn letter(byte: u8) -> char {
    match byte {
        0..0x20 => LOWER.chars().nth(usize::from(byte)).unwrap_or(' '),
        0x7f => '⌂',
        0xff => ' ',
        byte => to_char(byte),
    }
}

#[cfg(test)]
mod tests {
    use super::{LOWER, letter};

    #[test]
    fn every_byte_has_a_glyph() {
        assert_eq!(LOWER.chars().count(), 32);
        let known = [(0, ' '), (1, '☺'), (0x1f, '▼'), (b'A', 'A'), (0x7f, '⌂'), (0xc9, '╔'), (0xdb, '█'), (0xff, ' ')];
        for (byte, shape) in known {
            assert_eq!(letter(byte), shape, "{byte:#x}");
        }
        assert!((0..=255).map(letter).all(|shape| !shape.is_control()));
    }
}
