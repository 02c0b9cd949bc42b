//! Reads arbitrary bytes as a kernel module: its ELF headers and its `.modinfo`.
#![no_main]

use bootling::format::modules::modinfo::Modinfo;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = Modinfo::read(bytes);
    let _ = Modinfo::parse(bytes);
});
