//! Arbitrary bytes as a bisection log: parsing terminates without a panic.

#![no_main]

use bootling::regress::bisect::log::Log;
use bootling::regress::bisect::version::compare;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let _ = Log::parse(&text);
    let _ = Log::parse(&format!("# bootling bisect log 1\n{text}"));
    let (one, other) = text.split_once('\n').unwrap_or((&text, ""));
    assert_eq!(compare(one, other), compare(other, one).reverse());
});
