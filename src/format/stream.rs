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

/// Reader with a size limit. More data is an error, not the end of the file: a decompression bomb must not look like a
/// short file.
#[derive(Debug)]
pub(crate) struct SizeLimited<R> {
    inner: R,
    limit: u64,
    left: u64,
}

impl<R: Read> SizeLimited<R> {
    /// Returns a reader of at most `limit` bytes of `inner`.
    pub(crate) fn new(inner: R, limit: u64) -> Self {
        Self { inner, limit, left: limit }
    }
}

impl<R: Read> Read for SizeLimited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let exceeded = || io::Error::other(format!("unpacked size exceeds the limit of {} bytes", self.limit));
        self.left = self.left.checked_sub(read as u64).ok_or_else(exceeded)?;
        Ok(read)
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
