//! Files of a package put down in the cache: new, counted against limits, modules decompressed on the way.
//!
//! Refuses a file that is there already, and more bytes than any kernel has.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::format::modules::decompress::Packing;
use crate::format::modules::modinfo::Modinfo;

/// Bytes that a package may unpack to, modules decompressed.
pub(super) const TOTAL_LIMIT: u64 = 16 << 30;
/// Bytes of one file, decompressed. Tests do not fill disks.
pub(super) const FILE_LIMIT: u64 = if cfg!(test) { 64 << 20 } else { 1 << 30 };

/// Creates a file that must not be there yet.
fn create(path: &Path) -> io::Result<File> {
    let created = File::options().read(true).write(true).create_new(true).mode(0o600).open(path);
    created.map_err(|error| io::Error::new(error.kind(), format!("making {}: {error}", path.display())))
}

/// Copies to a new file, counting.
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
            return Err(io::Error::other(format!("{} unpacks to too many bytes", path.display())));
        }
        file.write_all(buffer.get(..read).unwrap_or_default())?;
    }
}

/// Writes a module, decompressed, and reads what it says about itself.
pub(super) fn write_module(path: &Path, mut from: impl Read, total: &AtomicU64) -> io::Result<Modinfo> {
    let mut start = Vec::new();
    from.by_ref().take(6).read_to_end(&mut start)?;
    let packing = Packing::of(&start);
    let named = |error: io::Error| io::Error::other(format!("{}: {error}", path.display()));
    let whole = io::Cursor::new(start).chain(from);
    let file = write_file(path, &mut packing.reader(whole).map_err(named)?, total).map_err(named)?;
    let len = file.metadata()?.len();
    Modinfo::read(&file, len).map_err(|error| io::Error::other(format!("{}: {error}", path.display())))
}
