//! Unpacks a compressed disk image into an unnamed sparse file, which is deleted when the process ends.
//!
//! Checksums are verified. Refuses images that unpack to more than 1 TiB: holes take no disk space, but they take time.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::format::compression::{Compression, Streams};

/// Maximum unpacked size in bytes.
const LIMIT: u64 = 1 << 40;
/// Block size for the detection of zeros, which become holes.
const PIECE: usize = 64 << 10;

/// Unpacks `file` into an unnamed file in `directory`.
pub fn unpack(file: &File, compression: Compression, directory: &Path) -> io::Result<File> {
    let mut packed = file;
    packed.seek(SeekFrom::Start(0))?;
    let packed = BufReader::with_capacity(1 << 18, packed);
    copy(compression.reader(packed, Streams::All)?, directory)
}

fn copy(mut from: impl Read, directory: &Path) -> io::Result<File> {
    let mut to = tempfile::tempfile_in(directory)?;
    let mut piece = vec![0; PIECE];
    let mut len: u64 = 0;
    loop {
        let got = fill(&mut from, &mut piece)?;
        if got == 0 {
            break;
        }
        if piece[..got].iter().all(|byte| *byte == 0) {
            to.seek(SeekFrom::Current(i64::try_from(got).unwrap_or(0)))?;
        } else {
            to.write_all(&piece[..got])?;
        }
        len += got as u64;
        if len > LIMIT {
            return Err(io::Error::other(format!("it unpacks to more than {} GiB", LIMIT >> 30)));
        }
    }
    to.set_len(len)?;
    Ok(to)
}

/// Reads until `piece` is full or the input ends.
fn fill(from: &mut impl Read, piece: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < piece.len() {
        match from.read(&mut piece[got..]) {
            Ok(0) => break,
            Ok(more) => got += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

#[cfg(test)]
mod tests {
    use super::unpack;
    use crate::format::compression::Compression;
    use std::io::{Read, Seek, SeekFrom, Write};
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn unpacking_restores_the_content_as_a_sparse_file() {
        let mut disk = vec![0; 3 << 20];
        disk[..5].copy_from_slice(b"start");
        disk[(2 << 20) + 7] = 9;
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&disk).expect("memory");
        let mut xz = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).expect("options");
        xz.write_all(&disk).expect("memory");
        let directory = tempfile::tempdir().expect("a directory");
        for (compression, packed) in [
            (Compression::Gzip, gzip.finish().expect("memory")),
            (Compression::Xz, xz.finish().expect("memory")),
            (Compression::Zstd, zstd::encode_all(&disk[..], 1).expect("memory")),
        ] {
            let mut file = tempfile::tempfile().expect("a file");
            file.write_all(&packed).expect("written");
            let mut unpacked = unpack(&file, compression, directory.path()).expect("unpacked");
            let mut bytes = Vec::new();
            unpacked.seek(SeekFrom::Start(0)).and_then(|_| unpacked.read_to_end(&mut bytes)).expect("read");
            assert!(bytes == disk, "{compression}");
            assert!(unpacked.metadata().expect("a file").blocks() * 512 < 1 << 20, "{compression}");
            file.set_len(packed.len() as u64 / 2).expect("shortened");
            assert!(unpack(&file, compression, directory.path()).is_err(), "{compression}");
        }
        assert_eq!(std::fs::read_dir(directory.path()).expect("read").count(), 0);
    }
}
