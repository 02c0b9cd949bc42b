//! QEMU's locks on images (`block/file-posix.c`, `RAW_LOCK_PERM_BASE`; `docs/interop`, "image locking").
//!
//! Whoever uses an image holds shared locks on single bytes: on byte 100 and the number of each thing he does with it, on
//! byte 200 and the number of each thing that nobody else may do. So two openings agree if neither holds a byte that the
//! other must find free. The locks belong to the opening, not to the process, and end with it.

use std::fs::File;
use std::io;

use super::Access;
use crate::sys;

/// First byte of "I do this".
const DOES: i64 = 100;
/// First byte of "nobody else may do this".
const FORBIDS: i64 = 200;

/// What can be done with an image; the bit numbers of `BLK_PERM_*` (`include/block/block-common.h`).
const READ: i64 = 0;
const WRITE: i64 = 1;
const RESIZE: i64 = 3;

/// Somebody has the image open in a way that does not agree with ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// He writes to it.
    Written,
    /// He reads it, and nobody may change it meanwhile.
    Read,
    /// He lets nobody even read it.
    Exclusive,
}

/// Takes the locks that a QEMU would for the same, or says who is in the way.
pub fn take(file: &File, access: Access) -> io::Result<Option<Conflict>> {
    let does: &[i64] = match access {
        Access::Read => &[READ],
        Access::Write => &[READ, WRITE, RESIZE],
    };
    let forbids = [WRITE, RESIZE];
    // First ours, then a look at the others': so of two that come at once, at least one sees the other.
    for byte in does.iter().map(|bit| DOES + bit).chain(forbids.map(|bit| FORBIDS + bit)) {
        if !sys::lock_shared(file, byte, 1)? {
            // QEMU takes shared ones alone; a whole-file lock of somebody else's forbids all there is.
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
    fn readers_agree_with_readers_and_writers_with_nobody() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x");
        std::fs::write(&path, "x").expect("a file");
        let reader = open(&path);
        assert_eq!(take(&reader, Access::Read).expect("locked"), None);
        let other = open(&path);
        assert_eq!(take(&other, Access::Read).expect("locked"), None);
        assert_eq!(take(&open(&path), Access::Write).expect("asked"), Some(Conflict::Read));
        drop((reader, other));
        let writer = open(&path);
        assert_eq!(take(&writer, Access::Write).expect("locked"), None);
        assert_eq!(take(&open(&path), Access::Read).expect("asked"), Some(Conflict::Written));
        assert_eq!(take(&open(&path), Access::Write).expect("asked"), Some(Conflict::Written));
        drop(writer);
        assert_eq!(take(&open(&path), Access::Write).expect("locked"), None);
    }
}
