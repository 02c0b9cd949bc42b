//! How long cells took the last time, kept in the cache: what was long begins first. Lost, it costs nothing but order.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::report::CellReport;
use crate::cache::{Cache, CacheError, Key};

/// Raised whenever it is kept in another way.
const KIND: &str = "matrix times 1";

/// Seconds by cells' ids.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Times(BTreeMap<String, f64>);

impl Times {
    /// Those of a manifest, or none.
    pub fn load(cache: &Cache, manifest: &Path) -> Self {
        let read = |path| fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        Self(cache.get(&key(manifest)).ok().flatten().and_then(read).unwrap_or_default())
    }

    /// A cell's.
    pub fn of(&self, id: &str) -> Option<f64> {
        self.0.get(id).copied().filter(|seconds| seconds.is_finite())
    }

    /// Adds those of cells that ran.
    pub fn add(&mut self, cells: &[CellReport]) {
        for cell in cells {
            if let Some(last) = cell.attempts.last() {
                self.0.insert(cell.id.clone(), last.times.total);
            }
        }
    }

    /// Keeps them.
    pub fn keep(&self, cache: &Cache, manifest: &Path) -> Result<(), CacheError> {
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

/// The file's place, not its contents: who changes a test keeps the times of the others.
fn key(manifest: &Path) -> Key {
    let path = fs::canonicalize(manifest).unwrap_or_else(|_| manifest.to_owned());
    Key::of(KIND, &[path.as_os_str().as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::Times;
    use crate::cache::Cache;
    use crate::matrix::report::{Attempt, CellReport};
    use std::path::Path;

    #[test]
    fn times_are_kept_by_manifest_and_replaced() {
        let dir = tempfile::tempdir().expect("a directory");
        let cache = Cache::at(dir.path().join("cache"), 1 << 20).expect("a cache");
        let (one, other) = (Path::new("/one.toml"), Path::new("/other.toml"));
        for seconds in [1.5, 2.5] {
            let mut times = Times::load(&cache, one);
            let mut attempt = Attempt::default();
            attempt.times.total = seconds;
            let ran = CellReport { id: "a/b/c".to_owned(), attempts: vec![attempt], ..CellReport::default() };
            times.add(&[ran, CellReport { id: "d/b/c".to_owned(), ..CellReport::default() }]);
            times.keep(&cache, one).expect("kept");
            let times = Times::load(&cache, one);
            assert_eq!((times.of("a/b/c"), times.of("d/b/c")), (Some(seconds), None));
        }
        assert_eq!(Times::load(&cache, other), Times::default());
    }
}
