//! Parses arbitrary test output as TAP and KTAP: a bounded number of parts, each with a name.

#![no_main]

use bootling::suite::tap_parser::TapMode;
use bootling::suite::tap_parser::failure_cause;
use bootling::suite::tap_parser::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for mode in [TapMode::Detect, TapMode::Required] {
        let parts = parse(bytes, mode);
        assert!(parts.len() < 20_000 && parts.iter().all(|part| !part.name.is_empty()));
        let _ = failure_cause(&parts);
    }
});
