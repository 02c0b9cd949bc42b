//! Arbitrary bytes as a report: it is read or refused, and an accepted report can be written in every format and read
//! back.

#![no_main]

use bootling::suite::report::Format;
use bootling::suite::report::jsonl;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(report) = jsonl::read(bytes) else { return };
    for format in Format::ALL {
        let mut text = Vec::new();
        format.write(&report, None, &mut text).expect("memory");
        if format == Format::JsonLines {
            assert_eq!(jsonl::read(text.as_slice()).expect("own report").cells.len(), report.cells.len());
        }
    }
});
