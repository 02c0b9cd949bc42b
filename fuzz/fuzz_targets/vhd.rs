//! Arbitrary bytes as a VHD footer: it is read or refused, and an accepted footer encodes unchanged.

#![no_main]

use bootling::format::vhd::Footer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(footer) = bytes.first_chunk() else { return };
    if let Ok(footer) = Footer::decode(footer) {
        assert_eq!(Footer::decode(&footer.encode()), Ok(footer));
    }
});
