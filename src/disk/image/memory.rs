//! Sparse in-memory device for the fatfs crate. Allocates pages only for data other than zeros. While the content of a
//! file is written, it records only the offsets.
//!
//! The crate writes a volume through `Read + Write + Seek`, cluster by cluster. File contents stay in their source
//! files until the image is written, so a volume needs memory only for its FATs and directories.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::rc::Rc;

/// Unit of allocation in bytes.
const PAGE: usize = 64 << 10;

/// Handle of the device. Clones share the memory, but each has its own position.
#[derive(Debug, Clone)]
pub(crate) struct Canvas {
    memory: Rc<RefCell<Memory>>,
    at: u64,
}

#[derive(Debug)]
struct Memory {
    /// Pages by number.
    pages: BTreeMap<u64, Box<[u8]>>,
    size: u64,
    /// While a file's content is written: the offset of the first cluster, and the ranges written so far.
    noted: Option<(u64, Vec<(u64, u64)>)>,
}

impl Canvas {
    /// Creates a device of `size` zeros.
    pub(crate) fn new(size: u64) -> Self {
        let memory = Memory { pages: BTreeMap::new(), size, noted: None };
        Self { memory: Rc::new(RefCell::new(memory)), at: 0 }
    }

    /// Starts recording: writes at or after `data_offset` are the content of a file.
    pub(crate) fn note(&self, data_offset: u64) {
        self.memory.borrow_mut().noted = Some((data_offset, Vec::new()));
    }

    /// Stops recording. Returns the offsets and lengths of the content, in write order.
    pub(crate) fn noted(&self) -> Vec<(u64, u64)> {
        self.memory.borrow_mut().noted.take().map(|(_, pieces)| pieces).unwrap_or_default()
    }

    /// Reads bytes. Bytes past the end are zeros.
    pub(crate) fn get<const N: usize>(&self, at: u64) -> [u8; N] {
        let mut bytes = [0; N];
        let memory = self.memory.borrow();
        let mut done = 0;
        while done < N {
            match memory.read(at + done as u64, &mut bytes[done..]) {
                0 => break,
                read => done += read,
            }
        }
        bytes
    }

    /// Writes bytes.
    pub(crate) fn put(&self, at: u64, bytes: &[u8]) {
        let mut memory = self.memory.borrow_mut();
        let mut done = 0;
        while done < bytes.len() {
            match memory.write(at + done as u64, &bytes[done..]) {
                0 => break,
                written => done += written,
            }
        }
    }

    /// Returns the offset and the bytes of each allocated page.
    pub(crate) fn into_pages(self) -> Vec<(u64, Box<[u8]>)> {
        let mut memory = self.memory.borrow_mut();
        let size = memory.size;
        let pages = std::mem::take(&mut memory.pages);
        let cut = |(number, page): (u64, Box<[u8]>)| {
            let at = number * PAGE as u64;
            let len = usize::try_from(size - at).map_or(PAGE, |left| left.min(PAGE));
            (at, if len < PAGE { page[..len].into() } else { page })
        };
        pages.into_iter().map(cut).collect()
    }
}

impl Memory {
    /// Returns the page number of `at`, the offset in the page, and the number of bytes, up to `wanted`, in the page.
    fn locate(&self, at: u64, wanted: usize) -> (u64, usize, usize) {
        let left = usize::try_from(self.size.saturating_sub(at)).unwrap_or(usize::MAX);
        let within = (at % PAGE as u64) as usize;
        (at / PAGE as u64, within, wanted.min(PAGE - within).min(left))
    }

    fn read(&self, at: u64, buffer: &mut [u8]) -> usize {
        let (page, within, len) = self.locate(at, buffer.len());
        match self.pages.get(&page) {
            Some(page) => buffer[..len].copy_from_slice(&page[within..within + len]),
            None => buffer[..len].fill(0),
        }
        len
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> usize {
        let (page, within, len) = self.locate(at, bytes.len());
        if let Some((data, pieces)) = &mut self.noted
            && at >= *data
        {
            match pieces.last_mut() {
                Some((start, held)) if *start + *held == at => *held += len as u64,
                _ => pieces.push((at, len as u64)),
            }
        } else if self.pages.contains_key(&page) || bytes[..len].iter().any(|byte| *byte != 0) {
            let page = self.pages.entry(page).or_insert_with(|| vec![0; PAGE].into());
            page[within..within + len].copy_from_slice(&bytes[..len]);
        }
        len
    }
}

impl Read for Canvas {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.memory.borrow().read(self.at, buffer);
        self.at += read as u64;
        Ok(read)
    }
}

impl Write for Canvas {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.memory.borrow_mut().write(self.at, bytes);
        self.at += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Canvas {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.memory.borrow().size.checked_add_signed(by),
        };
        self.at = place.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::{Canvas, PAGE};
    use std::io::{Read, Seek, SeekFrom, Write};

    #[test]
    fn pages_are_allocated_only_for_data_other_than_zeros() {
        let mut canvas = Canvas::new(3 * PAGE as u64 + 100);
        canvas.seek(SeekFrom::Start(PAGE as u64 - 2)).expect("there");
        canvas.write_all(b"abcd").expect("written");
        canvas.seek(SeekFrom::Start(2 * PAGE as u64)).expect("there");
        canvas.write_all(&[0; 500]).expect("written");
        canvas.seek(SeekFrom::End(-1)).expect("there");
        assert_eq!(canvas.write(b"xy").expect("written"), 1);
        assert_eq!(canvas.read(&mut [0; 4]).expect("read"), 0);
        assert_eq!(canvas.get::<4>(PAGE as u64 - 2), *b"abcd");
        let pages = canvas.into_pages();
        let places: Vec<_> = pages.iter().map(|(at, page)| (*at as usize / PAGE, page.len())).collect();
        assert_eq!(places, [(0, PAGE), (1, PAGE), (3, 100)]);
    }

    #[test]
    fn recorded_writes_allocate_no_memory() {
        let canvas = Canvas::new(8 * PAGE as u64);
        canvas.note(1000);
        for (at, len) in [(1000, 500), (10, 4), (1500, 100), (4000, 5)] {
            canvas.put(at, &vec![7; len]);
        }
        assert_eq!(canvas.noted(), [(1000, 600), (4000, 5)]);
        assert_eq!((canvas.get::<1>(1000), canvas.get::<2>(12)), ([0], [7, 7]));
        assert!(canvas.into_pages().len() == 1);
    }
}
