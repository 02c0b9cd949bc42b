//! Reads arbitrary bytes as the first bytes of a bzImage, of any length.
#![no_main]

use bootling::root::kernel::fuzzed::BzImage;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // Mutations rarely produce the two magic numbers.
    let mut image = bytes.to_vec();
    if image.len() >= 0x206 {
        image[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
        image[0x202..0x206].copy_from_slice(b"HdrS");
    }
    // A kernel is too large to be mutated as a whole.
    for len in [image.len() as u64, 64 << 20] {
        if let Ok(header) = BzImage::parse(&image, len) {
            assert!(header.payload_offset + header.payload_len <= len);
            let _ = header.release(&image);
        }
    }
});
