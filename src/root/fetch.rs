//! Fetches Debian packages of any architecture with the host's apt, without root: a kernel, or the packages of a root and
//! what they depend on.
//!
//! apt works in private directories, so the host's own package state is neither used nor changed. The package sources and
//! keys are the host's (`/etc/apt`), and apt verifies signatures. The results are entries of the cache: they are fetched once.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{MemfdFlags, memfd_create};

use crate::arch::Arch;
use crate::cache::{Cache, CacheError, Key, Sealing};
use crate::format::kernel::package::{data_member, tar_of};
use crate::process::Process;
use crate::process::shell::wait;
use crate::process::signals::Signals;

/// Packages of a root if none are requested.
pub const DEFAULT_ROOT: [&str; 3] = ["bash", "busybox-static", "coreutils"];

/// Maximum number of packages of a root, with those that they depend on.
const PACKAGES_LIMIT: usize = 2000;
/// Directories that link to their counterparts below `/usr`, as on an installed system.
const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

/// Failure to fetch packages.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The name of a package is invalid.
    #[error("invalid package name {0:?}: expected lowercase letters, digits, and any of +-.")]
    Name(String),
    /// apt is not installed.
    #[error("failed to run {program}: packages are fetched with Debian's apt")]
    NoApt {
        /// The program.
        program: &'static str,
        /// Cause.
        source: io::Error,
    },
    /// Debian does not support the architecture.
    #[error("no Debian packages for {0}")]
    Arch(Arch),
    /// apt failed.
    #[error("failed to {doing}: {output}")]
    Apt {
        /// Failed action, in the infinitive.
        doing: String,
        /// The last lines of its output.
        output: String,
    },
    /// Neither a kernel, nor a meta-package that depends on one.
    #[error("{package} is not a kernel: it neither starts with linux-image- nor depends on such a package")]
    NoKernel {
        /// The package.
        package: String,
    },
    /// Interrupted by a signal to bootling.
    #[error("interrupted by signal {0}")]
    Interrupted(i32),
    /// A package is damaged, or contains unsafe names.
    #[error("failed to unpack {}", path.display())]
    Unpack {
        /// The package.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// An I/O error.
    #[error("failed to {doing} {}", path.display())]
    Io {
        /// Verb, in the infinitive.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The cache is not usable.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// Packages to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packages {
    /// The package of a kernel, by its name (`linux-image-...`), the name of a meta-package without `linux-image-`
    /// (`cloud`, `6.12`), or the default one if empty.
    Kernel(String),
    /// A directory with these packages and all that they depend on, unpacked. Maintainer scripts do not run.
    Root(Vec<String>),
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
        let debian = self.arch.debian().ok_or(FetchError::Arch(self.arch))?;
        let names = match wanted {
            Packages::Kernel(name) => vec![kernel_package(name, debian)],
            Packages::Root(packages) => {
                let mut names = packages.clone();
                names.sort();
                names.dedup();
                names
            }
        };
        if let Some(name) = names.iter().find(|name| !is_package(name)) {
            return Err(FetchError::Name(name.clone()));
        }
        let kind: &[u8] = if matches!(wanted, Packages::Kernel(_)) { b"kernel" } else { b"root" };
        let parts = [kind, debian.as_bytes()].into_iter().chain(names.iter().map(String::as_bytes));
        let key = Key::of("fetch 1", &parts.collect::<Vec<_>>());
        if self.refresh {
            self.cache.discard(&key)?;
        }
        // A root has too many files to seal each of them.
        let is_root = matches!(wanted, Packages::Root(_));
        let sealing = if is_root { Sealing::ContentsExcept("") } else { Sealing::Contents };
        let directory = self.cache.tree::<FetchError>(&key, sealing, |into| {
            let mut apt = Apt::start(debian)?;
            progress(&format!("updating the package lists for {debian} (once)"));
            apt.run("apt-get", &["update"], "update the package lists")?;
            match wanted {
                Packages::Kernel(_) => {
                    let [package] = names.as_slice() else { return Ok(()) };
                    let package = apt.kernel(package)?;
                    progress(&format!("downloading {package} (once)"));
                    apt.download(&package, into)
                }
                Packages::Root(_) => {
                    progress(&format!("downloading {} and what they depend on (once)", names.join(", ")));
                    apt.root(&names, into)
                }
            }
        })?;
        match wanted {
            Packages::Root(_) => Ok(directory),
            Packages::Kernel(_) => only_file(&directory),
        }
    }
}

/// Returns the package of a kernel.
fn kernel_package(name: &str, debian: &str) -> String {
    match name {
        "" => format!("linux-image-{debian}"),
        name if name.starts_with("linux-image-") => name.to_owned(),
        name => format!("linux-image-{name}-{debian}"),
    }
}

/// Returns true for a valid package name (Debian policy, section 5.6.1). No program mistakes such a name for an option
/// or a path.
fn is_package(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
    name.len() > 1 && name.bytes().all(plain) && name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
}

/// Returns the only file in a directory.
fn only_file(directory: &Path) -> Result<PathBuf, FetchError> {
    let failed = |source| FetchError::Io { doing: "read", path: directory.to_owned(), source };
    let entry = fs::read_dir(directory).map_err(failed)?.next();
    entry.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?.map(|entry| entry.path()).map_err(failed)
}

/// apt, with private directories.
struct Apt {
    directory: tempfile::TempDir,
    signals: Signals,
}

impl Apt {
    fn start(debian: &str) -> Result<Self, FetchError> {
        let failed = |source| FetchError::Io { doing: "create", path: std::env::temp_dir(), source };
        let directory = tempfile::Builder::new().prefix("bootling-apt-").tempdir().map_err(failed)?;
        for name in ["state/lists/partial", "cache/archives/partial", "packages"] {
            DirBuilder::new().recursive(true).create(directory.path().join(name)).map_err(failed)?;
        }
        let path = directory.path().display().to_string();
        let configuration = format!(
            "Dir::State \"{path}/state\";\nDir::State::status \"{path}/status\";\nDir::Cache \"{path}/cache\";\n\
             APT::Architecture \"{debian}\";\nAPT::Architectures {{ \"{debian}\"; }};\nAPT::Sandbox::User \"\";\n\
             APT::Install-Recommends \"false\";\nAcquire::Languages \"none\";\nAcquire::Retries \"3\";\n\
             Debug::NoLocking \"true\";\n"
        );
        fs::write(directory.path().join("status"), "").map_err(failed)?;
        fs::write(directory.path().join("apt.conf"), configuration).map_err(failed)?;
        Ok(Self { directory, signals: Signals::catch().map_err(failed)? })
    }

    /// Runs a program of apt and returns its standard output.
    fn run(&mut self, program: &'static str, arguments: &[&str], doing: &str) -> Result<String, FetchError> {
        let path = self.directory.path().to_owned();
        let failed = |source| FetchError::Io { doing: "run apt in", path: path.clone(), source };
        let (out, err) = (in_memory().map_err(failed)?, in_memory().map_err(failed)?);
        let mut command = Command::new(program);
        command.arg("-q").args(arguments).current_dir(path.join("packages")).stdin(Stdio::null());
        command.env("APT_CONFIG", path.join("apt.conf")).env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive");
        command.stdout(out.try_clone().map_err(failed)?).stderr(err.try_clone().map_err(failed)?);
        let mut process = Process::start(&mut command, &[]).map_err(|source| FetchError::NoApt { program, source })?;
        let status = loop {
            if let Some(status) = process.exit().map_err(failed)? {
                break status;
            }
            if let Some(signal) = wait(&process, &mut self.signals, None).map_err(failed)? {
                return Err(FetchError::Interrupted(signal));
            }
        };
        let (output, errors) = (text(out).map_err(failed)?, text(err).map_err(failed)?);
        // apt-get update succeeds if it cannot reach a source, and warns.
        let is_incomplete = errors.contains("W: Failed to fetch");
        if !status.success() || is_incomplete {
            let lines = errors.lines().filter(|line| line.starts_with("E:") || line.starts_with("W:"));
            let lines: Vec<&str> = lines.take(5).collect();
            let output = if lines.is_empty() { format!("{program}: {status}") } else { lines.join("; ") };
            return Err(FetchError::Apt { doing: doing.to_owned(), output });
        }
        Ok(output)
    }

    /// Returns the package with the image of a kernel: `package`, or the one that the meta-package depends on.
    fn kernel(&mut self, package: &str) -> Result<String, FetchError> {
        let found = self.run("apt-cache", &["depends", package], &format!("look up package {package}"))?;
        let images = found.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        let image = images.map(str::trim).find(|name| name.starts_with("linux-image-") && is_package(name));
        match image {
            Some(image) => Ok(image.to_owned()),
            None if package.starts_with("linux-image-") => Ok(package.to_owned()),
            None => Err(FetchError::NoKernel { package: package.to_owned() }),
        }
    }

    /// Downloads a package to an empty directory.
    fn download(&mut self, package: &str, into: &Path) -> Result<(), FetchError> {
        self.run("apt-get", &["download", package], &format!("download {package}"))?;
        let downloaded = only_file(&self.directory.path().join("packages"))?;
        let to = into.join(format!("{package}.deb"));
        fs::copy(&downloaded, &to).map_err(|source| FetchError::Io { doing: "write", path: to, source })?;
        Ok(())
    }

    /// Downloads packages with all that they depend on, and unpacks them into an empty directory.
    fn root(&mut self, packages: &[String], into: &Path) -> Result<(), FetchError> {
        let mut arguments = vec!["install", "--download-only", "--assume-yes"];
        arguments.extend(packages.iter().map(String::as_str));
        self.run("apt-get", &arguments, &format!("download {}", packages.join(", ")))?;
        let archives = self.directory.path().join("cache/archives");
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| FetchError::Io { doing: "write", path, source }
        };
        for name in MERGED {
            DirBuilder::new().recursive(true).mode(0o755).create(into.join("usr").join(name)).map_err(failed(into))?;
            std::os::unix::fs::symlink(format!("usr/{name}"), into.join(name)).map_err(failed(into))?;
        }
        let entries = fs::read_dir(&archives).map_err(failed(&archives))?.take(PACKAGES_LIMIT);
        let mut files: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "deb"));
        files.sort();
        for path in files {
            unpack(&path, into).map_err(|source| FetchError::Unpack { path, source })?;
        }
        Ok(())
    }
}

/// Creates a file for output that a full disk does not hide.
fn in_memory() -> io::Result<File> {
    Ok(memfd_create("apt", MemfdFlags::CLOEXEC)?.into())
}

/// Returns the text in a file.
fn text(mut file: File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Unpacks the files of a package below `into`. Skips what only root can create, and names that lead elsewhere.
fn unpack(package: &Path, into: &Path) -> io::Result<()> {
    let file = File::open(package)?;
    let (name, member) = data_member(&file, file.metadata()?.len())?;
    let mut archive = tar::Archive::new(tar_of(&name, member)?);
    archive.set_preserve_permissions(false);
    archive.set_overwrite(true);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        // The directory exists already: another package created it, or it is one of the links to /usr.
        if kind.is_dir() && into.join(entry.path()?).is_dir() {
            continue;
        }
        if kind.is_file() || kind.is_dir() || kind.is_symlink() || kind.is_hard_link() {
            entry.unpack_in(into)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{is_package, kernel_package};

    #[test]
    fn kernels_are_named_by_their_packages_or_by_what_differs() {
        for (name, package) in [
            ("", "linux-image-arm64"),
            ("cloud", "linux-image-cloud-arm64"),
            ("6.12", "linux-image-6.12-arm64"),
            ("linux-image-6.1.0-56-arm64", "linux-image-6.1.0-56-arm64"),
        ] {
            assert_eq!(kernel_package(name, "arm64"), package);
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
}
