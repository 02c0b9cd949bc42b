//! Sequential reader over a medium.

use std::io::{self, Read};

use super::Medium;

/// Reads a medium from start to end.
#[derive(Debug, Clone)]
pub struct Stream<M> {
    medium: M,
    at: u64,
}

impl<M: Medium> Stream<M> {
    /// Returns a reader at the first byte of `medium`.
    pub fn new(medium: M) -> Self {
        Self { medium, at: 0 }
    }
}

impl<M: Medium> Read for Stream<M> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.medium.size().saturating_sub(self.at);
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let (piece, _) = buffer.split_at_mut(count);
        if !piece.is_empty() {
            self.medium.read_at(piece, self.at)?;
        }
        self.at += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::Stream;
    use std::io::Read;

    #[test]
    fn a_stream_reads_all_bytes_once() {
        let bytes: Vec<u8> = (0..=255).cycle().take(1000).collect();
        let mut read = Vec::new();
        Stream::new(&bytes).read_to_end(&mut read).expect("bytes");
        assert_eq!(read, bytes);
    }
}
