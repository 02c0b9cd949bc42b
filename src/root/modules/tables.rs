//! Provides the tables of a directory of modules: depmod's, or generated ones that are kept in the cache.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::OnceLock;

use super::builtin::Builtin;
use super::depmod::Tables;
use super::index::Index;
use super::{error::ModuleError, scan};
use crate::cache::{Cache, Key, Sealing};
use crate::root::kernel::{Kernel, ModuleDir, ModuleLayout};

/// Module tables of one kernel. Read on first use, then kept, since a run needs them several times.
#[derive(Debug, Default)]
pub(crate) struct ModuleTables {
    read: OnceLock<TablesRead>,
    /// The cache for generated tables and unpacked packages; `None`: see [`Cache::open`].
    cache: Option<Cache>,
}

/// Contents of the tables.
#[derive(Debug)]
pub(super) struct TablesRead {
    /// Index of the modules, if the kernel has a directory of modules.
    pub(super) index: Option<Index>,
    /// Built-in modules.
    pub(super) builtin: Builtin,
    /// Notes to the user.
    pub(super) notes: Vec<String>,
}

impl ModuleTables {
    /// Returns tables that are generated in this cache, if necessary.
    pub(crate) fn in_cache(cache: Cache) -> Self {
        Self { read: OnceLock::new(), cache: Some(cache) }
    }

    /// Opens the cache.
    pub(super) fn cache(&self) -> Result<Cache, ModuleError> {
        Ok(self.cache.clone().map_or_else(Cache::open, Ok)?)
    }

    /// Returns the tables of this kernel. Errors are not kept: the next call tries again.
    pub(super) fn read(
        &self,
        kernel: &Kernel,
        cache: &dyn Fn() -> Result<Cache, ModuleError>,
    ) -> Result<&TablesRead, ModuleError> {
        if let Some(read) = self.read.get() {
            return Ok(read);
        }
        let mut notes = Vec::new();
        let (index, builtin) = match &kernel.modules {
            Some(dir) => (Some(open(dir, cache, &mut notes)?), Builtin::read(&dir.host)?),
            None => (None, Builtin::default()),
        };
        Ok(self.read.get_or_init(|| TablesRead { index, builtin, notes }))
    }
}

/// Opens the tables of a directory of modules; generates them if depmod did not run.
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
        // depmod does not run in a build tree.
        ModuleLayout::BuildTree => {}
    }
    let paths = scan::list(&dir.host, dir.layout)?;
    let cache = match cache() {
        Ok(cache) => cache,
        Err(error) => {
            notes.push(format!("no usable cache, so {} is indexed on every run: {error}", dir.host.display()));
            return Ok(Index::of(&dir.host, &Tables::of(&scan::scan(&dir.host, &paths)?)));
        }
    };
    let print = scan::fingerprint(&dir.host, &paths);
    let key = Key::of("modules 1", &[dir.host.as_os_str().as_bytes(), print.as_bytes()]);
    let tables = cache.tree::<ModuleError>(&key, Sealing::Contents, |directory| {
        let tables = Tables::of(&scan::scan(&dir.host, &paths)?);
        for (name, text) in tables.files() {
            let path = directory.join(name);
            fs::write(&path, text).map_err(|error| ModuleError::io("write", &path, error))?;
        }
        Ok(())
    })?;
    match Index::read(&tables)? {
        Some(index) => Ok(index),
        // The directory has no modules, so modules.dep is empty.
        None => Ok(Index::of(&tables, &Tables::default())),
    }
}
