//! Code page 437, the character set of every PC BIOS, and substitutes for some characters that it lacks.
//!
//! Bytes below 20 have glyphs, too, but the BIOS treats them as control characters when it prints them, so they are
//! never produced here. The table is Unicode's (`VENDORS/MICSFT/PC/CP437.TXT`).

/// Characters for the bytes from 80.
#[rustfmt::skip]
const HIGH: [char; 128] = [
    'Ç', 'ü', 'é', 'â', 'ä', 'à', 'å', 'ç', 'ê', 'ë', 'è', 'ï', 'î', 'ì', 'Ä', 'Å',
    'É', 'æ', 'Æ', 'ô', 'ö', 'ò', 'û', 'ù', 'ÿ', 'Ö', 'Ü', '¢', '£', '¥', '₧', 'ƒ',
    'á', 'í', 'ó', 'ú', 'ñ', 'Ñ', 'ª', 'º', '¿', '⌐', '¬', '½', '¼', '¡', '«', '»',
    '░', '▒', '▓', '│', '┤', '╡', '╢', '╖', '╕', '╣', '║', '╗', '╝', '╜', '╛', '┐',
    '└', '┴', '┬', '├', '─', '┼', '╞', '╟', '╚', '╔', '╩', '╦', '╠', '═', '╬', '╧',
    '╨', '╤', '╥', '╙', '╘', '╒', '╓', '╫', '╪', '┘', '┌', '█', '▄', '▌', '▐', '▀',
    'α', 'ß', 'Γ', 'π', 'Σ', 'σ', 'µ', 'τ', 'Φ', 'Θ', 'Ω', 'δ', '∞', 'φ', 'ε', '∩',
    '≡', '±', '≥', '≤', '⌠', '⌡', '÷', '≈', '°', '∙', '·', '√', 'ⁿ', '²', '■', '\u{A0}',
];

/// Converts a byte to a character. Control characters stay control characters.
pub(crate) fn to_char(byte: u8) -> char {
    byte.checked_sub(0x80).map_or(char::from(byte), |high| HIGH[usize::from(high)])
}

/// Converts a character to bytes that show it or a substitute: quotation marks become straight, dashes become hyphens,
/// letters lose an accent that the code page lacks. `None` for control characters, and if there is no substitute.
pub(crate) fn from_char(character: char) -> Option<Vec<u8>> {
    if let Some(instead) = substitute(character) {
        return Some(instead.bytes().collect());
    }
    let character = equivalent(character).unwrap_or(character);
    if matches!(character, ' '..='~') {
        return Some(vec![character as u8]);
    }
    let at = HIGH.iter().position(|high| *high == character)?;
    Some(vec![0x80 + at as u8])
}

/// Returns an equivalent character in the code page: the same sign with another code point, or a letter without accent.
fn equivalent(character: char) -> Option<char> {
    Some(match character {
        'μ' => 'µ',
        '\u{2126}' => 'Ω',
        'β' | 'ẞ' => 'ß',
        '∑' => 'Σ',
        '∏' | 'Π' => 'π',
        '∈' | 'ϵ' => 'ε',
        '∅' | 'ϕ' => 'φ',
        '✓' | '✔' => '√',
        'À' | 'Á' | 'Â' | 'Ã' | 'Ā' | 'Ă' | 'Ą' => 'A',
        'ã' | 'ā' | 'ă' | 'ą' => 'a',
        'Ć' | 'Ĉ' | 'Ċ' | 'Č' => 'C',
        'ć' | 'ĉ' | 'ċ' | 'č' => 'c',
        'Ď' | 'Đ' | 'Ð' => 'D',
        'ď' | 'đ' | 'ð' => 'd',
        'È' | 'Ê' | 'Ë' | 'Ē' | 'Ĕ' | 'Ė' | 'Ę' | 'Ě' => 'E',
        'ē' | 'ĕ' | 'ė' | 'ę' | 'ě' => 'e',
        'Ĝ' | 'Ğ' | 'Ġ' | 'Ģ' => 'G',
        'ĝ' | 'ğ' | 'ġ' | 'ģ' => 'g',
        'Ĥ' | 'Ħ' => 'H',
        'ĥ' | 'ħ' => 'h',
        'Ì' | 'Í' | 'Î' | 'Ï' | 'Ĩ' | 'Ī' | 'Ĭ' | 'Į' | 'İ' => 'I',
        'ĩ' | 'ī' | 'ĭ' | 'į' | 'ı' => 'i',
        'Ĵ' => 'J',
        'ĵ' => 'j',
        'Ķ' => 'K',
        'ķ' => 'k',
        'Ĺ' | 'Ļ' | 'Ľ' | 'Ŀ' | 'Ł' => 'L',
        'ĺ' | 'ļ' | 'ľ' | 'ŀ' | 'ł' => 'l',
        'Ń' | 'Ņ' | 'Ň' => 'N',
        'ń' | 'ņ' | 'ň' => 'n',
        'Ò' | 'Ó' | 'Ô' | 'Õ' | 'Ø' | 'Ō' | 'Ŏ' | 'Ő' => 'O',
        'õ' | 'ø' | 'ō' | 'ŏ' | 'ő' => 'o',
        'Ŕ' | 'Ŗ' | 'Ř' => 'R',
        'ŕ' | 'ŗ' | 'ř' => 'r',
        'Ś' | 'Ŝ' | 'Ş' | 'Š' | 'Ș' => 'S',
        'ś' | 'ŝ' | 'ş' | 'š' | 'ș' => 's',
        'Ţ' | 'Ť' | 'Ŧ' | 'Ț' => 'T',
        'ţ' | 'ť' | 'ŧ' | 'ț' => 't',
        'Ù' | 'Ú' | 'Û' | 'Ũ' | 'Ū' | 'Ŭ' | 'Ů' | 'Ű' | 'Ų' => 'U',
        'ũ' | 'ū' | 'ŭ' | 'ů' | 'ű' | 'ų' => 'u',
        'Ŵ' => 'W',
        'ŵ' => 'w',
        'Ý' | 'Ŷ' | 'Ÿ' => 'Y',
        'ý' | 'ŷ' => 'y',
        'Ź' | 'Ż' | 'Ž' => 'Z',
        'ź' | 'ż' | 'ž' => 'z',
        _ => return None,
    })
}

/// Returns an ASCII substitute for a typographic character.
fn substitute(character: char) -> Option<&'static str> {
    Some(match character {
        // Spaces of all widths, and invisible characters.
        '\u{A0}' | '\u{2000}'..='\u{200A}' | '\u{202F}' | '\u{205F}' | '\u{3000}' => " ",
        '\u{AD}' | '\u{200B}'..='\u{200D}' | '\u{2060}' | '\u{FE0E}' | '\u{FE0F}' | '\u{FEFF}' => "",
        '‘' | '’' | '‚' | '‛' | '′' | '´' | 'ʼ' => "'",
        '“' | '”' | '„' | '‟' | '″' => "\"",
        '‐' | '‑' | '‒' | '–' | '−' => "-",
        '—' | '―' => "--",
        '…' => "...",
        '•' | '‣' | '◦' | '⁃' | '●' | '○' => "*",
        '×' => "x",
        '¦' => "|",
        '⁄' => "/",
        '‼' => "!!",
        '→' | '⇒' | '➜' | '➔' => "->",
        '←' | '⇐' => "<-",
        '↔' | '⇔' => "<->",
        '↑' | '▲' => "^",
        '↓' | '▼' => "v",
        '›' | '►' | '▶' => ">",
        '‹' | '◄' | '◀' => "<",
        '€' => "EUR",
        '©' => "(c)",
        '®' => "(R)",
        '™' => "(TM)",
        '№' => "No.",
        '¾' => "3/4",
        '¹' => "1",
        '³' => "3",
        'Œ' => "OE",
        'œ' => "oe",
        'Þ' => "Th",
        'þ' => "th",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::{from_char, to_char};

    #[test]
    fn every_printable_byte_round_trips() {
        for byte in (0x20..=0x7E).chain(0x80..=0xFE) {
            assert_eq!(from_char(to_char(byte)), Some(vec![byte]), "{byte:02X} {:?}", to_char(byte));
        }
        // A no-break space becomes a plain space.
        assert_eq!((to_char(0xFF), from_char('\u{A0}')), ('\u{A0}', Some(vec![b' '])));
    }

    #[test]
    fn typographic_characters_become_ascii() {
        let shown = |text: &str| text.chars().map(from_char).collect::<Option<Vec<_>>>().map(|bytes| bytes.concat());
        assert_eq!(shown("“EFI” – don’t…").as_deref(), Some(&b"\"EFI\" - don't..."[..]));
        assert_eq!(shown("Démarrage · Größe").as_deref(), Some(&b"D\x82marrage \xFA Gr\x94\xE1e"[..]));
        assert_eq!(shown("À Łódź → €").as_deref(), Some(&b"A L\xA2dz -> EUR"[..]));
        for missing in ['中', 'Ж', '🙂', '\n', '\x1B', '\x7F', '\u{301}'] {
            assert_eq!(from_char(missing), None, "{missing:?}");
        }
    }
}
