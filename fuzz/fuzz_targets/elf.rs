//! Reads arbitrary bytes as an ELF file: facts or an error, no panic, memory within the limits.

#![no_main]

use std::path::Path;

use bootling::format::elf;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(facts) = elf::parse(bytes, Path::new("/fuzz")) {
        let longest = facts.needed.iter().map(|name| name.len()).max().unwrap_or(0);
        assert!(longest <= bytes.len(), "a name longer than the file");
        elf::mentions(bytes, &facts, &[b"pthread_exit"]).expect("memory can be read");
    }
});
