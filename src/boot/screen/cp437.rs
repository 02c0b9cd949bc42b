//! Code page 437, the character set of a PC's text screen, as Unicode.

/// What the letters from 0x80 on look like.
const UPPER: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";
/// And those below 0x20, where a screen shows them too.
const LOWER: &str = " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼";

/// One letter.
pub fn letter(byte: u8) -> char {
    let shape = match byte {
        0..0x20 => LOWER.chars().nth(usize::from(byte)),
        0x20..0x7f => Some(char::from(byte)),
        0x7f => Some('⌂'),
        0x80..=0xff => UPPER.chars().nth(usize::from(byte - 0x80)),
    };
    // A blank of either kind looks the same.
    shape.filter(|shape| *shape != '\u{a0}').unwrap_or(' ')
}

#[cfg(test)]
mod tests {
    use super::{LOWER, UPPER, letter};

    #[test]
    fn every_byte_has_a_shape() {
        assert_eq!((UPPER.chars().count(), LOWER.chars().count()), (128, 32));
        let known =
            [(0, ' '), (b'A', 'A'), (0x7f, '⌂'), (0x80, 'Ç'), (0xb0, '░'), (0xc9, '╔'), (0xdb, '█'), (0xe1, 'ß')];
        for (byte, shape) in known {
            assert_eq!(letter(byte), shape, "{byte:#x}");
        }
        assert_eq!(letter(0xff), ' ');
    }
}
