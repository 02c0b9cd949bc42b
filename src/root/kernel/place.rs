//! Writes the files of a package to the cache, with size limits. Decompresses modules while writing.
//!
//! Refuses files that already exist, and more bytes than any real kernel package unpacks to.

use std::fs::File;
use std::io::{self, BufReader, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::format::compression::DecompressReader;
use crate::format::modules::modinfo::Modinfo;

/// Limit of the total unpacked size of a package, with modules decompressed, in bytes.
pub(super) const TOTAL_LIMIT: u64 = 16 << 30;
/// Limit of the decompressed size of one file, in bytes. Smaller in tests, to save disk space.
pub(super) const FILE_LIMIT: u64 = if cfg!(test) { 64 << 20 } else { 1 << 30 };

/// Creates a file; fails if it exists.
fn create(path: &Path) -> io::Result<File> {
    let created = File::options().read(true).write(true).create_new(true).mode(0o600).open(path);
    created.map_err(|error| io::Error::new(error.kind(), format!("failed to create {}: {error}", path.display())))
}

/// Copies `from` to a new file and adds its size to `total`. Fails if a size limit is exceeded.
pub(super) fn write_file(path: &Path, from: &mut impl Read, total: &AtomicU64) -> io::Result<File> {
    let mut file = create(path)?;
    let mut buffer = vec![0; 256 << 10];
    let mut len = 0_u64;
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok(file);
        }
        len += read as u64;
        let all = total.fetch_add(read as u64, Ordering::Relaxed);
        if len > FILE_LIMIT || all > TOTAL_LIMIT {
            return Err(io::Error::other(format!("{}: unpacked size exceeds the limit", path.display())));
        }
        file.write_all(buffer.get(..read).unwrap_or_default())?;
    }
}

/// Writes a module, decompressed, and parses its `.modinfo`.
pub(super) fn write_module(path: &Path, from: impl Read, total: &AtomicU64) -> io::Result<Modinfo> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let mut module = DecompressReader::new(BufReader::new(from), FILE_LIMIT).map_err(named)?;
    let file = write_file(path, &mut module, total).map_err(named)?;
    Modinfo::read(&file).map_err(|error| named(io::Error::other(error)))
}
