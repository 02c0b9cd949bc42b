//! QEMU's own format.

use std::io;

/// The disk in a qcow2 image.
#[derive(Debug)]
pub struct Disk(());

impl Disk {
    /// Writes bytes of the disk.
    pub fn write_at(&mut self, _bytes: &[u8], _offset: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Reads bytes of the disk.
    pub fn read_at(&self, _bytes: &mut [u8], _offset: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Waits until all is on the disk below.
    pub fn sync(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
