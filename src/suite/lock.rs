//! The lock of a manifest: the exact packages that its `debian:` kernels refer to, so that a matrix is repeatable.
//!
//! The lock is a file beside the manifest, `bootling.lock` for `bootling.toml`. A missing entry is added when the kernel is
//! first used, as cargo does. Refuses locks of newer versions, and packages with another digest.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::plan::Plan;
use crate::arch::Arch;
use crate::cache::Cache;
use crate::guest::Listener;
use crate::output::WriteError;
use crate::output::file::Output;
use crate::root::fetch::{Fetch, FetchError, KernelPackage, Packages, Pin};

/// Version of the format.
const VERSION: u32 = 1;
/// Size limit of a lock in bytes.
const LIMIT: u64 = 1 << 20;
/// First lines of a lock.
const HEAD: &str = "# Packages of the kernels in the manifest beside this file, written by `bootling test`.\n\
                    # `bootling test --update-lock` selects the newest ones.\n";

/// Permitted changes of a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// Missing entries are added.
    Extend,
    /// The entries of the kernels in use are replaced by the newest packages.
    Update,
    /// A missing entry is an error.
    Locked,
}

/// Failure to use a lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The lock cannot be read.
    #[error("failed to read {}", path.display())]
    Read {
        /// The lock.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The lock is invalid.
    #[error("failed to read {}: {why}", path.display())]
    Invalid {
        /// The lock.
        path: PathBuf,
        /// The fault.
        why: String,
    },
    /// An entry is missing, and the lock must not change.
    #[error("kernel {reference} for {arch} is not in {}, which --locked does not change", path.display())]
    Missing {
        /// The kernel.
        reference: String,
        /// Its architecture.
        arch: Arch,
        /// The lock.
        path: PathBuf,
    },
    /// A package cannot be fetched.
    #[error("failed to fetch kernel {reference} for {arch}")]
    Fetch {
        /// The kernel.
        reference: String,
        /// Its architecture.
        arch: Arch,
        /// Cause.
        source: FetchError,
    },
    /// The lock cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl LockError {
    /// One line of advice, if there is some.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Missing { .. } => Some("run `bootling test` without --locked, and commit the lock"),
            Self::Fetch { source, .. } => source.advice(),
            Self::Invalid { .. } => Some("remove it, or restore it from version control"),
            Self::Read { .. } | Self::Write(_) => None,
        }
    }

    /// Returns the signal that interrupted a download, if one did.
    pub fn signal(&self) -> Option<i32> {
        if let Self::Fetch { source, .. } = self { source.signal() } else { None }
    }
}

/// A lock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Lock {
    version: u32,
    #[serde(default)]
    kernel: Vec<Entry>,
}

/// The package of a kernel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Entry {
    /// The kernel as in the manifest: `debian:cloud`.
    reference: String,
    /// Name of the architecture, as in `--arch`.
    arch: String,
    package: String,
    #[serde(rename = "package-version")]
    version: String,
    sha256: String,
}

impl Entry {
    fn pin(&self) -> Pin {
        Pin { package: self.package.clone(), version: self.version.clone(), sha256: self.sha256.clone() }
    }

    fn is(&self, reference: &str, arch: Arch) -> bool {
        self.reference == reference && self.arch == arch.name()
    }
}

/// Returns the path of a manifest's lock.
pub fn path(manifest: &Path) -> PathBuf {
    manifest.with_extension("lock")
}

/// Fetches the packages of the plan's kernels and pins the plan to them. Reads the lock at `path`, and changes it as `mode`
/// allows. Kernels of the command line are not in the lock.
pub fn apply(
    plan: &mut Plan,
    path: &Path,
    mode: LockMode,
    cache: &Cache,
    listener: &mut dyn Listener,
) -> Result<(), LockError> {
    let wanted = wanted(plan);
    if wanted.is_empty() {
        return Ok(());
    }
    let before = read(path)?;
    let mut lock = before.clone();
    for (kernel, arch) in wanted {
        let reference = plan.spec.kernels[kernel].kernel.clone().unwrap_or_default();
        let Some(package) = KernelPackage::from_reference(OsStr::new(&reference)) else { continue };
        let failed = |source| LockError::Fetch { reference: reference.clone(), arch, source };
        let package = package.map_err(failed)?;
        let known = lock.kernel.iter().find(|entry| entry.is(&reference, arch)).map(Entry::pin);
        let fetch = Fetch { arch, cache, refresh: mode == LockMode::Update };
        let is_cached = match (&known, mode) {
            (Some(pin), LockMode::Extend | LockMode::Locked) => fetch.has_pinned(pin),
            (None, LockMode::Extend) => fetch.has(&Packages::Kernel(package.clone())),
            // Nothing is fetched.
            (None, LockMode::Locked) => true,
            (_, LockMode::Update) => false,
        };
        if !is_cached {
            listener.note(&format!("fetching {reference} for {arch} with apt, once"));
        }
        let progress = &mut |doing: &str| listener.progress(doing);
        let pin = match (known, mode) {
            (Some(pin), LockMode::Extend | LockMode::Locked) => {
                fetch.pinned(&pin, &package, progress).map_err(failed)?;
                pin
            }
            (None, LockMode::Locked) => {
                return Err(LockError::Missing { reference, arch, path: path.to_owned() });
            }
            (None, LockMode::Extend) | (_, LockMode::Update) => {
                let pin = fetch.pin(&package, progress).map_err(failed)?;
                lock.kernel.retain(|entry| !entry.is(&reference, arch));
                let Pin { package, version, sha256 } = pin.clone();
                let (reference, arch) = (reference.clone(), arch.name().to_owned());
                lock.kernel.push(Entry { reference, arch, package, version, sha256 });
                pin
            }
        };
        plan.pins.insert((kernel, arch), pin.reference());
    }
    if lock != before {
        // Entries of kernels that the manifest no longer has.
        let names: BTreeSet<&str> = plan.spec.kernels.iter().filter_map(|kernel| kernel.kernel.as_deref()).collect();
        lock.kernel.retain(|entry| names.contains(entry.reference.as_str()));
        write(path, lock)?;
    }
    Ok(())
}

/// Returns the fetched kernels of the plan's cells with their architectures.
fn wanted(plan: &Plan) -> BTreeSet<(usize, Arch)> {
    let cells = plan.cells.iter().map(|cell| (cell.kernel, plan.arch(cell.kernel, cell.machine)));
    let is_package = |kernel: usize| {
        let kernel = &plan.spec.kernels[kernel];
        // A file of this name takes precedence.
        let is_reference = kernel
            .kernel
            .as_ref()
            .is_some_and(|name| KernelPackage::from_reference(OsStr::new(name)).is_some() && !Path::new(name).exists());
        !kernel.is_typed && is_reference
    };
    cells
        .filter_map(|(kernel, arch)| Some((kernel, arch.or(Arch::host())?)))
        .filter(|(kernel, _)| is_package(*kernel))
        .collect()
}

/// Reads a lock; an empty one if the file is missing.
fn read(path: &Path) -> Result<Lock, LockError> {
    let failed = |source| LockError::Read { path: path.to_owned(), source };
    let invalid = |why: String| LockError::Invalid { path: path.to_owned(), why };
    let text = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Lock { version: VERSION, kernel: Vec::new() });
        }
        found if found.as_ref().is_ok_and(|found| found.len() > LIMIT) => {
            return Err(invalid(format!("size exceeds the limit of {LIMIT} bytes")));
        }
        _ => fs::read_to_string(path).map_err(failed)?,
    };
    let lock: Lock = toml::from_str(&text).map_err(|error| invalid(error.message().replace('\n', "; ")))?;
    if lock.version != VERSION {
        return Err(invalid(format!("expected version {VERSION}, found {}", lock.version)));
    }
    match lock.kernel.iter().find(|entry| !entry.pin().is_valid()) {
        Some(entry) => Err(invalid(format!("invalid entry of {} for {}", entry.reference, entry.arch))),
        None => Ok(lock),
    }
}

/// Writes a lock, its entries sorted.
fn write(path: &Path, mut lock: Lock) -> Result<(), LockError> {
    lock.kernel.sort();
    let text =
        toml::to_string(&lock).map_err(|error| LockError::Invalid { path: path.to_owned(), why: error.to_string() })?;
    let mut output = Output::create(path)?;
    let name = path.display().to_string();
    output
        .file()
        .write_all(format!("{HEAD}{text}").as_bytes())
        .map_err(|source| WriteError::Output { name, source })?;
    output.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Entry, LockMode, apply, path, read, write};
    use crate::cache::Cache;
    use crate::guest::Silent;
    use crate::suite::plan::{Filter, Plan};
    use crate::suite::tests::fixtures::spec;
    use std::fs;
    use std::path::Path;

    fn entry(reference: &str) -> Entry {
        Entry {
            reference: reference.to_owned(),
            arch: "x86_64".to_owned(),
            package: "linux-image-6.1.0-1-amd64".to_owned(),
            version: "6.1.1-1".to_owned(),
            sha256: "0".repeat(64),
        }
    }

    #[test]
    fn a_lock_is_read_back_in_order_and_an_invalid_one_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = path(&dir.path().join("bootling.toml"));
        assert!(file.ends_with("bootling.lock"));
        let mut lock = read(&file).expect("a missing lock is empty");
        lock.kernel = vec![entry("debian:cloud"), entry("debian:")];
        write(&file, lock).expect("written");
        let text = fs::read_to_string(&file).expect("a lock");
        assert!(text.starts_with("# Packages") && text.contains("package-version = \"6.1.1-1\""), "{text}");
        assert_eq!(read(&file).expect("read").kernel, [entry("debian:"), entry("debian:cloud")]);
        for (from, to, said) in [
            ("version = 1\n", "version = 2\n", "expected version 1, found 2"),
            ("sha256 = \"00", "sha256 = \"zz", "invalid entry of debian: for x86_64"),
            ("linux-image", "../linux-image", "invalid entry of debian:"),
            ("[[kernel]]", "[[kernel", "failed to read"),
        ] {
            fs::write(&file, text.replacen(from, to, 1)).expect("written");
            let error = read(&file).expect_err(from).to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn a_locked_matrix_refuses_kernels_without_an_entry_and_ignores_files() {
        let dir = tempfile::tempdir().expect("a directory");
        let cache = Cache::at(dir.path().join("cache"), 1 << 20).expect("a cache");
        let file = dir.path().join("bootling.lock");
        let apply = |kernel: &str| {
            let text = format!(
                "[kernels]\nk = {kernel:?}\n[machines]\nm = {{ arch = \"aarch64\" }}\n[[test]]\nname = 't'\nrun = 'x'\n"
            );
            let mut plan = Plan::new(spec(&text), &Filter::default(), None).expect("a plan");
            apply(&mut plan, &file, LockMode::Locked, &cache, &mut Silent)
        };
        apply("./vmlinuz").expect("not a package");
        let error = apply("debian:cloud").expect_err("not locked").to_string();
        assert!(
            error.starts_with("kernel debian:cloud for aarch64 is not in ") && error.ends_with("does not change"),
            "{error}"
        );
        assert!(!Path::new(&file).exists());
    }
}
