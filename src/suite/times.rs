//! Durations of cells in earlier runs, stored in the cache, so that long cells start first. Losing them only affects
//! the order.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::report::CellReport;
use crate::cache::{Cache, CacheError, Key};

/// Cache key; the number changes with the storage format.
const KIND: &str = "matrix times 1";

/// Durations by cell id, seconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CellDurations(BTreeMap<String, f64>);

impl CellDurations {
    /// Loads the durations for a manifest; empty if there are none.
    pub fn load(cache: &Cache, manifest: &Path) -> Self {
        let read = |path| fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        Self(cache.get(&key(manifest)).and_then(read).unwrap_or_default())
    }

    /// Returns a cell's duration.
    pub(crate) fn get(&self, id: &str) -> Option<f64> {
        self.0.get(id).copied().filter(|seconds| seconds.is_finite())
    }

    /// Adds the durations of cells that ran.
    pub fn add(&mut self, cells: &[CellReport]) {
        for cell in cells {
            let last = cell.attempts.last();
            // An interrupted cell would have taken longer.
            if let Some(last) = last.filter(|last| last.outcome.as_deref() != Some("interrupted")) {
                self.0.insert(cell.id.clone(), last.times.total);
            }
        }
    }

    /// Stores the durations.
    pub fn save(&self, cache: &Cache, manifest: &Path) -> Result<(), CacheError> {
        let key = key(manifest);
        cache.discard(&key)?;
        let text = serde_json::to_vec(&self.0).unwrap_or_default();
        cache.file(&key, |file| {
            file.write_all(&text).map_err(|source| CacheError::Io {
                doing: "write the times of",
                path: manifest.to_owned(),
                source,
            })
        })?;
        Ok(())
    }
}

/// The key depends on the manifest's path, not on its contents, so that changing one test does not lose the durations
/// of the others.
fn key(manifest: &Path) -> Key {
    let path = fs::canonicalize(manifest).unwrap_or_else(|_| manifest.to_owned());
    Key::of(KIND, &[path.as_os_str().as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::CellDurations;
    use crate::cache::Cache;
    use crate::suite::report::{Attempt, CellReport};
    use std::path::Path;

    #[test]
    fn durations_are_stored_by_manifest_and_replaced() {
        let dir = tempfile::tempdir().expect("a directory");
        let cache = Cache::at(dir.path().join("cache"), 1 << 20).expect("a cache");
        let (one, other) = (Path::new("/one.toml"), Path::new("/other.toml"));
        for seconds in [1.5, 2.5] {
            let mut times = CellDurations::load(&cache, one);
            let mut attempt = Attempt::default();
            attempt.times.total = seconds;
            let ran = CellReport { id: "a/b/c".to_owned(), attempts: vec![attempt], ..CellReport::default() };
            times.add(&[ran, CellReport { id: "d/b/c".to_owned(), ..CellReport::default() }]);
            times.save(&cache, one).expect("kept");
            let times = CellDurations::load(&cache, one);
            assert_eq!((times.get("a/b/c"), times.get("d/b/c")), (Some(seconds), None));
        }
        assert_eq!(CellDurations::load(&cache, other), CellDurations::default());
    }
}
