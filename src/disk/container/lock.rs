//! QEMU's image locks (`block/file-posix.c`, `RAW_LOCK_PERM_BASE`; `docs/interop`, "image locking").
//!
//! Each user of an image holds shared locks on single bytes: byte 100+N for each permission N that it uses, byte 200+N
//! for each permission N that it denies to others. Two users conflict if one uses a permission that the other
//! denies. The locks belong to the open file description, not to the process, and end with it.

use std::fs::File;
use std::io;

use super::Access;
use crate::sys;

/// Byte of permission 0 among the permissions in use.
const DOES: i64 = 100;
/// Byte of permission 0 among the permissions denied to others.
const FORBIDS: i64 = 200;

/// Permissions: the bit numbers of `BLK_PERM_*` (`include/block/block-common.h`).
const READ: i64 = 0;
const WRITE: i64 = 1;
const RESIZE: i64 = 3;

/// Conflicting use of the image by another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conflict {
    /// The other process writes to the image.
    Written,
    /// The other process reads the image and denies changes.
    Read,
    /// The other process denies even reading.
    Exclusive,
}

/// Takes the locks that QEMU takes for the same access, or returns the conflict.
pub(crate) fn take(file: &File, access: Access) -> io::Result<Option<Conflict>> {
    let does: &[i64] = match access {
        Access::Read => &[READ],
        Access::Write => &[READ, WRITE, RESIZE],
    };
    let forbids = [WRITE, RESIZE];
    // Lock first, then check: of two concurrent users, at least one sees the other.
    for byte in does.iter().map(|bit| DOES + bit).chain(forbids.map(|bit| FORBIDS + bit)) {
        if !sys::lock_shared(file, byte, 1)? {
            // QEMU takes only shared locks: this is another program's exclusive lock of the file.
            return Ok(Some(Conflict::Exclusive));
        }
    }
    for bit in forbids {
        if sys::locked_elsewhere(file, DOES + bit, 1)? {
            return Ok(Some(Conflict::Written));
        }
    }
    for bit in does {
        if sys::locked_elsewhere(file, FORBIDS + bit, 1)? {
            return Ok(Some(if *bit == READ { Conflict::Exclusive } else { Conflict::Read }));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::{Conflict, take};
    use crate::disk::container::Access;
    use std::fs::{File, OpenOptions};
    use std::path::Path;

    fn open(path: &Path) -> File {
        OpenOptions::new().read(true).write(true).open(path).expect("a file")
    }

    #[test]
    fn readers_share_an_image_and_a_writer_excludes_all_others() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x");
        std::fs::write(&path, "x").expect("a file");
        let reader = open(&path);
        assert_eq!(take(&reader, Access::Read).expect("locked"), None);
        let other = open(&path);
        assert_eq!(take(&other, Access::Read).expect("locked"), None);
        assert_eq!(take(&open(&path), Access::Write).expect("checked"), Some(Conflict::Read));
        drop((reader, other));
        let writer = open(&path);
        assert_eq!(take(&writer, Access::Write).expect("locked"), None);
        assert_eq!(take(&open(&path), Access::Read).expect("checked"), Some(Conflict::Written));
        assert_eq!(take(&open(&path), Access::Write).expect("checked"), Some(Conflict::Written));
        drop(writer);
        assert_eq!(take(&open(&path), Access::Write).expect("locked"), None);
    }
}
