//! A private cache directory for one test, and the snapshots in it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::program::scratch;
use crate::support::{Kernel, Program};

/// A cache for one kernel, initially empty.
pub(crate) struct OwnCache {
    dir: tempfile::TempDir,
    kernel: PathBuf,
}

impl OwnCache {
    /// Creates the cache; prints the reason and returns `None` if no guest can be booted.
    pub(crate) fn new(kernel: Kernel, test: &str) -> Option<Self> {
        let kernel = kernel.or_skip(test)?;
        let dir = scratch();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).expect("writable directory");
        Some(Self { dir, kernel })
    }

    /// Path of the cache directory.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Path of the kernel package.
    pub(crate) fn kernel(&self) -> &Path {
        &self.kernel
    }

    /// Returns `bootling run --warm --kernel PACKAGE` with this cache.
    pub(crate) fn program(&self) -> Program {
        Program::new().env("BOOTLING_CACHE_DIR", self.path()).args(["run", "--warm", "--kernel"]).arg(&self.kernel)
    }

    /// Runs a command that must succeed; returns the age of its snapshot in milliseconds and its standard error.
    #[track_caller]
    pub(crate) fn runs(&self) -> (f64, String) {
        let (done, verdict) = self.program().json(["--", "echo", "here"]);
        let done = done.exits(0);
        assert_eq!(done.text(), "here\n", "{}", done.stderr);
        assert_eq!(verdict["warm"], Value::Bool(true), "{verdict}\n{}", done.stderr);
        (verdict["snapshot_age_ms"].as_f64().unwrap_or_else(|| panic!("{verdict}")), done.stderr)
    }

    /// Returns the snapshot directories in the cache.
    pub(crate) fn snapshots(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path()).expect("exists");
        let data = entries.map(|entry| entry.expect("readable").path().join("data"));
        data.filter(|data| data.join("snapshot.json").exists()).collect()
    }

    /// Returns the only snapshot directory.
    #[track_caller]
    pub(crate) fn snapshot(&self) -> PathBuf {
        let mut all = self.snapshots();
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    /// Returns the unfinished entries of the cache.
    pub(crate) fn unfinished(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path()).expect("exists").map(|entry| entry.expect("readable").path());
        entries.filter(|path| path.to_string_lossy().contains("/.new-")).collect()
    }
}

/// Updates the recorded file stamps of a snapshot, so that tampering is not detected by them.
pub(crate) fn restamp(snapshot: &Path) {
    let about = snapshot.join("snapshot.json");
    let mut text: Value = serde_json::from_slice(&fs::read(&about).expect("readable")).expect("JSON");
    for name in ["ram", "state"] {
        let file = fs::metadata(snapshot.join(name)).expect("exists");
        let time = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        let (mtime, ctime) = (time(file.mtime(), file.mtime_nsec()), time(file.ctime(), file.ctime_nsec()));
        text[name] = format!("{} {} {} {mtime} {ctime}", file.len(), file.dev(), file.ino()).into();
    }
    fs::write(about, text.to_string()).expect("writable directory");
}
