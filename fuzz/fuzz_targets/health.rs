//! Reads arbitrary bytes as a guest's console output, and as records of its kernel log.
#![no_main]

use bootling::guest::health::Log;
use bootling::format::protocol::frame::Lost;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (records, console) = bytes.split_at(bytes.len() / 2);
    let mut log = Log::default();
    log.take_console(console);
    log.take_records(Lost::Overwritten, records);
    log.take_left(1, true, console);
    let told = log.finish(Some((0, u64::MAX)));
    let lines = told.findings.iter().flat_map(|finding| finding.lines.iter().chain([&finding.title]));
    assert!(lines.flat_map(|line| line.chars()).all(|letter| !letter.is_control()));
});
