//! Arbitrary bytes as an initrd: reading ends in bounded memory without a panic, and all names can be printed.

#![no_main]

use std::io::{self, Write};
use std::ops::ControlFlow;

use bootling::format::newc::walk;
use bootling::initrd::explain::Printable;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut members = 0_u64;
    let walked = walk(bytes, &mut |member, data| {
        assert!(member.name.len() <= 4096);
        write!(io::sink(), "{}", Printable(&member.name))?;
        io::copy(data, &mut io::sink())?;
        members += 1;
        // Time is bounded by the decompressed size; memory is always bounded.
        Ok(if members > 10_000 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    });
    if let Err(error) = walked {
        assert!(!error.to_string().is_empty());
    }
});
