//! Random access to bytes: files, slices, and the content of disk images.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Minimum read size of a [`PagedReader`]: headers, dynamic section and names usually take one read each.
const PAGE: u64 = 4096;

/// A sequence of bytes in any storage. For a disk image, sizes and offsets are those of the disk, not of its container.
pub trait ReadAt {
    /// Returns the size in bytes.
    fn size(&self) -> u64;

    /// Fills `buffer` with the bytes at `offset`. Fails with `UnexpectedEof` if they extend past the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for File {
    /// Not for devices, whose metadata contains no size.
    fn size(&self) -> u64 {
        // The metadata of an open file is always available.
        self.metadata().map_or(0, |metadata| metadata.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }
}

impl ReadAt for [u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let end = start.checked_add(buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(self.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl ReadAt for Vec<u8> {
    fn size(&self) -> u64 {
        self.as_slice().size()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.as_slice().read_at(buffer, offset)
    }
}

impl<R: ReadAt + ?Sized> ReadAt for &R {
    fn size(&self) -> u64 {
        (**self).size()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_at(buffer, offset)
    }
}

impl<R: ReadAt + ?Sized> ReadAt for Box<R> {
    fn size(&self) -> u64 {
        (**self).size()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_at(buffer, offset)
    }
}

/// Reads whole pages and caches them, for parsers of untrusted files.
///
/// Uses `pread`, not `mmap`: a concurrent truncation is an error, not a `SIGBUS`. Rejects every read past the end that
/// the file had when it was opened.
#[derive(Debug)]
pub struct PagedReader<'a, R: ?Sized> {
    source: &'a R,
    size: u64,
    pages: Vec<(u64, Vec<u8>)>,
}

impl<'a, R: ReadAt + ?Sized> PagedReader<'a, R> {
    /// Reads no data yet.
    pub fn new(source: &'a R) -> Self {
        Self { source, size: source.size(), pages: Vec::new() }
    }

    /// Returns exactly `length` bytes at `offset`. The caller must bound `length`. Fails with `UnexpectedEof` if they
    /// extend past the end.
    pub(crate) fn read_exact(&mut self, offset: u64, length: u64) -> io::Result<&[u8]> {
        let end = offset.checked_add(length).filter(|end| *end <= self.size).ok_or(io::ErrorKind::UnexpectedEof)?;
        let contains = |(start, bytes): &(u64, Vec<u8>)| *start <= offset && end - start <= bytes.len() as u64;
        let index = match self.pages.iter().position(contains) {
            Some(index) => index,
            None => self.load(offset, end)?,
        };
        let found = self.pages.get(index).and_then(|(start, bytes)| {
            bytes.get(usize::try_from(offset - start).ok()?..usize::try_from(end - start).ok()?)
        });
        Ok(found.ok_or(io::ErrorKind::UnexpectedEof)?)
    }

    /// Returns up to `length` bytes at `offset`; fewer at the end of the file.
    pub(crate) fn read_up_to(&mut self, offset: u64, length: u64) -> io::Result<&[u8]> {
        self.read_exact(offset, length.min(self.size.saturating_sub(offset)))
    }

    /// Reads the whole pages that contain `offset..end`. Returns their index.
    fn load(&mut self, offset: u64, end: u64) -> io::Result<usize> {
        let start = offset - offset % PAGE;
        let stop = end.checked_next_multiple_of(PAGE).unwrap_or(end).min(self.size);
        let mut bytes = vec![0; usize::try_from(stop - start).map_err(|_| io::ErrorKind::UnexpectedEof)?];
        self.source.read_at(&mut bytes, start)?;
        self.pages.push((start, bytes));
        Ok(self.pages.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::PagedReader;
    use std::io::ErrorKind;

    #[test]
    fn reads_are_exact_and_never_pass_the_end() {
        let bytes: Vec<u8> = (0..10_000u32).map(|at| at as u8).collect();
        let mut pages = PagedReader::new(bytes.as_slice());
        assert_eq!(pages.read_exact(4090, 12).expect("within the file"), &bytes[4090..4102]);
        assert_eq!(pages.read_exact(4091, 2).expect("within a page that was read"), &bytes[4091..4093]);
        assert_eq!(pages.read_up_to(9_999, 100).expect("the last byte"), &bytes[9_999..]);
        assert_eq!(pages.read_exact(9_999, 2).expect_err("past the end").kind(), ErrorKind::UnexpectedEof);
        assert_eq!(pages.read_exact(u64::MAX, 2).expect_err("past the end").kind(), ErrorKind::UnexpectedEof);
    }
}
