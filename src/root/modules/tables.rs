//! Getting at a directory's tables: depmod's, or ours, made once and kept in the cache.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::OnceLock;

use super::builtin::Builtin;
use super::depmod::Tables;
use super::index::Index;
use super::{error::ModuleError, scan};
use crate::cache::{Cache, Key};
use crate::root::kernel::{Kernel, ModuleDir, ModuleLayout};

/// The tables of one kernel's modules, read when first asked for, and then no more: a run asks several times.
#[derive(Debug, Default)]
pub struct ModuleTables(OnceLock<TablesRead>);

/// What was read.
#[derive(Debug)]
pub(super) struct TablesRead {
    /// The tables, where there is a directory of modules.
    pub(super) index: Option<Index>,
    /// What is built into the kernel.
    pub(super) builtin: Builtin,
    /// What the user may want to know.
    pub(super) notes: Vec<String>,
}

impl ModuleTables {
    /// The tables of this kernel; an error is told each time.
    pub(super) fn read(
        &self,
        kernel: &Kernel,
        cache: &dyn Fn() -> Result<Cache, ModuleError>,
    ) -> Result<&TablesRead, ModuleError> {
        if let Some(read) = self.0.get() {
            return Ok(read);
        }
        let mut notes = Vec::new();
        let (index, builtin) = match &kernel.modules {
            Some(dir) => (Some(open(dir, cache, &mut notes)?), Builtin::read(&dir.host)?),
            None => (None, Builtin::default()),
        };
        Ok(self.0.get_or_init(|| TablesRead { index, builtin, notes }))
    }
}

/// The tables of a directory of modules.
fn open(
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
