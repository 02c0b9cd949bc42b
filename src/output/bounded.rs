//! File with a maximum size. A marker at its end shows that it is truncated.

use std::fs::File;
use std::io::{self, Write};

/// Marker of a truncated file.
const TRUNCATED: &[u8] = b"\n[bootling: truncated]\n";

/// File that accepts a limited number of bytes. Errors truncate it, and are not reported otherwise.
#[derive(Debug)]
pub(crate) struct BoundedFile {
    file: File,
    limit: usize,
    room: usize,
}

impl BoundedFile {
    /// Writes at most `limit` bytes to `file`.
    pub(crate) fn new(file: File, limit: usize) -> Self {
        Self { file, limit, room: limit }
    }

    /// Returns another writer that appends to the same file.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self::new(self.file.try_clone()?, self.limit))
    }

    /// Writes the bytes, or the part that fits.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        if self.room == 0 {
            return;
        }
        let fits = bytes.len().min(self.room);
        let written = self.file.write_all(&bytes[..fits]);
        self.room -= fits;
        if written.is_err() || self.room == 0 {
            self.room = 0;
            // The marker is on the same disk; if the disk is full, this fails too.
            let _ = self.file.write_all(TRUNCATED);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::BoundedFile;

    #[test]
    fn a_file_that_reaches_its_limit_ends_with_a_marker() {
        let (file, path) = tempfile::NamedTempFile::new().expect("a file").into_parts();
        let mut bounded = BoundedFile::new(file, 5);
        for part in ["abc", "def", "ghi"] {
            bounded.write(part.as_bytes());
        }
        assert_eq!(std::fs::read_to_string(&path).expect("written"), "abcde\n[bootling: truncated]\n");
    }
}
