//! The plain boot sector code (`stubs/bootsector/plain.S`), for a message that is not compressed: the text follows the
//! code unchanged. Length and address of the text are operands in the code.

/// The assembled code, with its optional start.
const CODE: &[u8] = include_bytes!("../../../assets/bootsector-plain.bin");
/// Length of the optional start, which is left out if the message needs these bytes.
const START: usize = 6;
/// Offsets in the code without its start: address and length of the text.
const ADDRESS: usize = 1;
const LENGTH: usize = 4;
/// Address to which the BIOS loads the boot sector.
const LOADED_AT: usize = 0x7C00;

/// Maximum length of a text in `limit` bytes.
pub(super) const fn room(limit: usize) -> usize {
    limit - (CODE.len() - START)
}

/// Returns code and text in at most `limit` bytes; `None` if the text is empty or does not fit.
pub(super) fn encode(text: &[u8], limit: usize) -> Option<Vec<u8>> {
    if text.is_empty() || text.len() > room(limit) {
        return None;
    }
    let start = if CODE.len() + text.len() <= limit { START } else { 0 };
    let mut code = CODE[START - start..].to_vec();
    let address = u16::try_from(LOADED_AT + code.len()).ok()?;
    code[start + ADDRESS..start + ADDRESS + 2].copy_from_slice(&address.to_le_bytes());
    code[start + LENGTH..start + LENGTH + 2].copy_from_slice(&u16::try_from(text.len()).ok()?.to_le_bytes());
    code.extend(text);
    Some(code)
}

/// Returns the offset of the text and its length, if `code` starts with the plain code. Neither is checked.
fn operands(code: &[u8]) -> Option<(usize, usize)> {
    let body = code.strip_prefix(&CODE[..START]).unwrap_or(code);
    let fixed = |at: usize| !(ADDRESS..ADDRESS + 2).contains(&at) && !(LENGTH..LENGTH + 2).contains(&at);
    let ours = body.len() >= CODE.len() - START
        && CODE[START..].iter().zip(body).enumerate().all(|(at, (ours, byte))| !fixed(at) || ours == byte);
    let word = |at: usize| Some(usize::from(u16::from_le_bytes([*body.get(at)?, *body.get(at + 1)?])));
    ours.then_some(())?;
    Some((word(ADDRESS)?.checked_sub(LOADED_AT)?, word(LENGTH)?))
}

/// Returns true if `code` starts with the plain code.
pub(super) fn is_plain(code: &[u8]) -> bool {
    operands(code).is_some()
}

/// Returns the text; `None` if it is not in `code`, or is preceded by other code.
pub(super) fn text(code: &[u8]) -> Option<&[u8]> {
    let (offset, length) = operands(code)?;
    code.get(offset..offset.checked_add(length)?).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::{CODE, encode, is_plain, room, text};

    #[test]
    fn the_optional_start_is_left_out_only_if_the_text_needs_its_bytes() {
        assert_eq!((room(440), room(446)), (420, 426));
        for (length, size) in [(1, 27), (414, 440), (415, 435), (420, 440)] {
            let message = vec![b'x'; length];
            let code = encode(&message, 440).expect("it fits");
            assert_eq!((code.len(), text(&code)), (size, Some(&message[..])));
        }
        assert!(encode(&[b'x'; 421], 440).is_none() && encode(b"", 440).is_none());
    }

    #[test]
    fn code_without_its_complete_text_has_none() {
        let code = encode(&[b'x'; 420], 440).expect("it fits");
        assert!(is_plain(&code[..439]) && text(&code[..439]).is_none());
        assert!(is_plain(CODE) && text(CODE).is_none());
        let mut other = code;
        other[7] ^= 1;
        assert!(!is_plain(&other) && !is_plain(b"") && !is_plain(&CODE[..10]));
    }
}
