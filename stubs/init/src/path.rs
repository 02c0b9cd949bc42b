//! Paths for system calls, joined from parts.

use core::ffi::CStr;

/// `PATH_MAX` of the kernel, including the NUL.
const LONGEST: usize = 4096;

/// A NUL-terminated path.
pub struct Path {
    bytes: [u8; LONGEST],
    len: usize,
}

impl Path {
    /// Concatenates the parts; `None` if the result is too long or contains a NUL.
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
