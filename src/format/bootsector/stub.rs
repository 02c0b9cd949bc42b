//! Detects bootling's stub by its first bytes, so that messages in stubs of other versions are readable, too.

use super::{Then, cp437, pack, plain};
use crate::format::mbr::BOOT_CODE;

/// Address to which the BIOS loads the boot sector.
const LOADED_AT: usize = 0x7C00;
/// Length of the common start of all stubs, up to the unpacking code. Only the address of the message differs.
const HEAD: usize = 0x2A;
/// Offsets of the message address in it.
const ADDRESS: std::ops::Range<usize> = 0x10..0x12;

/// Returns true if `code` starts with one of bootling's stubs, even if its message is damaged.
pub(super) fn is_stub(code: &[u8]) -> bool {
    unpacks(code) || plain::is_plain(code)
}

/// Returns true if `code` starts with a stub that unpacks its message.
fn unpacks(code: &[u8]) -> bool {
    let ours = Then::Halt.code();
    code.len() >= HEAD && (0..HEAD).all(|at| ADDRESS.contains(&at) || code[at] == ours[at])
}

/// Returns the offset of the message in `code`, if it starts with a stub that unpacks it.
fn message_offset(code: &[u8]) -> Option<usize> {
    let [low, high] = [*code.get(ADDRESS.start)?, *code.get(ADDRESS.start + 1)?];
    let offset = usize::from(u16::from_le_bytes([low, high])).checked_sub(LOADED_AT)?;
    (unpacks(code) && (HEAD..BOOT_CODE).contains(&offset)).then_some(offset)
}

/// Returns the text that bootling's stub shows, with LF line ends; `None` if it is another stub or the message is
/// damaged. The text may extend to the partition records, so `code` should have all bytes in front of them.
pub fn decode_message(code: &[u8]) -> Option<String> {
    let text = if let Some(text) = plain::text(code) {
        text.to_vec()
    } else {
        // An unused disk signature is no end of a message that lacks one.
        let unused = code.get(BOOT_CODE..).is_some_and(|signature| signature.iter().all(|byte| *byte == 0));
        let code = if unused { &code[..BOOT_CODE] } else { code };
        pack::unpack(code.get(message_offset(code)?..)?)?
    };
    Some(text.iter().filter(|byte| **byte != b'\r').map(|byte| cp437::to_char(*byte)).collect())
}
