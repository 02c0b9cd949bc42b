//! Anything a test may write: it is read within its bounds, and the same however it is cut.

#![no_main]

use bootling::suite::tap_parser::Parser;
use bootling::suite::tap_parser::Speaks;
use bootling::suite::tap_parser::parse;
use bootling::suite::tap_parser::verdict;
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
