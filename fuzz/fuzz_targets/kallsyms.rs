//! Reads arbitrary bytes as an unpacked kernel image with symbols, or as a `System.map`.
#![no_main]

use bootling::root::kernel::fuzzed::Symbols;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for symbols in [Symbols::of_image(bytes), Symbols::of_map(bytes)].into_iter().flatten() {
        let mut before = 0;
        for (address, _, _) in symbols.iter() {
            assert!(before <= address);
            before = address;
        }
        let _ = symbols.function(before);
        let _ = symbols.physical("_stext");
    }
});
