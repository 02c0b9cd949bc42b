//! Names of packages as users type them: `debian:cloud` in place of a kernel, `debian:bash,iproute2` in place of a root.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

use super::error::FetchError;

/// Packages of a root if none are requested.
pub const DEFAULT_ROOT: [&str; 3] = ["bash", "busybox-static", "coreutils"];
/// Package that each root contains: an image without busybox would have no shell, mount and cat.
const BUSYBOX: &str = "busybox-static";
/// Start of a reference.
const PREFIX: &str = "debian:";
/// Start of the name of each package with the image of a kernel.
pub(super) const IMAGE: &str = "linux-image-";

/// A kernel's package.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelPackage {
    /// The package (`linux-image-...`), the name of a meta-package without `linux-image-` (`cloud`, `6.12`), or empty for the
    /// default one.
    name: String,
    /// Its version; `None`: the newest one.
    pub(super) version: Option<String>,
}

impl KernelPackage {
    /// Parses `[NAME[=VERSION]]`.
    pub fn parse(text: &str) -> Result<Self, FetchError> {
        let (name, version) = match text.split_once('=') {
            None => (text, None),
            Some((name, version)) if name.starts_with(IMAGE) && is_version(version) => (name, Some(version.to_owned())),
            Some(_) => return Err(FetchError::Version(text.to_owned())),
        };
        let package = Self { name: name.to_owned(), version };
        // The architecture is a valid part of a name.
        if is_package(&package.package("amd64")) { Ok(package) } else { Err(FetchError::Name(text.to_owned())) }
    }

    /// Parses `debian:[NAME[=VERSION]]`. Returns `None` for anything else, such as a path.
    pub fn from_reference(text: &OsStr) -> Option<Result<Self, FetchError>> {
        text.to_str()?.strip_prefix(PREFIX).map(Self::parse)
    }

    /// Returns the name of the package, or of a meta-package that depends on it.
    pub(super) fn package(&self, debian: &str) -> String {
        match self.name.as_str() {
            "" => format!("{IMAGE}{debian}"),
            name if name.starts_with(IMAGE) => name.to_owned(),
            name => format!("{IMAGE}{name}-{debian}"),
        }
    }
}

/// The packages of a root, in alphabetical order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootPackages(Vec<String>);

impl RootPackages {
    /// Checks the names of packages. Without any, the root has [`DEFAULT_ROOT`]; busybox-static is always added.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, FetchError> {
        let mut names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        if let Some(invalid) = names.iter().find(|name| !is_package(name)) {
            return Err(FetchError::Name(invalid.clone()));
        }
        if names.is_empty() {
            names.extend(DEFAULT_ROOT.map(str::to_owned));
        }
        names.push(BUSYBOX.to_owned());
        names.sort();
        names.dedup();
        Ok(Self(names))
    }

    /// Parses `debian:[PACKAGE[,PACKAGE...]]`. Returns `None` for anything else, such as a path.
    pub fn from_reference(path: &Path) -> Option<Result<Self, FetchError>> {
        let names = path.to_str()?.strip_prefix(PREFIX)?;
        Some(Self::new(names.split(',').filter(|_| !names.is_empty())))
    }

    /// Returns the names.
    pub(super) fn names(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for KernelPackage {
    /// Formats the reference.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.name)?;
        self.version.iter().try_for_each(|version| write!(f, "={version}"))
    }
}

impl fmt::Display for RootPackages {
    /// Formats the reference.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.0.join(","))
    }
}

/// Returns a path relative to `directory`, or a reference unchanged.
pub(crate) fn beside(directory: &Path, typed: impl Into<PathBuf>) -> PathBuf {
    let typed = typed.into();
    if typed.to_str().is_some_and(|text| text.starts_with(PREFIX)) { typed } else { directory.join(typed) }
}

/// Returns true for a valid package name (Debian policy, section 5.6.1). No program mistakes such a name for an option
/// or a path.
pub(super) fn is_package(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
    name.len() > 1 && name.bytes().all(plain) && name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
}

/// Returns true for a valid version (Debian policy, section 5.6.12).
pub(super) fn is_version(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".+-~:".contains(&byte);
    text.starts_with(|first: char| first.is_ascii_digit()) && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::{KernelPackage, RootPackages, is_package};
    use std::ffi::OsStr;
    use std::path::Path;

    #[test]
    fn kernels_are_named_by_their_packages_or_by_what_differs() {
        for (name, package) in [
            ("", "linux-image-arm64"),
            ("cloud", "linux-image-cloud-arm64"),
            ("6.12", "linux-image-6.12-arm64"),
            ("linux-image-6.1.0-56-arm64", "linux-image-6.1.0-56-arm64"),
        ] {
            assert_eq!(KernelPackage::parse(name).expect(name).package("arm64"), package);
        }
    }

    #[test]
    fn names_that_apt_takes_for_options_or_paths_are_invalid() {
        for name in ["-o", "--yes", "../x", "/tmp/x.deb", "a b", "", "A", "x=1", "x/stable", "+a"] {
            assert!(!is_package(name), "{name}");
        }
        for name in ["libstdc++6", "linux-image-6.1.0-56-arm64", "g++-12"] {
            assert!(is_package(name), "{name}");
        }
    }

    #[test]
    fn references_start_with_the_distribution_and_everything_else_is_a_path() {
        let kernel = |text: &str| KernelPackage::from_reference(OsStr::new(text));
        assert_eq!(kernel("debian:").expect("a reference").expect("valid"), KernelPackage::default());
        for path in ["debian", "./debian:", "6.12", "/debian:cloud", "Debian:"] {
            assert_eq!(kernel(path).map(|found| found.is_ok()), None, "{path}");
        }
        for invalid in ["debian:../x", "debian:a b", "debian:cloud=6.12", "debian:linux-image-6.1.0-56-arm64=-o"] {
            assert!(kernel(invalid).expect("a reference").is_err(), "{invalid}");
        }
        let pinned = kernel("debian:linux-image-6.1.0-56-arm64=1:6.1.190-2~bpo1").expect("a reference").expect("valid");
        assert_eq!(pinned.version.as_deref(), Some("1:6.1.190-2~bpo1"));
    }

    #[test]
    fn a_root_has_busybox_and_each_package_once() {
        let root = |text: &str| RootPackages::from_reference(Path::new(text)).expect("a reference");
        assert_eq!(root("debian:").expect("valid").names(), ["bash", "busybox-static", "coreutils"]);
        assert_eq!(root("debian:iproute2,bash,bash").expect("valid").names(), ["bash", "busybox-static", "iproute2"]);
        for invalid in ["debian:bash,", "debian:,", "debian:-o", "debian:bash,../x"] {
            assert!(root(invalid).is_err(), "{invalid}");
        }
        assert!(RootPackages::from_reference(Path::new("/srv/debian:")).is_none());
    }
}
