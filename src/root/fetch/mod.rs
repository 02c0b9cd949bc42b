//! Fetches Debian packages of any architecture with the host's apt, without root: a kernel, or the packages of a root and
//! what they depend on.
//!
//! apt works in private directories, so the host's own package state is neither used nor changed. The package sources and
//! keys are the host's (`/etc/apt`), and apt verifies signatures. The results are entries of the cache: they are fetched once.

mod apt;
pub mod error;
pub mod package;
pub mod pin;

use std::fmt;
use std::path::{Path, PathBuf};

use self::apt::{Apt, package_in};
pub use self::error::FetchError;
pub use self::package::{DEFAULT_ROOT, KernelPackage, RootPackages};
pub use self::pin::Pin;
use crate::arch::Arch;
use crate::cache::{Cache, Key, Sealing};

/// Packages to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packages {
    /// The package of a kernel.
    Kernel(KernelPackage),
    /// A directory with these packages and all that they depend on, unpacked. Maintainer scripts do not run.
    Root(RootPackages),
}

impl fmt::Display for Packages {
    /// Formats the reference.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel(kernel) => kernel.fmt(f),
            Self::Root(packages) => packages.fmt(f),
        }
    }
}

/// Fetches packages for one architecture.
#[derive(Debug)]
pub struct Fetch<'a> {
    /// The architecture.
    pub arch: Arch,
    /// The cache that stores the result.
    pub cache: &'a Cache,
    /// True to fetch again what the cache already contains.
    pub refresh: bool,
}

impl Fetch<'_> {
    /// Returns the path of the package or the root. Calls `progress` for each step that takes noticeably long.
    pub fn get(&self, wanted: &Packages, progress: &mut dyn FnMut(&str)) -> Result<PathBuf, FetchError> {
        let debian = self.debian()?;
        let key = key(wanted, debian);
        if self.refresh {
            self.cache.discard(&key)?;
        }
        match wanted {
            Packages::Kernel(kernel) => {
                let directory =
                    self.cache.tree::<FetchError>(&key, Sealing::Contents, |into| match &kernel.version {
                        None => {
                            let mut apt = self.apt(&kernel.package(debian), progress)?;
                            let package = apt.kernel(&kernel.package(debian))?;
                            progress(&format!("downloading {package} (once)"));
                            apt.download(&package, into)
                        }
                        Some(version) => self.version(&kernel.package(debian), version, None, into, progress),
                    })?;
                package_in(&directory)
            }
            // A root has too many files to seal each of them.
            Packages::Root(packages) => self.cache.tree::<FetchError>(&key, Sealing::ContentsExcept(""), |into| {
                let names = packages.names();
                let mut apt = self.apt(&names.join(", "), progress)?;
                progress(&format!("downloading {} and what they depend on (once)", names.join(", ")));
                apt.root(names, into)
            }),
        }
    }

    /// Returns true if the cache has the package or the root.
    pub(crate) fn has(&self, wanted: &Packages) -> bool {
        self.debian().is_ok_and(|debian| self.cache.get(&key(wanted, debian)).is_some())
    }

    fn debian(&self) -> Result<&'static str, FetchError> {
        self.arch.debian().ok_or(FetchError::Arch(self.arch))
    }

    /// Returns apt with current package lists, to fetch `packages`.
    fn apt(&self, packages: &str, progress: &mut dyn FnMut(&str)) -> Result<Apt, FetchError> {
        let debian = self.debian()?;
        let mut apt = Apt::start(debian)?;
        progress(&format!("updating the package lists for {debian} (once)"));
        apt.update(packages)?;
        Ok(apt)
    }

    /// Downloads a version of a package to an empty directory. `origin`: the meta-package that names its successor if it is
    /// no longer available.
    fn version(
        &self,
        package: &str,
        version: &str,
        origin: Option<&str>,
        into: &Path,
        progress: &mut dyn FnMut(&str),
    ) -> Result<(), FetchError> {
        let mut apt = self.apt(&format!("{package} {version}"), progress)?;
        let mut found = apt.versions(package)?;
        if !found.iter().any(|found| found == version) {
            if let Some(successor) = origin.filter(|_| found.is_empty()).and_then(|origin| apt.kernel(origin).ok()) {
                let versions = apt.versions(&successor)?;
                found = versions.into_iter().map(|version| format!("{successor} {version}")).collect();
            }
            return Err(FetchError::NoVersion { package: package.to_owned(), version: version.to_owned(), found });
        }
        progress(&format!("downloading {package} {version} (once)"));
        apt.download(&format!("{package}={version}"), into)?;
        pin::record(into, &pin::digest(&package_in(into)?)?)
    }
}

/// Returns the key of an entry of the cache.
fn key(wanted: &Packages, debian: &str) -> Key {
    let (kind, names) = match wanted {
        Packages::Kernel(kernel) => {
            ("kernel", [Some(kernel.package(debian)), kernel.version.clone()].into_iter().flatten().collect())
        }
        Packages::Root(packages) => ("root", packages.names().to_vec()),
    };
    let parts = [kind, debian].into_iter().chain(names.iter().map(String::as_str)).map(str::as_bytes);
    Key::of("fetch 1", &parts.collect::<Vec<_>>())
}
