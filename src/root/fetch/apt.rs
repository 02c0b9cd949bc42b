//! apt with private directories: package lists, downloads, and roots from packages.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{MemfdFlags, memfd_create};

use super::error::FetchError;
use super::package::is_package;
use crate::format::kernel::package::{data_member, tar_of};
use crate::process::Process;
use crate::process::shell::wait;
use crate::process::signals::Signals;

/// Maximum number of packages of a root, with those that they depend on.
const PACKAGES_LIMIT: usize = 2000;
/// Directories that link to their counterparts below `/usr`, as on an installed system.
const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

/// apt, with private directories.
pub(super) struct Apt {
    directory: tempfile::TempDir,
    signals: Signals,
}

impl Apt {
    pub(super) fn start(debian: &str) -> Result<Self, FetchError> {
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

    /// Updates the package lists, to fetch `packages`.
    pub(super) fn update(&mut self, packages: &str) -> Result<(), FetchError> {
        let doing = format!("update the package lists for {packages}, which is not in the cache");
        self.run("apt-get", &["update"], &doing).map(drop)
    }

    /// Returns the package with the image of a kernel: `package`, or the one that the meta-package depends on.
    pub(super) fn kernel(&mut self, package: &str) -> Result<String, FetchError> {
        let found = self.run("apt-cache", &["depends", package], &format!("look up package {package}"))?;
        let images = found.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        let image = images.map(str::trim).find(|name| name.starts_with("linux-image-") && is_package(name));
        match image {
            Some(image) => Ok(image.to_owned()),
            None if package.starts_with("linux-image-") => Ok(package.to_owned()),
            None => Err(FetchError::NoKernel { package: package.to_owned() }),
        }
    }

    /// Returns the versions of a package in the package sources, the newest first.
    pub(super) fn versions(&mut self, package: &str) -> Result<Vec<String>, FetchError> {
        // PACKAGE | VERSION | SOURCE
        let found = self.run("apt-cache", &["madison", package], &format!("look up package {package}"))?;
        let mut versions: Vec<String> =
            found.lines().filter_map(|line| line.split('|').nth(1)).map(|version| version.trim().to_owned()).collect();
        versions.dedup();
        Ok(versions)
    }

    /// Downloads a package, or `PACKAGE=VERSION`, to an empty directory, as `PACKAGE.deb`.
    pub(super) fn download(&mut self, wanted: &str, into: &Path) -> Result<(), FetchError> {
        self.run("apt-get", &["download", wanted], &format!("download {wanted}"))?;
        let package = wanted.split_once('=').map_or(wanted, |(package, _)| package);
        let downloaded = package_in(&self.directory.path().join("packages"))?;
        let to = into.join(format!("{package}.deb"));
        fs::copy(&downloaded, &to).map_err(|source| FetchError::Io { doing: "write", path: to, source })?;
        Ok(())
    }

    /// Downloads packages with all that they depend on, and unpacks them into an empty directory.
    pub(super) fn root(&mut self, packages: &[String], into: &Path) -> Result<(), FetchError> {
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

/// Returns the package in a directory.
pub(super) fn package_in(directory: &Path) -> Result<PathBuf, FetchError> {
    let failed = |source| FetchError::Io { doing: "read", path: directory.to_owned(), source };
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            return Ok(path);
        }
    }
    Err(failed(io::ErrorKind::NotFound.into()))
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
