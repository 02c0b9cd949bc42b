//! Unpacks a compressed disk image into an unnamed sparse file, which is deleted when the process ends.
//!
//! Checksums are verified. Refuses images that unpack to more than 1 TiB: holes take no disk space, but they take time.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::content::Content;
use crate::format::compression::{Compression, Streams};
use crate::format::iso9660::is_iso;
use crate::format::{Medium, SectorSize, Stream};

/// Maximum unpacked size in bytes.
const LIMIT: u64 = 1 << 40;
/// Number of decompressed bytes that tell a disk from an initrd: up to the first volume descriptor of a CD.
const BEGIN: u64 = 36 << 10;
/// Block size for the detection of zeros, which become holes.
const PIECE: usize = 64 << 10;

/// Returns the directory for unpacked images: `TMPDIR`, or one that is on a disk.
pub fn spool_directory() -> PathBuf {
    std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from)
}

/// Returns the compression of a file that contains a disk image or an EFI program; `None` for others. Damaged files
/// count as initrds, whose reader reports the damage.
pub fn packed_disk(file: &File) -> Option<Compression> {
    let Content::Compressed(compression) = Content::detect(file, file.size()).ok()? else { return None };
    let mut begin = Vec::new();
    let reader = compression.reader(BufReader::new(Stream::new(file)), Streams::First).ok()?;
    reader.take(BEGIN).read_to_end(&mut begin).ok()?;
    starts_disk(&begin).then_some(compression)
}

/// Returns true if `begin`, the first bytes of decompressed data, starts a disk image, an EFI program or a container
/// rather than an initrd.
fn starts_disk(begin: &[u8]) -> bool {
    let is_program = begin.starts_with(b"MZ");
    let is_boot_sector = begin.get(510..512) == Some(&[0x55, 0xAA]);
    let has_gpt = SectorSize::ALL
        .iter()
        .any(|sector| begin.get(sector.length()..).is_some_and(|header| header.starts_with(b"EFI PART")));
    let is_archive = begin.starts_with(b"07070");
    !is_archive && (is_program || is_boot_sector || has_gpt || is_iso(begin) || Content::by_head(begin).is_some())
}

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
    use super::{starts_disk, unpack};
    use crate::format::compression::Compression;
    use std::io::{Read, Seek, SeekFrom, Write};
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_compressed_disk_is_told_from_a_compressed_initrd() {
        let with = |parts: &[(usize, &[u8])]| {
            let mut bytes = vec![0; 40 << 10];
            for (at, part) in parts {
                bytes[*at..at + part.len()].copy_from_slice(part);
            }
            starts_disk(&bytes)
        };
        assert!(with(&[(510, &[0x55, 0xAA])]) && with(&[(4096, b"EFI PART")]) && with(&[(32_769, b"CD001")]));
        assert!(with(&[(0, b"QFI\xfb\0\0\0\x03")]) && with(&[(0, b"MZ")]));
        assert!(!with(&[]) && !with(&[(0, b"070701"), (510, &[0x55, 0xAA])]) && !starts_disk(&[]));
    }

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
