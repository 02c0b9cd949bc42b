//! Oracle: the load order of every module of Debian's kernels is compared with `modprobe --show-depends`, with depmod's
//! tables and with tables built only from `.modinfo`. The packages are in `build/kernels` (see `tools/fetch-kernel`).
//!
//! Each order must contain the same modules as modprobe's, and every hard dependency before its user. One difference is
//! intended: of several `MODULE_SOFTDEP`s of one module (btrfs, bcachefs, ksmbd), libkmod uses only the first, and the
//! kernel calls modprobe for the others on demand. A tiny guest may have no modprobe, so bootling uses all of them.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bootling::cache::Cache;
use bootling::format::modules::name;
use bootling::root::directory::Root;
use bootling::root::fact::Why;
use bootling::root::kernel::Kernel;
use bootling::root::kernel::ModuleDir;
use bootling::root::kernel::find;
use bootling::root::modules::ModuleError;
use bootling::root::modules::builtin::Builtin;
use bootling::root::modules::index::Index;
use bootling::root::modules::order::{Need, Order};
use bootling::root::modules::resolve_with;
use bootling::root::request::KernelRef;
use bootling::root::request::ModuleRequest;

/// Minimum number of compared modules.
const AT_LEAST: usize = 1000;

fn build() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("build")
}

/// Returns the newest package with this name prefix that is not of the cloud flavor.
fn package(prefix: &str) -> PathBuf {
    let kernels = build().join("kernels");
    let listing = fs::read_dir(&kernels).expect("build/kernels (filled by tools/fetch-kernel)");
    let mut found: Vec<PathBuf> = listing.map(|item| item.expect("an entry").path()).collect();
    found.retain(|path| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        name.starts_with(prefix) && path.extension().is_some_and(|ending| ending == "deb") && !name.contains("cloud")
    });
    found.sort();
    found.pop().unwrap_or_else(|| panic!("no {prefix}*.deb in {}", kernels.display()))
}

fn cache() -> Cache {
    let directory = build().join("test-cache");
    match fs::DirBuilder::new().mode(0o700).create(&directory) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => panic!("{}: {error}", directory.display()),
        Ok(()) | Err(_) => {}
    }
    Cache::at(directory, 4 << 30).expect("a cache")
}

/// Links the modules into a separate directory and runs depmod there.
fn with_depmod(kernel: &Kernel, base: &Path) -> Kernel {
    let from = kernel.modules.as_ref().expect("modules");
    let to = base.join("lib/modules").join(&from.release);
    for item in walkdir::WalkDir::new(&from.host) {
        let item = item.expect("an entry");
        let path = item.path().strip_prefix(&from.host).expect("below");
        if item.file_type().is_dir() {
            fs::create_dir_all(to.join(path)).expect("a directory");
        } else if path.extension().is_some_and(|ending| ending == "ko")
            || ["modules.builtin", "modules.builtin.modinfo", "modules.order"].contains(&&*path.to_string_lossy())
        {
            // The hard link changes only the ctime of the cached file.
            fs::hard_link(item.path(), to.join(path)).expect("a hard link");
        }
    }
    let status = Command::new("depmod").arg("-b").arg(base).arg(&from.release).status().expect("depmod runs");
    assert!(status.success(), "depmod: {status}");
    let modules = ModuleDir { host: to, ..from.clone() };
    Kernel { modules: Some(modules), ..kernel.clone() }
}

/// Returns the modules that modprobe would load if it used all soft dependencies.
fn expected(base: &Path, release: &str, module: &str, unheeded: &HashMap<String, Vec<String>>) -> BTreeSet<String> {
    let mut all = modprobe(base, release, module).unwrap_or_else(|error| panic!("modprobe {module}: {error}"));
    let mut ahead: Vec<String> = all.iter().cloned().collect();
    while let Some(next) = ahead.pop() {
        for soft in unheeded.get(&next).into_iter().flatten() {
            // A missing soft dependency is not an error.
            for more in modprobe(base, release, soft).unwrap_or_default() {
                if all.insert(more.clone()) {
                    ahead.push(more);
                }
            }
        }
    }
    all
}

/// Returns the soft dependencies on the second and later lines of each module.
fn unheeded(kernel: &Kernel) -> HashMap<String, Vec<String>> {
    let text =
        fs::read_to_string(kernel.modules.as_ref().expect("modules").host.join("modules.softdep")).expect("read");
    let (mut seen, mut later) = (BTreeSet::new(), HashMap::new());
    for line in text.lines().filter_map(|line| line.strip_prefix("softdep ")) {
        let (module, rest) = line.split_once(' ').expect("a list");
        let module = name::normal(module).into_owned();
        if !seen.insert(module.clone()) {
            // Both ignore names before the first tag (as in cifs).
            let names = rest.split_whitespace().skip_while(|word| !word.ends_with(':'));
            let names = names.filter(|word| !word.ends_with(':')).map(str::to_owned);
            later.entry(module).or_insert_with(Vec::new).extend(names);
        }
    }
    later
}

/// Returns the modules that modprobe would load for a module or alias.
fn modprobe(base: &Path, release: &str, module: &str) -> Result<BTreeSet<String>, String> {
    let output = Command::new("modprobe")
        .args(["--show-depends", "-S", release, "-d"])
        .arg(base)
        .arg("-C")
        .arg(base.join("etc"))
        .arg(module)
        .output()
        .expect("modprobe runs");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = String::from_utf8(output.stdout).expect("text");
    let paths = text.lines().filter_map(|line| line.strip_prefix("insmod ")).map(str::trim);
    Ok(paths.map(|path| name::of_path(path).expect("a module's path").into_owned()).collect())
}

/// Returns bootling's load order. The tables are read once for all modules.
fn bootling_order(index: &Index, builtin: &Builtin, module: &str) -> Vec<String> {
    let mut order = Order::new(Some(index), builtin);
    order.add(module, &Why::Base, Need::Required).unwrap_or_else(|error| panic!("{module}: {error}"));
    order.steps.into_iter().map(|step| step.name).collect()
}

/// Returns the load order of a complete resolution, from the request to the files.
fn resolved(root: &Root, kernel: &Kernel, module: &str, cache: &Cache) -> Vec<String> {
    let request = ModuleRequest { name: module.into(), params: "".into() };
    let resolved = resolve_with(root, kernel, &[request], &[], &|| Ok::<_, ModuleError>(cache.clone()));
    let resolved = resolved.unwrap_or_else(|error| panic!("{module}: {error}"));
    assert!(resolved.facts.len() >= resolved.loads.len());
    resolved.loads.into_iter().map(|load| load.name).collect()
}

/// Returns all hard dependencies from depmod's `modules.dep`.
fn hard_dependencies(kernel: &Kernel) -> HashMap<String, Vec<String>> {
    let text = fs::read_to_string(kernel.modules.as_ref().expect("modules").host.join("modules.dep")).expect("read");
    let of = |path: &str| name::of_path(path).expect("a module").into_owned();
    let line = |line: &str| {
        let (path, needed) = line.split_once(':').expect("a colon");
        (of(path), needed.split_whitespace().map(of).collect())
    };
    text.lines().map(line).collect()
}

fn compare(prefix: &str) {
    let (cache, started) = (cache(), Instant::now());
    let root = Root::new("/").expect("a root");
    let deb = package(prefix);
    let plain = find(&root, &KernelRef::Named(deb.into()), None, &cache, &mut |_| {}).expect("a kernel");
    let release = plain.release.clone().expect("a release");
    let unpacked = started.elapsed();
    let base = tempfile::tempdir_in(build()).expect("a directory in build/");
    fs::create_dir(base.path().join("etc")).expect("an empty configuration");
    let depmod = with_depmod(&plain, base.path());
    let (hard, unheeded) = (hard_dependencies(&depmod), unheeded(&depmod));
    let mut names: Vec<&String> = hard.keys().collect();
    names.sort();
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let root = Root::new("/").expect("a root");
                let kernels = [("depmod", &depmod), ("modinfo", &plain)].map(|(name, kernel)| {
                    let directory = &kernel.modules.as_ref().expect("modules").host;
                    let index = Index::read(directory).expect("read").expect("tables");
                    (name, kernel, index, Builtin::read(directory).expect("read"))
                });
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(module) = names.get(at) else { break };
                    let expected = expected(base.path(), &release, module, &unheeded);
                    for (tables, kernel, index, builtin) in &kernels {
                        let order = bootling_order(index, builtin, module);
                        if at % 100 == 0 {
                            assert_eq!(order, resolved(&root, kernel, module, &cache), "{module}");
                        }
                        if let Some(why) = difference(&order, &expected, &hard) {
                            let line = format!("{module} ({tables}): {why}");
                            wrong.lock().expect("not poisoned").push(line);
                        }
                    }
                }
            });
        }
    });
    // Visible with --nocapture.
    let told = writeln!(
        std::io::stderr(),
        "{release}: {} modules compared with both tables in {:.1} s (unpacking: {:.1} s)",
        names.len(),
        started.elapsed().as_secs_f32(),
        unpacked.as_secs_f32()
    );
    told.expect("standard error is open");
    assert!(names.len() >= AT_LEAST, "only {} modules compared", names.len());
    let wrong = wrong.into_inner().expect("not poisoned");
    assert!(wrong.is_empty(), "{} orders of {release} differ from modprobe's:\n{}", wrong.len(), wrong.join("\n"));
}

/// Returns the fault in an order, if any.
fn difference(order: &[String], expected: &BTreeSet<String>, hard: &HashMap<String, Vec<String>>) -> Option<String> {
    let set: BTreeSet<String> = order.iter().cloned().collect();
    if set.len() != order.len() {
        return Some(format!("duplicate module: {order:?}"));
    }
    if set != *expected {
        let (missing, more): (Vec<_>, Vec<_>) =
            (expected.difference(&set).collect(), set.difference(expected).collect());
        return Some(format!("missing {missing:?}, unexpected {more:?}"));
    }
    for (place, module) in order.iter().enumerate() {
        for needed in &hard[module] {
            if !order[..place].contains(needed) {
                return Some(format!("{needed} not before {module}: {order:?}"));
            }
        }
    }
    None
}

#[test]
fn every_module_of_debian_6_1_loads_as_with_modprobe() {
    compare("linux-image-6.1.");
}

#[test]
fn every_module_of_debian_6_12_loads_as_with_modprobe() {
    compare("linux-image-6.12.");
}
