//! Reads an arbitrary first sector, writes it back unchanged, and identifies its boot code.

#![no_main]

use bootling::format::bootsector::decode_message;
use bootling::format::bootsector::recognise;
use bootling::format::mbr::Mbr;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(first) = bytes.first_chunk::<512>() else { return };
    let mbr = Mbr::decode(first);
    assert_eq!(mbr.encode()[..510], first[..510]);
    recognise(&mbr.boot_code);
    decode_message(&mbr.boot_code);
});
