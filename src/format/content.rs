//! Content of a file that is stored in several runs of a medium, as in FAT and ISO 9660.

use std::io::{self, Read};

use super::Medium;

/// Content of a file, for sequential (`Read`) or random access ([`Medium`]).
#[derive(Debug, Clone)]
pub struct Content<M> {
    medium: M,
    /// Start of each run: offset in the file, offset in the medium.
    runs: Vec<(u64, u64)>,
    size: u64,
    position: u64,
}

impl<M: Medium> Content<M> {
    /// Returns the first `size` bytes of these runs: offset in the medium and length in bytes of each.
    pub fn new(medium: M, size: u64, runs: impl Iterator<Item = (u64, u64)>) -> Self {
        let mut at = 0u64;
        let placed = |(offset, len)| {
            let start = at;
            at = at.saturating_add(len);
            (start, offset)
        };
        Self { medium, runs: runs.map(placed).collect(), size, position: 0 }
    }

    /// Returns the byte offset of the content in the medium; `None` for an empty file.
    pub fn start(&self) -> Option<u64> {
        self.runs.first().map(|(_, offset)| *offset)
    }

    /// Returns the number of fragments.
    pub fn fragments(&self) -> usize {
        self.runs.len()
    }

    /// Fills `buffer` up to the end of the run at offset `at`; returns the number of bytes.
    fn piece(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let index = self.runs.partition_point(|(start, _)| *start <= at);
        let Some((start, offset)) = index.checked_sub(1).and_then(|index| self.runs.get(index)) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let end = self.runs.get(index).map_or(self.size, |(next, _)| (*next).min(self.size));
        let count = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX).min(buffer.len());
        let (piece, _) = buffer.split_at_mut(count);
        let from = offset.checked_add(at - start).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.medium.read_at(piece, from)?;
        Ok(count)
    }
}

impl<M: Medium> Medium for Content<M> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (mut rest, mut at) = (buffer, offset);
        while !rest.is_empty() {
            let count = self.piece(rest, at)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            rest = &mut rest[count..];
            at += count as u64;
        }
        Ok(())
    }
}

impl<M: Medium> Read for Content<M> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.size {
            return Ok(0);
        }
        let count = self.piece(buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::Content;
    use crate::format::Medium;
    use std::io::Read;

    #[test]
    fn runs_are_read_in_their_order() {
        let disk: Vec<u8> = (0..100).collect();
        let mut content = Content::new(&disk, 7, [(50, 4), (10, 4)].into_iter());
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).expect("inside");
        assert_eq!(bytes, [50, 51, 52, 53, 10, 11, 12]);
        let mut two = [0; 2];
        content.read_at(&mut two, 3).expect("inside");
        assert_eq!(two, [53, 10]);
        content.read_at(&mut two, 6).expect_err("past the end");
        Content::new(&disk, 7, [(u64::MAX - 1, 8)].into_iter()).read_at(&mut two, 3).expect_err("no such offset");
    }
}
