//! From the names of kernel modules to files and the order in which pid 1 loads them.
//!
//! A request is a name, an alias, a module that is built in (satisfied), or the path of a `.ko`. Tables are depmod's
//! where it ran (modules.dep(5)), else made from `.modinfo` and kept in the cache. Modules stand in the image
//! uncompressed, signatures and all, below `/lib/modules/RELEASE`. `modprobe.d` is not read: options and blacklists
//! of the host have no business in the guest. Firmware is not included; a note says where some was found.
//!
//! Refuses modules built for another kernel, missing ones (but not missing soft dependencies), and circles.

pub mod builtin;
pub mod decompress;
pub mod depmod;
mod error;
pub mod index;
mod load;
pub mod modinfo;
pub mod name;
pub mod order;
pub mod scan;
mod tables;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use self::builtin::Builtin;
use self::index::Index;
use self::load::Sources;
use self::modinfo::Modinfo;
use self::order::{Found, Loose, Order};
use super::fact::{Fact, Why};
use super::kernel::{Kernel, ModuleDir};
use super::root::Root;
use crate::cache::Cache;
use crate::spec::{ArchivePath, ModuleRequest};

pub use self::error::ModuleError;
pub(crate) use self::error::{read_bytes, read_text};
pub(crate) use self::load::{STAMPS, stamp};

/// Modules, resolved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Modules {
    /// What pid 1 loads, in this order.
    pub loads: Vec<ModuleLoad>,
    /// The files; weak dependencies among them, which nothing loads.
    pub facts: Vec<Fact>,
    /// What the user may want to know.
    pub notes: Vec<String>,
}

/// One `finit_module(2)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleLoad {
    /// The module's name, with `_` for `-`.
    pub name: String,
    /// Where it stands in the image.
    pub path: ArchivePath,
    /// Parameters, joined by spaces; may be empty.
    pub params: OsString,
    /// True where nobody but the control channel wants it: failing to load it is no reason to stop.
    pub optional: bool,
}

/// How a kernel offers virtio-serial over PCI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelDriver {
    /// All of it is built in.
    Builtin,
    /// As modules, some or all of it: [`CHANNEL_MODULES`] have to be loaded.
    Modules,
    /// Not at all, as far as is known.
    Absent,
}

/// The drivers behind a virtio-serial port on PCI.
pub const CHANNEL_MODULES: [&str; 2] = ["virtio_pci", "virtio_console"];

/// Resolves `requests` and, before them and as far as they are there, the `channel` modules, with the user's cache.
pub fn resolve(
    root: &Root,
    kernel: &Kernel,
    requests: &[ModuleRequest],
    channel: &[&str],
) -> Result<Modules, ModuleError> {
    resolve_with(root, kernel, requests, channel, &|| Cache::open().map_err(ModuleError::from))
}

/// Like [`resolve`]; `cache` is asked for only where tables have to be made or a cached kernel is damaged.
pub fn resolve_with(
    root: &Root,
    kernel: &Kernel,
    requests: &[ModuleRequest],
    channel: &[&str],
    cache: &dyn Fn() -> Result<Cache, ModuleError>,
) -> Result<Modules, ModuleError> {
    if requests.is_empty() && channel.is_empty() {
        return Ok(Modules::default());
    }
    let mut modules = Modules::default();
    let (index, builtin) = tables_of(kernel, cache, &mut modules.notes)?;
    let mut order = Order::new(index.as_ref(), &builtin);
    for name in channel {
        if let Found::Modules(names) = order.find(name)? {
            names.iter().try_for_each(|name| order.add(name, &Why::Channel, true))?;
        }
    }
    let mut params: Vec<(String, OsString)> = Vec::new();
    for request in requests {
        let names = request_names(root, kernel, request, &mut order, &builtin, &mut modules.notes)?;
        let why = Why::Asked(asked(request));
        for name in names {
            order.add(&name, &why, false).map_err(|error| error.placed(kernel))?;
            if !request.params.is_empty() {
                params.push((name, request.params.clone()));
            }
        }
    }
    let sources = Sources { root, kernel, index: index.as_ref(), requests: &params };
    sources.fill(&order, &mut modules)?;
    Ok(modules)
}

/// Whether virtio-serial over PCI is part of the kernel, or can be loaded.
pub fn channel_modules(kernel: &Kernel, _root: &Root) -> ChannelDriver {
    let configured = |name: &str| kernel.config.as_ref().is_some_and(|config| config.is_builtin(name));
    if configured("VIRTIO_PCI") && configured("VIRTIO_CONSOLE") {
        return ChannelDriver::Builtin;
    }
    // A kernel without tables that can be read offers no modules; why is said when some are asked for.
    let cache = || Cache::open().map_err(ModuleError::from);
    let Ok((index, builtin)) = tables_of(kernel, &cache, &mut Vec::new()) else { return ChannelDriver::Absent };
    if CHANNEL_MODULES.iter().all(|name| builtin.has(name)) {
        return ChannelDriver::Builtin;
    }
    let there = |name: &&str| builtin.has(name) || index.as_ref().is_some_and(|index| index.module(name).is_some());
    if CHANNEL_MODULES.iter().all(there) { ChannelDriver::Modules } else { ChannelDriver::Absent }
}

/// The tables of a kernel's modules, and what is built into it.
fn tables_of(
    kernel: &Kernel,
    cache: &dyn Fn() -> Result<Cache, ModuleError>,
    notes: &mut Vec<String>,
) -> Result<(Option<Index>, Builtin), ModuleError> {
    match &kernel.modules {
        Some(dir) => Ok((Some(tables::open(dir, cache, notes)?), Builtin::read(&dir.host)?)),
        None => Ok((None, Builtin::default())),
    }
}

/// What the user typed.
fn asked(request: &ModuleRequest) -> OsString {
    let mut typed = OsString::from("--kmod ");
    typed.push(&request.name);
    typed
}

/// The modules that a request is for; none where it is built in.
fn request_names(
    root: &Root,
    kernel: &Kernel,
    request: &ModuleRequest,
    order: &mut Order<'_>,
    builtin: &Builtin,
    notes: &mut Vec<String>,
) -> Result<Vec<String>, ModuleError> {
    let typed = request.name.to_string_lossy();
    if request.name.as_bytes().contains(&b'/') || name::stem(&typed).is_some() {
        return Ok(vec![add_loose(root, Path::new(&request.name), order)?]);
    }
    match order.find(&typed)? {
        Found::Modules(names) => Ok(names),
        Found::Builtin => {
            if !request.params.is_empty() {
                notes.push(format!(
                    "module {typed} is built into the kernel: its parameters ({}) belong on the kernel's command line, \
                     as --append {typed}.PARAM=VALUE",
                    request.params.display()
                ));
            }
            Ok(Vec::new())
        }
        Found::Nothing => Err(error::not_found(&typed, kernel, order, builtin, Why::Asked(asked(request)))),
    }
}

/// Takes a `.ko` file into the order, and with it the modules beside it that it needs; gives its name.
fn add_loose(root: &Root, typed: &Path, order: &mut Order<'_>) -> Result<String, ModuleError> {
    let host = if typed.exists() { typed.to_owned() } else { root.host_path(&root.typed(typed)) };
    let host = std::path::absolute(&host).map_err(|error| ModuleError::io("finding", typed, error))?;
    let first = host.file_name().and_then(|file| name::of_path(file.to_str()?)).map(std::borrow::Cow::into_owned);
    let first = first.ok_or_else(|| ModuleError::NotAModule {
        path: host.clone(),
        source: modinfo::ModinfoError::NotAModule("its name does not end in .ko, .ko.gz, .ko.xz or .ko.zst"),
    })?;
    let beside = siblings(&host)?;
    let mut ahead = vec![(first.clone(), host)];
    while let Some((name, host)) = ahead.pop() {
        if order.loose.contains_key(&name) {
            continue;
        }
        let info = scan::modinfo_of(&host)?
            .ok_or_else(|| ModuleError::io("opening", &host, std::io::ErrorKind::NotFound.into()))?;
        let loose = loose_of(host, &info);
        for needed in &loose.depends {
            ahead.extend(beside.iter().find(|(name, _)| name == needed).cloned());
        }
        order.loose.insert(name, loose);
    }
    Ok(first)
}

/// A module given as a file, from its `.modinfo`.
fn loose_of(host: PathBuf, info: &Modinfo) -> Loose {
    let lines = info.softdeps.iter().map(|softdep| format!("softdep x {}\n", softdep.replace('\n', " ")));
    let soft = index::parse_softdep(&lines.collect::<String>()).remove("x").unwrap_or_default();
    let depends = info.depends.iter().map(|name| name::normal(name).into_owned()).collect();
    Loose { host, depends, soft, weak: info.weakdeps.clone() }
}

/// Names and paths of the modules in the same directory.
fn siblings(module: &Path) -> Result<Vec<(String, PathBuf)>, ModuleError> {
    let directory = module.parent().unwrap_or(Path::new("/"));
    let listing = std::fs::read_dir(directory).map_err(|error| ModuleError::io("listing", directory, error))?;
    let mut found = Vec::new();
    for item in listing {
        let path = item.map_err(|error| ModuleError::io("listing", directory, error))?.path();
        if let Some(name) = path.file_name().and_then(|file| name::of_path(file.to_str()?)) {
            found.push((name.into_owned(), path));
        }
    }
    found.sort();
    Ok(found)
}

/// The directory of modules in the image: real directories, so below `usr` where the root's `/lib` is a link there.
fn guest_directory(root: &Root, kernel: &Kernel) -> ArchivePath {
    let lib = ArchivePath::new("/lib");
    let merged = root.find(&lib).is_some_and(|found| found.real == ArchivePath::new("/usr/lib"));
    let release = kernel.release.as_deref().or_else(|| kernel.modules.as_ref().map(|dir| dir.release.as_str()));
    let lib = if merged { ArchivePath::new("/usr/lib") } else { lib };
    // One component, whatever an image claims its release to be.
    lib.join("modules").join(release.unwrap_or("unknown").replace('/', "_"))
}

/// Where a listed module is on the host.
fn host_path(dir: &ModuleDir, root: &Root, listed: &str) -> PathBuf {
    if listed.starts_with('/') { root.host_path(&ArchivePath::new(listed)) } else { dir.host.join(listed) }
}
