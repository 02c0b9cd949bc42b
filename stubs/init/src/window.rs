//! The window that carries a payload into a running guest (see [`crate::protocol::window`]).

use crate::file;
use crate::path::Path;
use crate::protocol::window::{DEVICE, MAGIC, VENDOR};
use crate::syscall::file::{READ_ONLY, WRITE_ONLY, open, write};
use crate::syscall::memory::map_shared;
use crate::syscall::{Errno, Result};

const DEVICES: &[u8] = b"/sys/bus/pci/devices/";

/// Memory written by the host.
pub struct Window(&'static [u8]);

impl Window {
    /// Finds and maps the window.
    pub fn open(len: u64) -> Result<Self> {
        let len = usize::try_from(len).map_err(|_| Errno::INVAL)?;
        let mut found = Err(Errno::NODEV);
        file::any_name(c"/sys/bus/pci/devices", |name| {
            if is(name, b"/vendor", VENDOR) && is(name, b"/device", DEVICE) {
                let mapped = map(name, len);
                if matches!(&mapped, Ok(window) if !window.starts_with(MAGIC)) {
                    // Another ivshmem device.
                    return false;
                }
                found = mapped;
            }
            found.is_ok()
        });
        found.map(Self)
    }

    /// Returns the first `len` bytes; `None` if the window is shorter.
    pub fn start(&self, len: u64) -> Option<&[u8]> {
        self.0.get(..usize::try_from(len).ok()?)
    }
}

fn is(device: &[u8], attribute: &[u8], wanted: &[u8]) -> bool {
    let mut buffer = [0; 16];
    Path::join(&[DEVICES, device, attribute])
        .is_some_and(|path| file::read_start(path.as_c(), &mut buffer).trim_ascii() == wanted)
}

fn map(device: &[u8], len: usize) -> Result<&'static [u8]> {
    let path = |attribute: &[u8]| Path::join(&[DEVICES, device, attribute]).ok_or(Errno::INVAL);
    // Firmware may have left the device disabled. If enabling fails, mapping reports the error.
    if let Ok(switch) = open(path(b"/enable")?.as_c(), WRITE_ONLY) {
        let _ = write(&switch, b"1");
    }
    map_shared(&open(path(b"/resource2")?.as_c(), READ_ONLY)?, len)
}
