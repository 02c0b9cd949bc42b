//! Parses arbitrary test output as TAP and KTAP: bounded, and independent of how the input is split.

#![no_main]

use bootling::suite::tap_parser::Parser;
use bootling::suite::tap_parser::TapMode;
use bootling::suite::tap_parser::parse;
use bootling::suite::tap_parser::failure_cause;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for mode in [TapMode::Detect, TapMode::Required] {
        let whole = parse(bytes, mode);
        assert!(whole.len() < 20_000);
        let _ = failure_cause(&whole);
        let mut parser = Parser::new(mode);
        bytes.chunks(7).for_each(|piece| parser.push(piece));
        assert_eq!(parser.finish(), whole);
    }
});
