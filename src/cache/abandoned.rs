//! Removal of directories whose process was killed before it renamed or removed them.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

/// Directories younger than this may belong to a process that has not locked them yet.
const GRACE: Duration = Duration::from_secs(60);

/// Removes an unfinished entry or a lock file, unless a live builder has locked it. Best effort: the next eviction tries again.
pub(super) fn remove_if_abandoned(path: &Path) {
    let old = fs::metadata(path).and_then(|found| found.modified()).ok().and_then(|time| time.elapsed().ok());
    if old.is_none_or(|age| age < GRACE) {
        return;
    }
    if let Ok(handle) = File::open(path)
        && flock(&handle, FlockOperation::NonBlockingLockExclusive).is_ok()
    {
        // A process that opened a lock file before finds out that it is gone, see BuildLock.
        drop(if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) });
    }
}
