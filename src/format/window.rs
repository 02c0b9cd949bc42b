//! A range of a medium as a medium of its own, such as a partition or a contiguous file.

use std::io;

use super::Medium;

/// The `len` bytes of a medium that start at `start`. Reads outside the window fail, as do reads past the end of the
/// medium.
#[derive(Debug, Clone, Copy)]
pub struct Window<M> {
    medium: M,
    start: u64,
    len: u64,
}

impl<M: Medium> Window<M> {
    /// Returns the window of `len` bytes at byte `start` of `medium`.
    pub fn new(medium: M, start: u64, len: u64) -> Self {
        Self { medium, start, len }
    }
}

impl<M: Medium> Medium for Window<M> {
    fn size(&self) -> u64 {
        self.len
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= self.len);
        let start = end.and_then(|_| self.start.checked_add(offset)).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.medium.read_at(buffer, start)
    }
}

#[cfg(test)]
mod tests {
    use super::Window;
    use crate::format::Medium;

    #[test]
    fn a_window_reads_only_its_own_range() {
        let disk: Vec<u8> = (0..100).collect();
        let window = Window::new(&disk, 10, 20);
        let mut bytes = [0; 4];
        window.read_at(&mut bytes, 16).expect("inside");
        assert_eq!(bytes, [26, 27, 28, 29]);
        for (offset, start) in [(17, 10), (u64::MAX, 10), (0, u64::MAX - 2), (0, 98)] {
            let window = Window::new(&disk, start, 20);
            window.read_at(&mut bytes, offset).expect_err("outside");
        }
    }
}
