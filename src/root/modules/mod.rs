//! Resolves names of kernel modules to files, and to the order in which the guest's pid 1 loads them.
//!
//! A request is a name, an alias, a built-in module (nothing to load), or the path of a `.ko` file. The tables are
//! depmod's if it ran (modules.dep(5)); otherwise they are generated from `.modinfo` and kept in the cache. The image
//! contains the modules uncompressed, including their signatures, below `/lib/modules/RELEASE`. `modprobe.d` is not
//! read: options and blacklists of the host do not apply to the guest. Firmware is not included; a note reports
//! available firmware.
//!
//! Refuses modules built for another kernel, missing modules (except missing soft dependencies), and dependency cycles.

pub mod builtin;
pub mod depmod;
pub(crate) mod error;
pub mod index;
pub(crate) mod kunit;
pub(crate) mod load;
mod loose;
mod missing;
pub mod order;
pub(crate) mod scan;
pub(crate) mod tables;

use crate::format::modules::name;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use self::builtin::Builtin;
use self::load::Sources;
pub use self::load::{ModuleLoad, Modules};
pub(crate) use self::order::Need;
use self::order::{Found, Order};
use self::tables::TablesRead;
use super::directory::Root;
use super::fact::Why;
use super::kernel::Kernel;
use super::request::ModuleRequest;
use crate::cache::Cache;

pub use self::error::ModuleError;
pub(crate) use self::tables::ModuleTables;

/// Availability of virtio-serial over PCI in a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChannelDriver {
    /// All drivers are built in.
    Builtin,
    /// Some or all drivers are modules: [`CHANNEL_MODULES`] must be loaded.
    Modules,
    /// No drivers found.
    Absent,
}

/// Drivers of a virtio-serial port on PCI.
pub(crate) const CHANNEL_MODULES: [&str; 2] = ["virtio_pci", "virtio_console"];

/// Opens the cache, if it is needed.
type GetCache<'a> = &'a dyn Fn() -> Result<Cache, ModuleError>;

/// Resolves the available `channel` modules, followed by `requests`. `tables` are the kernel's, with their cache.
pub(crate) fn resolve(
    root: &Root,
    kernel: &Kernel,
    tables: &ModuleTables,
    requests: &[ModuleRequest],
    channel: &[&str],
) -> Result<Modules, ModuleError> {
    ModuleQuery { root, kernel, requests, channel, cache: &|| tables.cache() }.renewing(tables)
}

/// Like [`resolve`], for a request of a guest: a name or an alias, never a file of the host.
pub(crate) fn on_demand(
    root: &Root,
    kernel: &Kernel,
    tables: &ModuleTables,
    request: &ModuleRequest,
) -> Result<Modules, ModuleError> {
    if is_file(request) {
        let (name, why) = (request.name.to_string_lossy().into_owned(), Box::new(Why::Asked(asked(request))));
        return Err(ModuleError::Missing { name, why, place: String::new(), near: Vec::new() });
    }
    resolve(root, kernel, tables, std::slice::from_ref(request), &[])
}

/// Like `resolve`, but reads the tables for this call only. Calls `cache` only to generate tables, or to unpack a
/// package again if one of its modules is damaged.
pub fn resolve_with(
    root: &Root,
    kernel: &Kernel,
    requests: &[ModuleRequest],
    channel: &[&str],
    cache: &dyn Fn() -> Result<Cache, ModuleError>,
) -> Result<Modules, ModuleError> {
    ModuleQuery { root, kernel, requests, channel, cache }.renewing(&ModuleTables::default())
}

/// Input of the resolution.
#[derive(Clone, Copy)]
struct ModuleQuery<'a> {
    root: &'a Root,
    kernel: &'a Kernel,
    requests: &'a [ModuleRequest],
    channel: &'a [&'a str],
    cache: GetCache<'a>,
}

impl ModuleQuery<'_> {
    /// Resolves the modules. If a module of an unpacked package is damaged, unpacks the package again and retries once.
    fn renewing(self, tables: &ModuleTables) -> Result<Modules, ModuleError> {
        if self.requests.is_empty() && self.channel.is_empty() {
            return Ok(Modules::default());
        }
        match self.attempt(tables) {
            Err(error) => match &self.kernel.modules {
                Some(dir)
                    if error.file().is_some_and(|file| file.starts_with(&dir.host))
                        && super::kernel::deb::renew(dir, &(self.cache)()?).map_err(Box::new)? =>
                {
                    self.attempt(&ModuleTables::default())
                }
                Some(_) | None => Err(error),
            },
            done => done,
        }
    }

    /// Makes one attempt. Fails if a module in the cache is damaged.
    fn attempt(self, tables: &ModuleTables) -> Result<Modules, ModuleError> {
        let Self { root, kernel, requests, channel, cache } = self;
        let TablesRead { index, builtin, notes } = tables.read(kernel, cache)?;
        let mut modules = Modules { notes: notes.clone(), ..Modules::default() };
        let mut order = Order::new(index.as_ref(), builtin);
        for name in channel {
            if let Found::Modules(names) = order.find(name)? {
                names.iter().try_for_each(|name| order.add(name, &Why::Channel, Need::Channel))?;
            }
        }
        // Read all files first: one that is requested later may export symbols that an earlier one uses.
        let files = requests.iter().map(|request| file_of(root, request, &mut order)).collect::<Result<Vec<_>, _>>()?;
        loose::link(&mut order.loose)?;
        let mut params: Vec<(String, OsString)> = Vec::new();
        for (request, file) in requests.iter().zip(files) {
            let names = match file {
                Some(name) => vec![name],
                None => request_names(kernel, request, &mut order, builtin, &mut modules.notes)?,
            };
            let why = Why::Asked(asked(request));
            let need = if names.len() > 1 { Need::Soft } else { Need::Required };
            let first = order.steps.len();
            for name in &names {
                order.add(name, &why, need).map_err(|error| error.placed(kernel))?;
            }
            if need == Need::Soft {
                order.require_one_of(&names, first);
            }
            if !request.params.is_empty() {
                params.extend(names.into_iter().map(|name| (name, request.params.clone())));
            }
        }
        let sources = Sources { root, kernel, index: index.as_ref(), requests: &params };
        sources.fill(&order, &mut modules)?;
        Ok(modules)
    }
}

/// Determines if virtio-serial over PCI is built into the kernel or available as modules.
pub(crate) fn channel_modules(kernel: &Kernel, tables: &ModuleTables) -> ChannelDriver {
    let configured = |name: &str| kernel.config.as_ref().is_some_and(|config| config.is_builtin(name));
    // pid 1 finds the port in sysfs.
    if kernel.config.as_ref().is_some_and(|config| config.is_unset("SYSFS")) {
        return ChannelDriver::Absent;
    }
    if configured("VIRTIO_PCI") && configured("VIRTIO_CONSOLE") {
        return ChannelDriver::Builtin;
    }
    // Unreadable tables count as no modules here. The error is reported when the user requests a module.
    let read = tables.read(kernel, &|| tables.cache());
    let Ok(TablesRead { index, builtin, .. }) = read else { return ChannelDriver::Absent };
    if CHANNEL_MODULES.iter().all(|name| builtin.has(name)) {
        return ChannelDriver::Builtin;
    }
    let there = |name: &&str| builtin.has(name) || index.as_ref().is_some_and(|index| index.module(name).is_some());
    if CHANNEL_MODULES.iter().all(there) { ChannelDriver::Modules } else { ChannelDriver::Absent }
}

/// Returns the option as the user typed it.
fn asked(request: &ModuleRequest) -> OsString {
    let mut typed = OsString::from("--kmod ");
    typed.push(&request.name);
    typed
}

/// Returns true if a request names a file.
fn is_file(request: &ModuleRequest) -> bool {
    request.name.as_bytes().contains(&b'/') || name::stem(&request.name.to_string_lossy()).is_some()
}

/// Adds the file that a request names. Returns the module's name; `None` if the request names no file.
fn file_of(root: &Root, request: &ModuleRequest, order: &mut Order<'_>) -> Result<Option<String>, ModuleError> {
    is_file(request).then(|| loose::add(root, Path::new(&request.name), &mut order.loose)).transpose()
}

/// Returns the names of the requested modules; none if the request is built in.
fn request_names(
    kernel: &Kernel,
    request: &ModuleRequest,
    order: &mut Order<'_>,
    builtin: &Builtin,
    notes: &mut Vec<String>,
) -> Result<Vec<String>, ModuleError> {
    let typed = request.name.to_string_lossy();
    match order.find(&typed)? {
        Found::Modules(names) => Ok(names),
        Found::Builtin => {
            if !request.params.is_empty() {
                notes.push(format!(
                    "module {typed} is built into the kernel; pass its parameters ({}) on the kernel command line: \
                     --append {typed}.PARAM=VALUE",
                    request.params.display()
                ));
            }
            Ok(Vec::new())
        }
        Found::Nothing => Err(missing::not_found(&typed, kernel, order, builtin, Why::Asked(asked(request)))),
    }
}

#[cfg(test)]
mod tests {
    use super::{ChannelDriver, ModuleTables, Modules, Need, channel_modules, resolve_with};
    use crate::arch::Arch;
    use crate::cache::Cache;
    use crate::format::modules::modinfo::tests::module;
    use crate::format::modules::symbols::tests::module_with;
    use crate::root::directory::Root;
    use crate::root::fact::{Content, Node};
    use crate::root::kernel::{ImageKind, Kernel, ModuleDir, ModuleLayout};
    use crate::root::request::ModuleRequest;
    use std::fs;
    use std::path::PathBuf;

    struct World {
        dir: tempfile::TempDir,
        kernel: Kernel,
    }

    /// Creates a root with a merged `/usr` and modules of 6.9.0, without depmod's tables.
    fn world() -> World {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let host = dir.path().join("root/usr/lib/modules/6.9.0");
        fs::create_dir_all(host.join("kernel/net")).expect("made");
        std::os::unix::fs::symlink("usr/lib", dir.path().join("root/lib")).expect("a link");
        let magic = "vermagic=6.9.0 SMP";
        let packed = zstd::encode_all(module(&["depends=b", "firmware=x/a.bin", magic]).as_slice(), 1).expect("packed");
        fs::write(host.join("kernel/net/a-x.ko.zst"), packed).expect("written");
        fs::write(host.join("kernel/b.ko"), module(&["depends=", "weakdep=w", "alias=pci:v1*", magic]))
            .expect("written");
        fs::write(host.join("kernel/w.ko"), module(&["depends=", magic])).expect("written");
        fs::write(host.join("kernel/old.ko"), module(&["depends=b", "vermagic=5.0.0 SMP"])).expect("written");
        fs::write(host.join("modules.builtin"), "kernel/built-in.ko\nkernel/virtio_pci.ko\n").expect("written");
        let kernel = Kernel {
            image: PathBuf::from("/nowhere"),
            kind: ImageKind::BzImage,
            arch: Arch::X86_64,
            release: Some("6.9.0".to_owned()),
            modules: Some(ModuleDir { host, release: "6.9.0".to_owned(), layout: ModuleLayout::Installed }),
            config: None,
            origin: "test kernel".to_owned(),
        };
        World { dir, kernel }
    }

    impl World {
        fn resolve(&self, requests: &[(&str, &str)], channel: &[&str]) -> Result<Modules, String> {
            let root = Root::new(self.dir.path().join("root")).expect("a root");
            let requests: Vec<ModuleRequest> = requests
                .iter()
                .map(|(name, params)| ModuleRequest { name: name.into(), params: params.into() })
                .collect();
            let cache = || Ok(Cache::at(self.dir.path().join("cache"), 1 << 20)?);
            resolve_with(&root, &self.kernel, &requests, channel, &cache).map_err(|error| error.to_string())
        }
    }

    fn loads(modules: &Modules) -> Vec<String> {
        modules.loads.iter().map(|load| format!("{} {}", load.path, load.params.display())).collect()
    }

    #[test]
    fn names_aliases_and_builtins_are_resolved_without_depmod() {
        let world = world();
        let modules = world.resolve(&[("a_x", "p=1"), ("pci:v1d2", ""), ("built_in", "q=2")], &[]).expect("resolved");
        let at = "/usr/lib/modules/6.9.0/kernel";
        assert_eq!(loads(&modules), [format!("{at}/b.ko "), format!("{at}/net/a-x.ko p=1")]);
        assert!(modules.notes.iter().any(|note| note.contains("built into the kernel") && note.contains("q=2")));
        let facts: Vec<String> = modules.facts.iter().map(|fact| format!("{} {}", fact.path, fact.why)).collect();
        assert_eq!(facts.len(), 3, "one must be the weak dependency: {facts:?}");
        assert!(facts[2].contains("w.ko weakdep of module b"), "{facts:?}");
        let Node::File { content: Content::Bytes(bytes), .. } = &modules.facts[1].node else {
            panic!("a compressed module must be decompressed: {:?}", modules.facts[1]);
        };
        assert!(bytes.starts_with(b"\x7fELF"));
    }

    #[test]
    fn a_file_uses_modules_of_its_directory_and_must_match_the_kernel() {
        let world = world();
        let dir = world.dir.path().join("mine");
        fs::create_dir(&dir).expect("made");
        fs::write(dir.join("new.ko"), module(&["depends=helper,b", "vermagic=6.9.0 SMP"])).expect("written");
        fs::write(dir.join("helper.ko"), module(&["depends=", "vermagic=6.9.0 SMP"])).expect("written");
        let path = dir.join("new.ko").display().to_string();
        let modules = world.resolve(&[(&path, "")], &[]).expect("resolved");
        let names: Vec<&str> = modules.loads.iter().map(|load| load.name.as_str()).collect();
        assert_eq!(names, ["helper", "b", "new"]);
        assert!(modules.loads[2].path.to_string().ends_with("6.9.0/extra/new.ko"));
        let error = world.resolve(&[("old", "")], &[]).expect_err("wrong kernel release");
        assert!(error.contains("built for kernel 5.0.0") && error.contains("is 6.9.0"), "{error}");
    }

    #[test]
    fn files_of_several_directories_are_ordered_by_their_dependencies_and_symbols() {
        let world = world();
        let magic = "vermagic=6.9.0 SMP";
        let mut paths = Vec::new();
        for (name, file) in [
            ("top", module_with(&["depends=middle", magic], &[], &["printk"])),
            // A module built without the other's Module.symvers: its `.modinfo` names no dependency, and only the
            // symbols reveal it.
            ("middle", module_with(&["depends=", magic], &["from_middle"], &["printk", "from_bottom"])),
            ("bottom", module_with(&["depends=", magic], &["from_bottom"], &["printk"])),
        ] {
            let dir = world.dir.path().join(name);
            fs::create_dir(&dir).expect("made");
            fs::write(dir.join(format!("{name}.ko")), file).expect("written");
            paths.push(dir.join(format!("{name}.ko")).display().to_string());
        }
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
            let requests = order.map(|at| (paths[at].as_str(), ""));
            let modules = world.resolve(&requests, &[]).expect("resolved");
            let names: Vec<&str> = modules.loads.iter().map(|load| load.name.as_str()).collect();
            assert_eq!(names, ["bottom", "middle", "top"]);
        }
        let error = world.resolve(&[(&paths[0], "")], &[]).expect_err("its dependency is elsewhere");
        assert!(error.contains("module middle (depends of module top"), "{error}");
    }

    #[test]
    fn a_missing_module_is_reported_with_its_kernel_and_similar_names() {
        let error = world().resolve(&[("bb", "")], &[]).expect_err("missing");
        for part in ["bb", "--kmod bb", "kernel 6.9.0", "modules.dep", "similar: b"] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }

    #[test]
    fn channel_modules_come_first_are_optional_and_may_be_missing() {
        let world = world();
        let modules = world.resolve(&[("a_x", "")], &["w", "old", "gone"]).expect("resolved");
        let flags: Vec<(&str, Need)> = modules.loads.iter().map(|load| (load.name.as_str(), load.need)).collect();
        assert_eq!(flags, [("w", Need::Channel), ("b", Need::Required), ("a_x", Need::Required)]);
        assert!(modules.notes.iter().any(|note| note.starts_with("skipped optional module") && note.contains("5.0.0")));
    }

    #[test]
    fn firmware_below_the_root_is_reported() {
        let world = world();
        assert!(world.resolve(&[("a_x", "")], &[]).expect("resolved").notes.is_empty());
        fs::create_dir_all(world.dir.path().join("root/usr/lib/firmware/x")).expect("made");
        fs::write(world.dir.path().join("root/usr/lib/firmware/x/a.bin.xz"), b"").expect("written");
        let notes = world.resolve(&[("a_x", "")], &[]).expect("resolved").notes;
        assert!(notes[0].contains("firmware x/a.bin"), "{notes:?}");
    }

    #[test]
    fn the_channel_requires_both_drivers() {
        let mut world = world();
        world.kernel.modules.as_mut().expect("modules").layout = ModuleLayout::Installed;
        let host = world.kernel.modules.as_ref().expect("modules").host.clone();
        fs::write(host.join("modules.dep"), "kernel/b.ko:\n").expect("written");
        assert_eq!(channel_modules(&world.kernel, &ModuleTables::default()), ChannelDriver::Absent);
        fs::write(host.join("modules.dep"), "kernel/virtio_console.ko:\n").expect("written");
        assert_eq!(channel_modules(&world.kernel, &ModuleTables::default()), ChannelDriver::Modules);
        fs::write(host.join("modules.builtin"), "virtio_pci.ko\nvirtio_console.ko\n").expect("written");
        assert_eq!(channel_modules(&world.kernel, &ModuleTables::default()), ChannelDriver::Builtin);
        world.kernel.modules = None;
        assert_eq!(channel_modules(&world.kernel, &ModuleTables::default()), ChannelDriver::Absent);
    }
}
