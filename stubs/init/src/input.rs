//! What the host has sent for the command's standard input and the command has not taken yet.

use crate::syscall::Result;
use crate::syscall::memory::allocate;

/// As large as the largest window that is granted.
const CAPACITY: usize = 64 * 1024;

/// A ring of bytes.
pub struct Input {
    ring: &'static mut [u8],
    start: usize,
    len: usize,
    /// The last byte that went in.
    pub last: Option<u8>,
}

impl Input {
    pub fn new() -> Result<Self> {
        Ok(Self { ring: allocate(CAPACITY)?, start: 0, len: 0, last: None })
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes the bytes in; `false`, and none of them, if there is no room: then the host sends more than it was granted.
    pub fn push(&mut self, bytes: &[u8]) -> bool {
        if bytes.len() > CAPACITY - self.len {
            return false;
        }
        let end = (self.start + self.len) % CAPACITY;
        let (first, second) = bytes.split_at_checked(CAPACITY - end).unwrap_or((bytes, &[]));
        copy(first, self.ring.get_mut(end..));
        copy(second, self.ring.get_mut(..));
        self.len += bytes.len();
        self.last = bytes.last().copied().or(self.last);
        true
    }

    /// What is next, as far as it lies in one piece.
    pub fn next(&self) -> &[u8] {
        let end = (self.start + self.len).min(CAPACITY);
        self.ring.get(self.start..end).unwrap_or_default()
    }

    /// Takes that many off the front.
    pub fn consume(&mut self, len: usize) {
        let len = len.min(self.len);
        self.start = (self.start + len) % CAPACITY;
        self.len -= len;
    }
}

fn copy(from: &[u8], to: Option<&mut [u8]>) {
    if let Some(to) = to.and_then(|to| to.get_mut(..from.len())) {
        to.copy_from_slice(from);
    }
}
