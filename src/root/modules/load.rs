//! Reads the files of the modules in a load order: decompresses them in parallel and checks them against the kernel.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::error::ModuleError;
use super::index::Index;
use super::order::{Found, Need, Order, Step};
use super::scan::read_module;
use crate::cache::{Condition, SealedFile};
use crate::format::archive_path::ArchivePath;
use crate::format::modules::modinfo::Modinfo;
use crate::format::modules::name;
use crate::root::directory::Root;
use crate::root::fact::{Content, Fact, Node, Why};
use crate::root::kernel::unpack::STAMPS;
use crate::root::kernel::{Kernel, ModuleDir};

/// Result of the resolution.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Modules {
    /// Modules that pid 1 loads, in load order.
    pub loads: Vec<ModuleLoad>,
    /// Files of the modules, including weak dependencies, which are not loaded.
    pub facts: Vec<Fact>,
    /// Notes to the user.
    pub(crate) notes: Vec<String>,
}

/// One call of `finit_module(2)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleLoad {
    /// The module's name, with `_` for `-`.
    pub name: String,
    /// Path in the image.
    pub(crate) path: ArchivePath,
    /// Parameters, separated by spaces; may be empty.
    pub(crate) params: OsString,
    /// Consequence of a failure to load it.
    pub(crate) need: Need,
}

/// Sources of modules and their parameters.
pub(super) struct Sources<'a> {
    pub(super) root: &'a Root,
    pub(super) kernel: &'a Kernel,
    pub(super) index: Option<&'a Index>,
    /// Module names and their requested parameters.
    pub(super) requests: &'a [(String, OsString)],
}

/// A module to put into the image.
struct Item {
    step: Step,
    /// Path in the image, relative to its directory of modules.
    path: String,
    /// Path on the host.
    host: PathBuf,
    /// True if pid 1 loads the module.
    loaded: bool,
}

/// Returns a note about parameters that the module does not declare. The kernel ignores unknown parameters
/// (`kernel/module/main.c`, `unknown_module_param_cb`), so a typo would invalidate a test without an error.
fn unknown_parameters(module: &str, given: &OsStr, info: &Modinfo) -> Option<String> {
    let given = given.to_string_lossy();
    let mut quoted = false;
    let words = given.split(|letter: char| {
        quoted ^= letter == '"';
        letter.is_whitespace() && !quoted
    });
    let names = words.map(|word| word.split('=').next().unwrap_or_default()).filter(|name| !name.is_empty());
    // Generic parameters that the kernel accepts for every module.
    let general = |name: &str| name == "async_probe" || name.starts_with("dyndbg") || name.contains('.');
    let known = |name: &str| info.parameters.iter().any(|known| name::normal(known) == name::normal(name));
    let unknown: Vec<&str> = names.filter(|name| !general(name) && !known(name)).collect();
    (!unknown.is_empty()).then(|| {
        let has = if info.parameters.is_empty() { "none".to_owned() } else { info.parameters.join(", ") };
        let unknown = unknown.join(", ");
        format!(
            "module {module} declares no parameter {unknown} (declared: {has}); the kernel ignores unknown parameters"
        )
    })
}

impl Sources<'_> {
    /// Reads the modules in the order and fills in facts, loads and notes.
    pub(super) fn fill(&self, order: &Order<'_>, modules: &mut Modules) -> Result<(), ModuleError> {
        let mut items = Vec::new();
        for step in &order.steps {
            match self.item(order, step.clone(), true) {
                Ok(item) => items.push(item),
                // Skip the module, as modprobe does.
                Err(ModuleError::Dangling { why, .. }) if step.need == Need::Soft || is_soft(&why) => {}
                Err(other) => return Err(other),
            }
        }
        self.add_weak(order, &mut items)?;
        self.check_stamps(&items)?;
        let read = read_all(&items)?;
        let directory = guest_directory(self.root, self.kernel);
        let mut params: BTreeMap<&str, OsString> = BTreeMap::new();
        for (name, more) in self.requests {
            let all = params.entry(name).or_default();
            if !all.is_empty() {
                all.push(" ");
            }
            all.push(more);
        }
        for (item, (content, info)) in items.iter().zip(read) {
            if !self.fits(item, &info, modules)? {
                continue;
            }
            self.note_firmware(item, &info, modules);
            if let Some(given) = params.get(item.step.name.as_str()) {
                modules.notes.extend(unknown_parameters(&item.step.name, given, &info));
            }
            // The lookup records the file for `watch`. Files outside the root are not recorded.
            drop(self.root.find(&self.root.typed(&item.host)));
            let path = directory.join(&item.path);
            let node = Node::File { mode: 0o644, content, hardlink: None };
            modules.facts.push(Fact { path: path.clone(), node, why: item.step.why.clone() });
            if item.loaded {
                modules.loads.push(ModuleLoad {
                    name: item.step.name.clone(),
                    path,
                    params: params.get(item.step.name.as_str()).cloned().unwrap_or_default(),
                    need: item.step.need,
                });
            }
        }
        Ok(())
    }

    /// Adds weak dependencies with their own dependencies. They are not loaded. Ignores missing ones.
    fn add_weak(&self, order: &Order<'_>, items: &mut Vec<Item>) -> Result<(), ModuleError> {
        let mut weak = Order::new(self.index, order.builtin());
        for (wanted, by) in order.weak()? {
            if let Found::Modules(names) = weak.find(&wanted)? {
                for name in names {
                    let why = Why::Module { kind: "weakdep", by: by.clone() };
                    match weak.add(&name, &why, Need::Soft) {
                        Ok(()) | Err(ModuleError::Missing { .. } | ModuleError::Circle { .. }) => {}
                        Err(other) => return Err(other),
                    }
                }
            }
        }
        for step in weak.steps.clone() {
            if !order.has(&step.name) {
                match self.item(&weak, step, false) {
                    Ok(item) => items.push(item),
                    Err(ModuleError::Dangling { .. }) => {}
                    Err(other) => return Err(other),
                }
            }
        }
        Ok(())
    }

    /// Finds a module's file.
    fn item(&self, order: &Order<'_>, step: Step, loaded: bool) -> Result<Item, ModuleError> {
        if let Some(loose) = order.loose.get(&step.name) {
            let listed = self.kernel.modules.as_ref().and_then(|dir| loose.host.strip_prefix(&dir.host).ok());
            let path = match listed.and_then(Path::to_str) {
                Some(path) => path.to_owned(),
                None => format!("extra/{}.ko", step.name),
            };
            return Ok(Item { step, path: name::uncompressed(&path).to_owned(), host: loose.host.clone(), loaded });
        }
        let listed = self.index.and_then(|index| index.module(&step.name)).map(|listed| listed.path);
        let (Some(dir), Some(listed)) = (&self.kernel.modules, listed) else {
            let (name, why) = (step.name, Box::new(step.why));
            return Err(ModuleError::Missing { name, why, place: String::new(), near: Vec::new() }.placed(self.kernel));
        };
        let host = host_path(dir, self.root, listed);
        if !host.exists() {
            if dir.host.join(STAMPS).exists() {
                return Err(ModuleError::Damaged { path: host });
            }
            return Err(ModuleError::Dangling { name: step.name, why: Box::new(step.why), path: host });
        }
        // An absolute path in modules.dep is relative to the root. In the image, the file is below the directory of
        // modules.
        let path = listed.strip_prefix('/').map_or_else(|| listed.to_owned(), |path| format!("extra/{path}"));
        Ok(Item { step, path: name::uncompressed(&path).to_owned(), host, loaded })
    }

    /// Checks that modules in the cache are unchanged, by their seals.
    fn check_stamps(&self, items: &[Item]) -> Result<(), ModuleError> {
        let Some(dir) = &self.kernel.modules else { return Ok(()) };
        let stamps = dir.host.join(STAMPS);
        if !stamps.exists() {
            return Ok(());
        }
        let text = super::error::read_text(&stamps, 64 << 20)?;
        for item in items {
            let Some(path) = item.host.strip_prefix(&dir.host).ok().and_then(Path::to_str) else { continue };
            let sealed = SealedFile::find(&text, path);
            if sealed.is_none_or(|sealed| sealed.check(&dir.host) == Condition::Damaged) {
                return Err(ModuleError::Damaged { path: item.host.clone() });
            }
        }
        Ok(())
    }

    /// Returns true if the module is for this kernel. Otherwise, returns false and adds a note for an optional module,
    /// and fails for others.
    fn fits(&self, item: &Item, info: &Modinfo, modules: &mut Modules) -> Result<bool, ModuleError> {
        let (Some(kernel), Some(module)) = (self.kernel.release.as_deref(), info.release()) else { return Ok(true) };
        if kernel == module {
            return Ok(true);
        }
        let error = ModuleError::OtherKernel {
            path: item.host.clone(),
            module: module.to_owned(),
            origin: self.kernel.origin.clone(),
            kernel: kernel.to_owned(),
        };
        if matches!(item.step.need, Need::Channel | Need::Soft) {
            modules.notes.push(format!("skipped optional {error}"));
            return Ok(false);
        }
        Err(error)
    }

    /// Adds a note about firmware that a requested module may request, if the root contains it.
    fn note_firmware(&self, item: &Item, info: &Modinfo, modules: &mut Modules) {
        if !matches!(item.step.why, Why::Asked(_)) || info.firmware.is_empty() {
            return;
        }
        let there: Vec<&str> =
            info.firmware.iter().map(String::as_str).filter(|file| self.has_firmware(file)).collect();
        if let Some(first) = there.first() {
            let more = there.len() - 1;
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            modules.notes.push(format!(
                "module {} may request firmware {first}{more}, which is not in the image; \
                 add it with --copy /lib/firmware/...",
                item.step.name
            ));
        }
    }

    /// Returns true if the root contains a firmware file. Of a pattern, only the part before the first wildcard is
    /// compared.
    fn has_firmware(&self, file: &str) -> bool {
        let plain = file.split(['*', '?', '[']).next().unwrap_or(file);
        let whole = plain.len() == file.len();
        let directory = ArchivePath::new("/lib/firmware");
        if whole {
            return ["", ".xz", ".zst"].iter().any(|ending| {
                let path = directory.join(format!("{file}{ending}").trim_start_matches('/'));
                self.root.find(&path).is_some()
            });
        }
        let (parent, prefix) = plain.rsplit_once('/').unwrap_or(("", plain));
        let names = self.root.list(&directory.join(parent.trim_start_matches('/'))).unwrap_or_default();
        names.iter().any(|name| name.to_string_lossy().starts_with(prefix))
    }
}

/// Returns true if the first requester is a soft dependency.
fn is_soft(why: &Why) -> bool {
    matches!(why, Why::Module { kind: "softdep pre" | "softdep post", .. })
}

/// Content and `.modinfo` of a module.
type Read = (Content, Modinfo);

/// Reads all modules, in order. Uncompressed files are not read into memory, but referenced by path.
fn read_all(items: &[Item]) -> Result<Vec<Read>, ModuleError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(16).min(items.len());
    if threads <= 1 || items.iter().all(|item| item.host.extension().is_some_and(|ending| ending == "ko")) {
        return items.iter().map(|item| read_one(&item.host)).collect();
    }
    let next = AtomicUsize::new(0);
    let mut all: Vec<(usize, Result<Read, ModuleError>)> = std::thread::scope(|scope| {
        let work = || {
            let mut done = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(item) = items.get(at) else { return done };
                done.push((at, read_one(&item.host)));
            }
        };
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        // If a thread panicked, its items are missing. The length check below detects this.
        handles.into_iter().flat_map(|handle| handle.join().unwrap_or_default()).collect()
    });
    if all.len() != items.len() {
        let path = items.first().map(|item| item.host.clone()).unwrap_or_default();
        return Err(ModuleError::Unreadable { path, why: "a worker thread panicked".to_owned() });
    }
    all.sort_by_key(|(at, _)| *at);
    all.into_iter().map(|(_, read)| read).collect()
}

/// Reads content and `.modinfo` of one module.
fn read_one(host: &Path) -> Result<Read, ModuleError> {
    let (info, unpacked) = read_module(host)?;
    let content = if let Some(bytes) = unpacked {
        Content::Bytes(bytes.into())
    } else {
        let metadata = std::fs::metadata(host).map_err(|error| ModuleError::io("access", host, error))?;
        Content::Host { path: host.to_owned(), len: metadata.len() }
    };
    Ok((content, info))
}

/// Returns the directory of modules in the image. It must not lead through links, so it is below `/usr/lib` if the
/// root's `/lib` is a link to that.
fn guest_directory(root: &Root, kernel: &Kernel) -> ArchivePath {
    let lib = ArchivePath::new("/lib");
    let merged = root.find(&lib).is_some_and(|found| found.real == ArchivePath::new("/usr/lib"));
    let release = kernel.release.as_deref().or_else(|| kernel.modules.as_ref().map(|dir| dir.release.as_str()));
    let lib = if merged { ArchivePath::new("/usr/lib") } else { lib };
    // The release is untrusted: it must be a single path component.
    lib.join("modules").join(release.unwrap_or("unknown").replace('/', "_"))
}

/// Returns the host path of a module listed in `modules.dep`.
fn host_path(dir: &ModuleDir, root: &Root, listed: &str) -> PathBuf {
    if listed.starts_with('/') { root.host_path(&ArchivePath::new(listed)) } else { dir.host.join(listed) }
}

#[cfg(test)]
mod tests {
    use super::{Modinfo, unknown_parameters};
    use std::ffi::OsStr;

    #[test]
    fn only_unknown_parameters_are_reported() {
        let info = Modinfo::parse(b"parm=max_loop:Maximum number\0parmtype=max_part:int\0parm=max_part:Partitions\0");
        let note = |given: &str| unknown_parameters("loop", OsStr::new(given), &info);
        for given in ["max_loop=4", "max-loop=4 max_part=\"a b=c\"", "dyndbg=+p async_probe", ""] {
            assert_eq!(note(given), None, "{given}");
        }
        let reported = note("max_lop=4 max_part=1 nosuch").expect("a note");
        assert_eq!(
            reported,
            "module loop declares no parameter max_lop, nosuch (declared: max_loop, max_part); \
             the kernel ignores unknown parameters"
        );
    }
}
