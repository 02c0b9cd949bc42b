//! Detects bootling's stub by its first bytes, so that messages in stubs of other versions are readable, too.

use super::{Then, cp437, pack};
use crate::format::mbr::BOOT_CODE;

/// Address to which the BIOS loads the boot sector.
const LOADED_AT: usize = 0x7C00;
/// Length of the common start of all stubs, up to the unpacking code. Only the address of the message differs.
const HEAD: usize = 0x2A;
/// Offsets of the message address in it.
const ADDRESS: std::ops::Range<usize> = 0x10..0x12;

/// Returns true if `code` starts with bootling's stub, even if its message is damaged.
pub(super) fn is_stub(code: &[u8; BOOT_CODE]) -> bool {
    let ours = Then::Halt.code();
    (0..HEAD).all(|at| ADDRESS.contains(&at) || code[at] == ours[at])
}

/// Returns the offset of the message in `code`, if it starts with bootling's stub.
fn message_offset(code: &[u8; BOOT_CODE]) -> Option<usize> {
    let [low, high] = [code[ADDRESS.start], code[ADDRESS.start + 1]];
    let offset = usize::from(u16::from_le_bytes([low, high])).checked_sub(LOADED_AT)?;
    (is_stub(code) && (HEAD..BOOT_CODE).contains(&offset)).then_some(offset)
}

/// Returns the text that bootling's stub shows, with LF line ends; `None` if it is another stub or the message is
/// damaged.
pub fn decode_message(code: &[u8; BOOT_CODE]) -> Option<String> {
    let text = pack::unpack(&code[message_offset(code)?..])?;
    Some(text.iter().filter(|byte| **byte != b'\r').map(|byte| cp437::to_char(*byte)).collect())
}
