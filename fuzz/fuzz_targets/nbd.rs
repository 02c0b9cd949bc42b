//! Opens and reads an export of a hostile NBD server: bounded memory, no panic.

#![no_main]

use std::io::{self, Cursor, Read, Write};

use bootling::format::nbd::Export;
use libfuzzer_sys::fuzz_target;

struct Server<'a>(Cursor<&'a [u8]>);

impl Read for Server<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Server<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fuzz_target!(|bytes: &[u8]| {
    let greeting: &[u8] = b"NBDMAGICIHAVEOPT\0\x03";
    let whole = [greeting, bytes].concat();
    let Ok(mut export) = Export::open(Server(Cursor::new(&whole)), "disk") else { return };
    let _ = export.read_at(&mut [0; 600], 512);
});
