//! Our own stub on a disk: known by how it begins, so that the message is read back from stubs of other versions, too.

use super::{Then, cp437, pack};
use crate::format::mbr::BOOT_CODE;

/// Where the BIOS puts the boot sector.
const LOADED_AT: usize = 0x7C00;
/// Bytes of the stub up to where the message is unpacked. All variants begin with them, but for the message's address.
const HEAD: usize = 0x2A;
/// Where in it the message's address stands.
const ADDRESS: std::ops::Range<usize> = 0x10..0x12;

/// Whether `code` begins as a stub of ours does, whatever has become of its message.
pub(super) fn is_stub(code: &[u8; BOOT_CODE]) -> bool {
    let ours = Then::Halt.code();
    (0..HEAD).all(|at| ADDRESS.contains(&at) || code[at] == ours[at])
}

/// Where the message stands in `code`, if it is a stub of ours.
fn message_offset(code: &[u8; BOOT_CODE]) -> Option<usize> {
    let [low, high] = [code[ADDRESS.start], code[ADDRESS.start + 1]];
    let offset = usize::from(u16::from_le_bytes([low, high])).checked_sub(LOADED_AT)?;
    (is_stub(code) && (HEAD..BOOT_CODE).contains(&offset)).then_some(offset)
}

/// What a stub of ours shows, line ends as LF; `None` where it is none of ours, or its message is damaged.
pub fn decode_message(code: &[u8; BOOT_CODE]) -> Option<String> {
    let text = pack::unpack(&code[message_offset(code)?..])?;
    Some(text.iter().filter(|byte| **byte != b'\r').map(|byte| cp437::to_char(*byte)).collect())
}
