//! Modules passed as `.ko` files, with the modules that they require: from the same directory, or passed as files as well.
//!
//! The dependencies are those of `.modinfo`. modpost writes them only if it has read the `Module.symvers` of the other
//! module (`KBUILD_EXTRA_SYMBOLS`), so the symbols of the files count as well.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::ModuleError;
use super::order::Loose;
use super::{index, scan};
use crate::format::modules::modinfo::{Modinfo, ModinfoError};
use crate::format::modules::name;
use crate::root::directory::Root;

/// Adds a `.ko` file, and the modules that it requires from the same directory. Returns the module's name.
pub(super) fn add(root: &Root, typed: &Path, files: &mut BTreeMap<String, Loose>) -> Result<String, ModuleError> {
    let host = if typed.exists() { typed.to_owned() } else { root.host_path(&root.typed(typed)) };
    let host = std::path::absolute(&host).map_err(|error| ModuleError::io("find", typed, error))?;
    let first = host.file_name().and_then(|file| name::of_path(file.to_str()?)).map(std::borrow::Cow::into_owned);
    let first = first.ok_or_else(|| ModuleError::NotAModule {
        path: host.clone(),
        source: ModinfoError::NotAModule("file name does not end in .ko, .ko.gz, .ko.xz or .ko.zst"),
    })?;
    let beside = siblings(&host)?;
    let mut ahead = vec![(first.clone(), host)];
    while let Some((name, host)) = ahead.pop() {
        if files.contains_key(&name) {
            continue;
        }
        let info = scan::modinfo_of(&host)?
            .ok_or_else(|| ModuleError::io("open", &host, std::io::ErrorKind::NotFound.into()))?;
        let loose = loose_of(host, &info);
        for needed in &loose.depends {
            ahead.extend(beside.iter().find(|(name, _)| name == needed).cloned());
        }
        files.insert(name, loose);
    }
    Ok(first)
}

/// Describes a module passed as a file, from its `.modinfo`.
fn loose_of(host: PathBuf, info: &Modinfo) -> Loose {
    let lines = info.softdeps.iter().map(|softdep| format!("softdep x {}\n", softdep.replace('\n', " ")));
    let soft = index::parse_softdep(&lines.collect::<String>()).remove("x").unwrap_or_default();
    let depends = info.depends.iter().map(|name| name::normal(name).into_owned()).collect();
    Loose { host, depends, soft, weak: info.weakdeps.clone() }
}

/// Returns names and paths of the modules in the same directory.
fn siblings(module: &Path) -> Result<Vec<(String, PathBuf)>, ModuleError> {
    let directory = module.parent().unwrap_or(Path::new("/"));
    let listing = std::fs::read_dir(directory).map_err(|error| ModuleError::io("list", directory, error))?;
    let mut found = Vec::new();
    for item in listing {
        let path = item.map_err(|error| ModuleError::io("list", directory, error))?.path();
        if let Some(name) = path.file_name().and_then(|file| name::of_path(file.to_str()?)) {
            found.push((name.into_owned(), path));
        }
    }
    found.sort();
    Ok(found)
}

/// Adds to each file the dependency on other files that export symbols that it uses.
pub(super) fn link(files: &mut BTreeMap<String, Loose>) -> Result<(), ModuleError> {
    if files.len() < 2 {
        return Ok(());
    }
    let mut symbols = Vec::new();
    for (name, file) in files.iter() {
        symbols.push((name.clone(), scan::symbols_of(&file.host)?));
    }
    for ((user, file), (_, used)) in files.iter_mut().zip(&symbols) {
        for (other, theirs) in &symbols {
            if other != user && !file.depends.contains(other) && !used.undefined.is_disjoint(&theirs.exported) {
                file.depends.push(other.clone());
            }
        }
    }
    Ok(())
}
