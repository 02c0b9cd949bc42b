//! A path put together from parts, as the kernel takes it.

use core::ffi::CStr;

/// The kernel's `PATH_MAX`, the NUL included.
const LONGEST: usize = 4096;

/// A path under construction.
pub struct Path {
    bytes: [u8; LONGEST],
    len: usize,
}

impl Path {
    /// The parts, one behind the other; `None` if they are too long for the kernel or hold a NUL.
    pub fn join(parts: &[&[u8]]) -> Option<Self> {
        let mut path = Self { bytes: [0; LONGEST], len: 0 };
        for part in parts {
            for &byte in *part {
                // The last byte stays a NUL.
                if byte == 0 || path.len >= LONGEST - 1 {
                    return None;
                }
                *path.bytes.get_mut(path.len)? = byte;
                path.len += 1;
            }
        }
        Some(path)
    }

    pub fn as_c(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or(c"")
    }
}
