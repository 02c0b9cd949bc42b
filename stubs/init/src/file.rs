//! Reads small files in `/proc` and `/sys`, and lists directories.

use crate::syscall::Result;
use crate::syscall::file::{DIRECTORY, Fd, READ_ONLY, open, read, read_directory, size};
use crate::syscall::memory::allocate;
use core::ffi::CStr;

/// Reads the start of a file, up to the buffer's length. Empty on an error.
pub fn read_start<'a>(path: &CStr, buffer: &'a mut [u8]) -> &'a [u8] {
    let len = open(path, READ_ONLY).and_then(|file| read(&file, buffer)).unwrap_or(0);
    buffer.get(..len).unwrap_or_default()
}

/// Reads a whole file.
pub fn read_all(path: &CStr) -> Result<&'static [u8]> {
    let file = open(path, READ_ONLY)?;
    let buffer = allocate(size(&file)?)?;
    let mut len = 0;
    while let Some(rest) = buffer.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match read(&file, rest)? {
            0 => break,
            more => len += more,
        }
    }
    Ok(buffer.get(..len).unwrap_or_default())
}

/// Parses a decimal number at the start of a text.
pub fn number(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    let mut value = None;
    for digit in digits {
        let digit = u64::from(digit.wrapping_sub(b'0'));
        value = Some(value.unwrap_or(0_u64).checked_mul(10)?.checked_add(digit)?);
    }
    value
}

/// Calls `visit` for every name in a directory except `.` and `..`, until it returns `true`. Returns true if it did. A
/// missing directory has no names.
pub fn any_name(directory: &CStr, visit: impl FnMut(&[u8]) -> bool) -> bool {
    open(directory, READ_ONLY | DIRECTORY).is_ok_and(|directory| any_name_in(&directory, visit))
}

/// Like [`any_name`], for an open directory.
pub fn any_name_in(directory: &Fd, mut visit: impl FnMut(&[u8]) -> bool) -> bool {
    let mut buffer = [0_u8; 2048];
    loop {
        let len = read_directory(directory, &mut buffer).unwrap_or(0);
        let mut entries = buffer.get(..len).unwrap_or_default();
        if entries.is_empty() {
            return false;
        }
        // struct linux_dirent64: inode and offset (8 bytes each), length (2), type (1), name, NUL.
        while let [_, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, low, high, _, ..] = *entries {
            let len = usize::from(u16::from_le_bytes([low, high]));
            let name = entries.get(19..len).and_then(|name| CStr::from_bytes_until_nul(name).ok());
            if let Some(name) = name.map(CStr::to_bytes)
                && name != b"."
                && name != b".."
                && visit(name)
            {
                return true;
            }
            entries = entries.get(len.max(1)..).unwrap_or_default();
        }
    }
}
