//! Finds the modules of a kernel that contain `KUnit` suites.
//!
//! The section `.kunit_test_suites` identifies them, as it does for the kernel. Dependencies do not: a module whose tests
//! call no function of `KUnit` does not depend on it (`lib/test_bits.c`), and modules of helpers depend on it without
//! suites. All modules are read once; the result is kept in the cache.

use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;

use serde::{Deserialize, Serialize};

use super::{ModuleError, scan};
use crate::cache::{Cache, Key};
use crate::format::modules::name;
use crate::root::kernel::Kernel;

/// Name of the module of `KUnit` itself.
pub(crate) const KUNIT: &str = "kunit";
/// Cache key; the number changes with the storage format.
const KIND: &str = "kunit 1";

/// A module with `KUnit` suites.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KunitModule {
    /// Name.
    pub(crate) name: String,
    /// Names of its suites.
    pub(crate) suites: Vec<String>,
}

/// `KUnit` modules of a kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KunitModules {
    /// True if `KUnit` itself is a module.
    pub(crate) is_module: bool,
    /// Modules with suites, by name.
    pub(crate) modules: Vec<KunitModule>,
}

/// Finds the `KUnit` modules of a kernel.
pub(crate) fn find(kernel: &Kernel, cache: &Cache) -> Result<KunitModules, ModuleError> {
    let Some(directory) = &kernel.modules else { return Ok(KunitModules::default()) };
    let host = &directory.host;
    let paths = scan::list(host, directory.layout)?;
    let print = scan::fingerprint(host, &paths);
    let key = Key::of(KIND, &[host.as_os_str().as_bytes(), print.as_bytes()]);
    let kept = cache.get(&key).and_then(|path| serde_json::from_slice(&std::fs::read(path).ok()?).ok());
    if let Some(kept) = kept {
        return Ok(kept);
    }
    let is_kunit = |path: &String| name::of_path(path).is_some_and(|name| name == KUNIT);
    let found = scan::each(host, &paths, scan::kunit_suites_of)?.into_iter();
    let module =
        |(path, suites): (String, Vec<String>)| Some(KunitModule { name: name::of_path(&path)?.into_owned(), suites });
    let mut modules: Vec<KunitModule> = found.filter_map(module).collect();
    modules.sort_by(|one, other| one.name.cmp(&other.name));
    modules.dedup_by(|one, other| one.name == other.name);
    let found = KunitModules { is_module: paths.iter().any(is_kunit), modules };
    if cache.unwritable().is_none() {
        let text = serde_json::to_vec(&found).unwrap_or_default();
        cache.file::<ModuleError>(&key, |file| {
            file.write_all(&text).map_err(|error| ModuleError::io("write", host, error))
        })?;
    }
    Ok(found)
}
