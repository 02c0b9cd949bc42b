//! Reads an arbitrary report or refuses it; a report that was read can be written in every format and read again.

#![no_main]

use bootling::suite::report::FORMATS;
use bootling::suite::report::jsonl;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(report) = jsonl::read(bytes) else { return };
    for format in FORMATS {
        let mut text = Vec::new();
        format.write(&report, None, &mut text).expect("memory");
        if format.name == "jsonl" {
            assert_eq!(jsonl::read(text.as_slice()).expect("our own").cells.len(), report.cells.len());
        }
    }
});
