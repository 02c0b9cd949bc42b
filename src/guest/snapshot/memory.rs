//! Files with guest memory: created, and copied without empty pages.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, SeekFrom, memfd_create, seek};

/// Unit of comparison: a page is written or left out as a whole.
const PAGE: usize = 4096;
/// Bytes read at a time.
const PIECE: usize = 256 * PAGE;

/// Creates guest memory without contents.
pub(crate) fn empty(name: &str, bytes: u64) -> io::Result<OwnedFd> {
    let memory = memfd_create(name, MemfdFlags::CLOEXEC)?;
    rustix::fs::ftruncate(&memory, bytes)?;
    Ok(memory)
}

/// Writes to the start of a memory file.
pub(crate) fn write(memory: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
    File::from(memory.try_clone()?).write_all_at(bytes, 0)
}

/// Replaces the first `len` bytes of a memory file by those of another.
pub(crate) fn replace(from: &OwnedFd, len: u64, to: &OwnedFd) -> io::Result<()> {
    let (from, to) = (File::from(from.try_clone()?), File::from(to.try_clone()?));
    let mut buffer = vec![0; PIECE];
    let mut at = 0;
    while at < len {
        let piece = &mut buffer[..(len - at).min(PIECE as u64) as usize];
        from.read_exact_at(piece, at)?;
        to.write_all_at(piece, at)?;
        at += piece.len() as u64;
    }
    Ok(())
}

/// Copies a memory file into an empty file of the same length, with holes for empty pages. Returns the bytes written.
pub(crate) fn copy(memory: &OwnedFd, len: u64, to: &File) -> io::Result<u64> {
    let from = File::from(memory.try_clone()?);
    to.set_len(len)?;
    let mut buffer = vec![0; PIECE];
    let mut written = 0;
    let mut at = 0;
    while let Some(start) = next_data(memory, at)?.filter(|start| *start < len) {
        let want = (len - start).min(PIECE as u64) as usize;
        let piece = &mut buffer[..want];
        from.read_exact_at(piece, start)?;
        written += write_pages(piece, start, to)?;
        at = start + want as u64;
    }
    Ok(written)
}

/// Returns the offset of the next data at or after `at`.
fn next_data(memory: &OwnedFd, at: u64) -> io::Result<Option<u64>> {
    match seek(memory, SeekFrom::Data(at)) {
        Ok(start) => Ok(Some(start)),
        Err(rustix::io::Errno::NXIO) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Writes runs of pages that are not all zeros.
fn write_pages(piece: &[u8], start: u64, to: &File) -> io::Result<u64> {
    let mut written = 0;
    let mut at = 0;
    while at < piece.len() {
        let run = piece[at..].chunks(PAGE).take_while(|page| !is_empty(page)).map(<[u8]>::len).sum::<usize>();
        if run > 0 {
            to.write_all_at(&piece[at..at + run], start + at as u64)?;
            written += run as u64;
        }
        at += run + PAGE;
    }
    Ok(written)
}

fn is_empty(page: &[u8]) -> bool {
    // Most pages differ in the first words; the rest is compared in words.
    let (head, words, tail) = (page.first(), page.chunks_exact(16), page.chunks_exact(16).remainder());
    head.is_none_or(|byte| *byte == 0)
        && words.into_iter().all(|word| u128::from_ne_bytes(word.try_into().unwrap_or([1; 16])) == 0)
        && tail.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::{PAGE, PIECE, copy, empty};
    use proptest::collection::vec;
    use proptest::prelude::proptest;
    use std::fs::File;
    use std::os::unix::fs::{FileExt, MetadataExt};

    proptest! {
        #[test]
        fn a_copy_has_the_same_bytes(writes in vec((0_u64..3 * PIECE as u64, vec(0_u8..3, 1..2 * PAGE)), 0..8)) {
            let len = 3 * PIECE as u64 + 4 * PAGE as u64;
            let memory = empty("test", len).expect("memory");
            let view = File::from(memory.try_clone().expect("a descriptor"));
            for (at, bytes) in writes {
                view.write_all_at(&bytes, at).expect("written");
            }
            let to = tempfile::tempfile().expect("a file");
            copy(&memory, len, &to).expect("copied");
            let read = |file: &File| {
                let mut bytes = vec![0; len as usize];
                file.read_exact_at(&mut bytes, 0).expect("read");
                bytes
            };
            assert!(read(&view) == read(&to));
        }
    }

    #[test]
    fn pages_of_zeroes_become_holes() {
        let memory = empty("test", 64 << 20).expect("memory");
        let view = File::from(memory.try_clone().expect("a descriptor"));
        view.write_all_at(&vec![0; 8 << 20], 0).expect("written");
        view.write_all_at(b"x", 40 << 20).expect("written");
        let to = tempfile::tempfile().expect("a file");
        assert_eq!(copy(&memory, 64 << 20, &to).expect("copied"), PAGE as u64);
        let metadata = to.metadata().expect("a file");
        assert_eq!(metadata.len(), 64 << 20);
        assert!(metadata.blocks() * 512 < 1 << 20, "{} blocks", metadata.blocks());
    }
}
