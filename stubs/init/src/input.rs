//! What the host has sent for the command's standard input and the command has not taken yet.

/// As large as the largest window that is granted.
pub const CAPACITY: usize = 64 * 1024;

/// A ring of bytes.
pub struct Input<'a> {
    ring: &'a mut [u8],
    start: usize,
    len: usize,
    /// The last byte that went in.
    pub last: Option<u8>,
}

impl<'a> Input<'a> {
    /// Over a buffer of [`CAPACITY`] bytes.
    pub fn new(ring: &'a mut [u8]) -> Self {
        Self { ring, start: 0, len: 0, last: None }
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes the bytes in; `false`, and none of them, if there is no room: then the host sends more than it was granted.
    pub fn push(&mut self, bytes: &[u8]) -> bool {
        if bytes.len() > self.ring.len() - self.len {
            return false;
        }
        let end = (self.start + self.len) % self.ring.len().max(1);
        let (first, second) = bytes.split_at_checked(self.ring.len() - end).unwrap_or((bytes, &[]));
        copy(first, self.ring.get_mut(end..));
        copy(second, self.ring.get_mut(..));
        self.len += bytes.len();
        self.last = bytes.last().copied().or(self.last);
        true
    }

    /// What is next, as far as it lies in one piece.
    pub fn next(&self) -> &[u8] {
        let end = (self.start + self.len).min(self.ring.len());
        self.ring.get(self.start..end).unwrap_or_default()
    }

    /// Takes that many off the front.
    pub fn consume(&mut self, len: usize) {
        let len = len.min(self.len);
        self.start = (self.start + len) % self.ring.len().max(1);
        self.len -= len;
    }
}

fn copy(from: &[u8], to: Option<&mut [u8]>) {
    if let Some(to) = to.and_then(|to| to.get_mut(..from.len())) {
        to.copy_from_slice(from);
    }
}
