//! Cached page-sized file reads for parsers of untrusted files.
//!
//! Uses `pread`, not `mmap`: a concurrent truncation is an error, not a `SIGBUS`. Rejects every read past the end that
//! the file had when it was opened.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Minimum read size: headers, dynamic section and names usually take one read each.
const PAGE: u64 = 4096;

/// A random-access byte source.
pub trait Source {
    /// Fills `buffer` from `offset` on. Returns the number of bytes read, which is smaller only at the end.
    fn read_some(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Returns the length in bytes.
    fn length(&self) -> io::Result<u64>;
}

impl Source for File {
    fn read_some(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.read_at(rest, offset.saturating_add(done as u64)) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

impl Source for [u8] {
    fn read_some(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len());
        let rest = self.get(start..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        Ok(count)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

/// Failure to read bytes.
#[derive(Debug)]
pub enum PageError {
    /// The bytes are past the end of the file.
    PastEnd,
    /// The file shrank.
    Shrank,
    /// An I/O error.
    Io(io::Error),
}

/// A source and its cached pages.
pub struct Pages<'a, S: Source + ?Sized> {
    source: &'a S,
    length: u64,
    read: Vec<(u64, Vec<u8>)>,
}

impl<'a, S: Source + ?Sized> Pages<'a, S> {
    /// Determines the length; reads no data yet.
    pub fn new(source: &'a S) -> io::Result<Self> {
        Ok(Self { source, length: source.length()?, read: Vec::new() })
    }

    /// Returns the length of the file when it was opened.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Returns exactly `length` bytes at `offset`. The caller must bound `length`.
    pub fn exactly(&mut self, offset: u64, length: u64) -> Result<&[u8], PageError> {
        let end = offset.checked_add(length).ok_or(PageError::PastEnd)?;
        if end > self.length {
            return Err(PageError::PastEnd);
        }
        let holds = |(start, bytes): &(u64, Vec<u8>)| *start <= offset && end - start <= bytes.len() as u64;
        let index = if let Some(index) = self.read.iter().position(holds) {
            index
        } else {
            self.load(offset, end)?;
            self.read.len() - 1
        };
        let found = self.read.get(index).and_then(|(start, bytes)| {
            bytes.get(usize::try_from(offset - start).ok()?..usize::try_from(end - start).ok()?)
        });
        found.ok_or(PageError::Shrank)
    }

    /// Returns up to `length` bytes at `offset`; fewer at the end of the file.
    pub fn at_most(&mut self, offset: u64, length: u64) -> Result<&[u8], PageError> {
        self.exactly(offset, length.min(self.length.saturating_sub(offset)))
    }

    /// Reads the whole pages that contain `offset..end`.
    fn load(&mut self, offset: u64, end: u64) -> Result<(), PageError> {
        let start = offset - offset % PAGE;
        let stop = end.checked_next_multiple_of(PAGE).unwrap_or(end).min(self.length);
        let mut bytes = vec![0; usize::try_from(stop - start).map_err(|_| PageError::PastEnd)?];
        let count = self.source.read_some(&mut bytes, start).map_err(PageError::Io)?;
        if count < bytes.len() {
            return Err(PageError::Shrank);
        }
        self.read.push((start, bytes));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{PageError, Pages};

    #[test]
    fn reads_are_exact_and_never_pass_the_end() {
        let bytes: Vec<u8> = (0..10_000u32).map(|at| at as u8).collect();
        let mut pages = Pages::new(bytes.as_slice()).expect("a slice has a length");
        assert_eq!(pages.exactly(4090, 12).expect("within the file"), &bytes[4090..4102]);
        assert_eq!(pages.exactly(4091, 2).expect("within a page that was read"), &bytes[4091..4093]);
        assert_eq!(pages.at_most(9_999, 100).expect("the last byte"), &bytes[9_999..]);
        assert!(matches!(pages.exactly(9_999, 2), Err(PageError::PastEnd)));
        assert!(matches!(pages.exactly(u64::MAX, 2), Err(PageError::PastEnd)));
    }
}
