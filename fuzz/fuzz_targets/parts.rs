//! Parses arbitrary test output as TAP and KTAP: bounded, and independent of how the input is split.

#![no_main]

use bootling::suite::parts::Parser;
use bootling::suite::parts::Speaks;
use bootling::suite::parts::parse;
use bootling::suite::parts::verdict;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for speaks in [Speaks::Perhaps, Speaks::Surely] {
        let whole = parse(bytes, speaks);
        assert!(whole.len() < 20_000);
        let _ = verdict(&whole);
        let mut parser = Parser::new(speaks);
        bytes.chunks(7).for_each(|piece| parser.push(piece));
        assert_eq!(parser.finish(), whole);
    }
});
