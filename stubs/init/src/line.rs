//! A line of text, built without allocation; truncated if too long.

use crate::syscall::Errno;

/// A line of up to 512 bytes.
pub struct Line {
    bytes: [u8; 512],
    len: usize,
}

impl Line {
    pub fn new(start: &[u8]) -> Self {
        Self { bytes: [0; 512], len: 0 }.text(start)
    }

    pub fn text(mut self, text: &[u8]) -> Self {
        for &byte in text {
            if let Some(slot) = self.bytes.get_mut(self.len) {
                *slot = byte;
                self.len += 1;
            }
        }
        self
    }

    pub fn number(self, number: u64) -> Self {
        let mut digits = [0_u8; 20];
        let (mut rest, mut used) = (number, 0);
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
            used += 1;
            if rest == 0 {
                break;
            }
        }
        let start = digits.len() - used;
        self.text(digits.get(start..).unwrap_or_default())
    }

    /// Appends the kernel's error number.
    pub fn error(self, errno: Errno) -> Self {
        self.text(b": error ").number(u64::from(errno.code()))
    }

    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}
