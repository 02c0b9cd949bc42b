//! Buffer for standard input from the host that the command has not read yet.

/// The largest credit that is granted.
pub const CAPACITY: usize = 64 * 1024;

/// A ring buffer.
pub struct Input<'a> {
    ring: &'a mut [u8],
    start: usize,
    len: usize,
    /// The last byte added.
    pub last: Option<u8>,
}

impl<'a> Input<'a> {
    /// Creates a ring in a buffer of [`CAPACITY`] bytes.
    pub fn new(ring: &'a mut [u8]) -> Self {
        Self { ring, start: 0, len: 0, last: None }
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds all bytes, or none and returns `false` if they do not fit: then the host has exceeded its credit.
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

    /// Returns the next bytes, up to the end of the ring.
    pub fn next(&self) -> &[u8] {
        let end = (self.start + self.len).min(self.ring.len());
        self.ring.get(self.start..end).unwrap_or_default()
    }

    /// Removes bytes from the front.
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
