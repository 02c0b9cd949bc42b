//! Reads an arbitrary VHD footer or refuses it; a footer that was read can be written again.

#![no_main]

use bootling::format::vhd::Footer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(footer) = bytes.first_chunk() else { return };
    if let Ok(footer) = Footer::decode(footer) {
        assert_eq!(Footer::decode(&footer.encode()), Ok(footer));
    }
});
