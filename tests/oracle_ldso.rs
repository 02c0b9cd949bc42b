//! Oracle: the closure of every dynamic ELF file of this system equals the output of `ld.so --list`.
//!
//! Only the test runs the loader, one process per file. Skipped with a note if the system's loader is not glibc's.

#![expect(clippy::print_stderr, reason = "prints skipped tests and counts")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bootling::arch::Arch;
use bootling::format::archive_path::ArchivePath;
use bootling::format::elf;
use bootling::format::elf::{Abi, ElfError, ElfFacts};
use bootling::format::read_at::PagedReader;
use bootling::root::binary::Binaries;
use bootling::root::binary::Binary;
use bootling::root::closure::Linker;
use bootling::root::directory::Root;
use bootling::root::dirs::Dirs;
use bootling::root::dirs::Found;
use bootling::root::ldso::System;
use walkdir::WalkDir;

/// Minimum number of compared files.
const LEAST: usize = 300;

/// Result of loading a file: libraries by their real paths, and names that are not found.
#[derive(Debug, Default, PartialEq, Eq)]
struct Closure {
    found: BTreeSet<PathBuf>,
    missing: BTreeSet<String>,
}

/// Returns the reason why a file is not compared.
fn exception(path: &Path, listing: &str) -> Option<&'static str> {
    if path.extension() == Some(OsStr::new("debug")) || path.starts_with("/usr/lib/debug") {
        return Some("separate debug information: the segments have no contents");
    }
    if listing.contains("cannot be loaded") || listing.contains("loader cannot load itself") {
        return Some("ld.so cannot list itself");
    }
    None
}

#[test]
fn closures_equal_the_list_of_the_dynamic_loader() {
    let arch = Arch::host().expect("a known host architecture");
    let Some(loader) = usual_loader(arch) else {
        assert!(std::env::var_os("REQUIRE_ORACLES").is_none(), "no glibc");
        eprintln!("skipped: no glibc loader for {arch} on this system");
        return;
    };
    let files = dynamic_files(arch);
    let next = AtomicUsize::new(0);
    let outcomes: Mutex<BTreeMap<String, Vec<String>>> = Mutex::default();
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| compare_some(&files, &next, &loader, &outcomes));
        }
    });
    let outcomes = outcomes.into_inner().expect("no worker panicked");
    for (outcome, files) in &outcomes {
        eprintln!("{:6} {outcome}", files.len());
    }
    let wrong = outcomes.get("WRONG").cloned().unwrap_or_default();
    assert!(wrong.is_empty(), "{} files differ:\n{}", wrong.len(), wrong.join("\n"));
    let compared = outcomes.get("equal").map_or(0, Vec::len);
    assert!(compared >= LEAST, "only {compared} files were compared");
}

fn compare_some(files: &[PathBuf], next: &AtomicUsize, loader: &Path, into: &Mutex<BTreeMap<String, Vec<String>>>) {
    let root = Root::new("/").expect("the root directory");
    let system = System::of(&root);
    let binaries = Binaries::new(&root);
    let dirs = Dirs::new(&root, &binaries);
    let linker = Linker::new(&dirs, &system, &[]);
    while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
        let (outcome, text) = match compare(&root, &binaries, &linker, path, loader) {
            Ok(outcome) => (outcome.to_owned(), path.display().to_string()),
            Err(difference) => ("WRONG".to_owned(), difference),
        };
        into.lock().expect("no worker panicked").entry(outcome).or_default().push(text);
    }
}

fn compare(
    root: &Root,
    binaries: &Binaries<'_>,
    linker: &Linker<'_>,
    path: &Path,
    loader: &Path,
) -> Result<&'static str, String> {
    let (expected, output) = loader_closure(path, loader);
    if let Some(reason) = exception(path, &output) {
        return Ok(reason);
    }
    match (bootling_closure(root, binaries, linker, path), expected) {
        (Ok(found), Some(expected)) if found == expected => Ok("equal"),
        (Err(_), None) => Ok("refused by both"),
        (found, expected) => {
            Err(format!("{}\n  bootling {found:?}\n  loader {expected:?}\n  {output}", path.display()))
        }
    }
}

fn bootling_closure(
    root: &Root,
    binaries: &Binaries<'_>,
    linker: &Linker<'_>,
    path: &Path,
) -> Result<Closure, Box<dyn std::error::Error>> {
    let path = ArchivePath::new(path);
    let resolved = root.resolve(&path)?;
    let Binary::Elf(elf) = binaries.get(&resolved.real)? else {
        return Err("no ELF file".into());
    };
    let closure = linker.closure(&Rc::new(Found { path, resolved, elf }))?;
    let loaded = closure.objects.iter().take(closure.linked).skip(1 + usize::from(closure.has_interpreter));
    Ok(Closure {
        found: loaded.map(|object| root.host_path(&object.found.resolved.real)).collect(),
        missing: closure.missing.iter().map(|missing| missing.name.display().to_string()).collect(),
    })
}

fn loader_closure(path: &Path, loader: &Path) -> (Option<Closure>, String) {
    let own = facts(&File::open(path).expect("readable file")).ok().and_then(|facts| facts.interpreter);
    let loader = own.filter(|own| own.exists()).unwrap_or_else(|| loader.to_path_buf());
    let mut output = Command::new(&loader).arg("--list").arg(path).env_clear().output().expect("the loader runs");
    if !output.status.success() {
        // --list stops at the first missing library; with LD_TRACE_LOADED_OBJECTS, as in ldd, it continues.
        let mut traced = Command::new(&loader);
        traced.arg(path).env_clear().env("LD_TRACE_LOADED_OBJECTS", "1");
        output = traced.output().expect("the loader runs");
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let mut closure = Closure::default();
    for line in text.lines().map(str::trim) {
        if let Some((name, place)) = line.split_once(" => ") {
            if place == "not found" {
                closure.missing.insert(name.to_owned());
                continue;
            }
            closure.found.insert(real(place));
        } else if line.starts_with('/') {
            closure.found.insert(real(line));
        }
    }
    closure.found.remove(path);
    // The loader itself may or may not be listed.
    closure.found.remove(&real(&loader.to_string_lossy()));
    (output.status.success().then_some(closure), text + &errors)
}

/// Resolves a path such as `/lib/x.so (0x0000)` to the real file.
fn real(place: &str) -> PathBuf {
    let path = place.rsplit_once(" (0x").map_or(place, |(path, _)| path);
    fs::canonicalize(path).unwrap_or_else(|_| PathBuf::from(path))
}

fn usual_loader(arch: Arch) -> Option<PathBuf> {
    let names = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1", "/lib/ld64.so.1", "/lib64/ld64.so.2"];
    let is_ours = |path: &&PathBuf| {
        let facts = File::open(path).ok().and_then(|file| facts(&file).ok());
        facts.is_some_and(|facts| facts.abi == Abi::of(arch))
    };
    names.map(PathBuf::from).iter().find(is_ours).cloned()
}

/// Returns all regular dynamic ELF files of `arch`, each inode once.
fn dynamic_files(arch: Arch) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut seen = BTreeSet::new();
    for top in ["/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib64", "/usr/libexec"] {
        for entry in
            WalkDir::new(top).sort_by_file_name().into_iter().flatten().filter(|entry| entry.file_type().is_file())
        {
            let path = entry.path();
            let metadata = entry.metadata().expect("a file that was just listed");
            let id = (std::os::unix::fs::MetadataExt::dev(&metadata), std::os::unix::fs::MetadataExt::ino(&metadata));
            let file = File::open(path).ok().and_then(|file| starts_as_elf(&file).then_some(file));
            let wanted = match file.map(|file| facts(&file)) {
                Some(Ok(facts)) => {
                    let is_dynamic = facts.interpreter.is_some() || !facts.needed.is_empty();
                    is_dynamic && facts.abi == Abi::of(arch)
                }
                // The loader must refuse the files that bootling refuses.
                Some(Err(_)) => true,
                None => false,
            };
            if wanted && seen.insert(id) {
                files.push(path.to_path_buf());
            }
        }
    }
    files
}

fn facts(file: &File) -> Result<ElfFacts, ElfError> {
    ElfFacts::read(PagedReader::new(file))
}

fn starts_as_elf(file: &File) -> bool {
    let mut magic = [0; 4];
    std::os::unix::fs::FileExt::read_exact_at(file, &mut magic, 0).is_ok() && elf::is_elf(&magic)
}
