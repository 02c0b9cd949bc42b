//! Getting at a directory's tables: depmod's, or ours, made once and kept in the cache.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;

use super::depmod::Tables;
use super::index::Index;
use super::{ModuleError, scan};
use crate::cache::{Cache, Key};
use crate::resolve::kernel::{ModuleDir, ModuleLayout};

/// The tables of a directory of modules.
pub(super) fn open(
    dir: &ModuleDir,
    cache: &dyn Fn() -> Result<Cache, ModuleError>,
    notes: &mut Vec<String>,
) -> Result<Index, ModuleError> {
    match dir.layout {
        ModuleLayout::Installed => {
            if let Some(index) = Index::read(&dir.host)? {
                return Ok(index);
            }
        }
        // depmod never runs in a build tree.
        ModuleLayout::BuildTree => {}
    }
    let paths = scan::list(&dir.host, dir.layout)?;
    let cache = match cache() {
        Ok(cache) => cache,
        Err(error) => {
            notes.push(format!("indexing {} anew each time: {error}", dir.host.display()));
            return Ok(Index::of(&dir.host, &Tables::of(&scan::scan(&dir.host, &paths)?)));
        }
    };
    let print = scan::fingerprint(&dir.host, &paths);
    let key = Key::of("modules 1", &[dir.host.as_os_str().as_bytes(), print.as_bytes()]);
    let tables = cache.tree::<ModuleError>(&key, |directory| {
        let tables = Tables::of(&scan::scan(&dir.host, &paths)?);
        for (name, text) in tables.files() {
            let path = directory.join(name);
            fs::write(&path, text).map_err(|error| ModuleError::io("writing", &path, error))?;
        }
        Ok(())
    })?;
    match Index::read(&tables)? {
        Some(index) => Ok(index),
        // No modules at all: an empty table.
        None => Ok(Index::of(&tables, &Tables::default())),
    }
}
