//! Reads arbitrary bytes as an initrd: bounded memory, no panic, and every entry can be printed.

#![no_main]

use std::io::{self, Write};
use std::ops::ControlFlow;

use bootling::initrd::explain::Printable;
use bootling::format::newc::walk;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut members = 0_u64;
    let walked = walk(bytes, &mut |member, data| {
        assert!(member.name.len() <= 4096);
        write!(io::sink(), "{}", Printable(&member.name))?;
        io::copy(data, &mut io::sink())?;
        members += 1;
        // Decompression bombs are allowed: time is bounded by the decompressed size, memory is bounded in any case.
        Ok(if members > 10_000 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    });
    if let Err(error) = walked {
        assert!(!error.to_string().is_empty());
    }
});
