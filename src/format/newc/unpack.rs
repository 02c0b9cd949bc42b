//! Input streams of an initrd: buffering, byte counting and limits.

use std::cell::Cell;
use std::io::{self, BufRead, Read};

/// Maximum padding between archives in bytes.
const MOST_ZEROS: usize = 256 << 20;

/// Buffer size in bytes.
const BUFFER: usize = 64 * 1024;
/// Stream that subtracts its bytes from a shared limit, because a few compressed bytes can expand to gigabytes.
pub(super) struct Metered<'a, R> {
    input: R,
    left: &'a Cell<u64>,
}

impl<'a, R: Read> Metered<'a, R> {
    pub(super) fn new(input: R, left: &'a Cell<u64>) -> Self {
        Self { input, left }
    }
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.get();
        if left == 0 {
            return Err(io::Error::other("limit for unpacked data exceeded"));
        }
        let count = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = self.input.read(buffer.get_mut(..count).unwrap_or_default())?;
        self.left.set(left.saturating_sub(read as u64));
        Ok(read)
    }
}

/// Buffered stream that counts consumed bytes.
pub(super) struct Stream<R> {
    input: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    offset: u64,
}

impl<R: Read> Stream<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, buffer: vec![0; BUFFER].into_boxed_slice(), start: 0, end: 0, offset: 0 }
    }

    /// Returns the number of bytes consumed so far.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the next `count` bytes, or fewer at the end, without consuming them. `count` must be less than the
    /// buffer size.
    pub(super) fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        if self.end - self.start < count {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            while self.end < count {
                match self.input.read(&mut self.buffer[self.end..]) {
                    Ok(0) => break,
                    Ok(read) => self.end += read,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let there = (self.end - self.start).min(count);
        Ok(&self.buffer[self.start..self.start + there])
    }

    /// Consumes zeros, up to a limit, because a device may contain an unlimited number of them.
    pub(super) fn skip_zeros(&mut self) -> io::Result<()> {
        let mut skipped = 0;
        while skipped < MOST_ZEROS {
            let bytes = self.fill_buf()?;
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            let more = zeros > 0 && zeros == bytes.len();
            self.consume(zeros);
            skipped += zeros;
            if !more {
                return Ok(());
            }
        }
        Err(io::Error::other(format!("more than {} MiB of zeros", MOST_ZEROS >> 20)))
    }

    /// Consumes exactly `count` bytes.
    pub(super) fn skip(&mut self, mut count: u64) -> io::Result<()> {
        while count > 0 {
            let there = self.fill_buf()?.len();
            if there == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let skipped = there.min(usize::try_from(count).unwrap_or(usize::MAX));
            self.consume(skipped);
            count -= skipped as u64;
        }
        Ok(())
    }

    /// Consumes the padding up to a multiple of four.
    pub(super) fn pad(&mut self) -> io::Result<()> {
        self.skip(self.offset.next_multiple_of(4) - self.offset)
    }
}

impl<R: Read> Read for Stream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut there = self.fill_buf()?;
        let count = there.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl<R: Read> BufRead for Stream<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.peek(1)?;
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, count: usize) {
        let count = count.min(self.end - self.start);
        self.start += count;
        self.offset += count as u64;
    }
}
