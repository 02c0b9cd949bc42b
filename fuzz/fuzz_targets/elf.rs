//! Reads arbitrary bytes as an ELF file: facts or an error, no panic, memory within the limits.

#![no_main]

use bootling::format::elf::ElfFacts;
use bootling::format::read_at::PagedReader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(facts) = ElfFacts::read(PagedReader::new(bytes)) {
        let longest = facts.needed.iter().map(|name| name.len()).max().unwrap_or(0);
        assert!(longest <= bytes.len(), "a name longer than the file");
        facts.string_table_contains(bytes, &[b"pthread_exit"]).expect("memory can be read");
    }
});
