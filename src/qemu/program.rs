//! QEMU program: its path, version and features.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use serde::{Deserialize, Serialize};

use crate::arch::{Arch, Properties};
use crate::cache::{Cache, CacheError, Key};
use crate::process::Process;

/// Timeout for a version query, sufficient on slow hosts.
const PATIENCE: Timespec = Timespec { tv_sec: 20, tv_nsec: 0 };
/// Maximum size of an output that is read, in bytes.
const MAX_OUTPUT: u64 = 4096;

/// A QEMU system emulator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qemu {
    /// Absolute path of the program.
    pub path: PathBuf,
    /// Detected version and features.
    pub facts: QemuFacts,
}

/// Version and features of a QEMU program; cached until the file changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QemuFacts {
    /// Version, such as `7.2.22`, or the text printed in its place.
    pub version: String,
    /// True if it was built with `-sandbox`.
    pub(crate) sandbox: bool,
}

/// Error: no usable QEMU.
#[derive(Debug, thiserror::Error)]
pub enum QemuError {
    /// No known program is installed.
    #[error(
        "QEMU not found: none of {tried} in PATH or /usr/libexec\n  install it (Debian: apt-get install {package}), or pass its path with --qemu PATH"
    )]
    NotFound {
        /// Program names that were tried.
        tried: String,
        /// Debian package name.
        package: &'static str,
    },
    /// The given program does not exist or is not executable.
    #[error("QEMU not found: {} does not exist or is not an executable file", path.display())]
    NotThere {
        /// Path as given by the user.
        path: PathBuf,
    },
    /// The program does not behave like QEMU.
    #[error("failed to get the version of {}: {output}", path.display())]
    NotQemu {
        /// Path of the program.
        path: PathBuf,
        /// Actual result.
        output: String,
    },
}

impl Qemu {
    /// Finds the program for `arch`, or the given one, and detects its features. The result is kept in `cache` under
    /// the file's identity, because starting QEMU for a query takes longer than everything else before the boot.
    pub fn find(named: Option<&Path>, arch: Arch, cache: Option<&Cache>) -> Result<Self, QemuError> {
        let path = match named {
            Some(name) => locate(name.as_os_str()).ok_or_else(|| QemuError::NotThere { path: name.to_owned() })?,
            None => locate_for(arch)?,
        };
        let facts = match cache {
            Some(cache) => remembered(&path, cache)?,
            None => ask(&path)?,
        };
        Ok(Self { path, facts })
    }

    /// Returns the ROM search directories in order; empty if QEMU does not report them. The result is kept in `cache`.
    pub(crate) fn data(&self, cache: &Cache) -> Vec<PathBuf> {
        self.query("qemu data 1", &["-L", "help"], cache).lines().map(PathBuf::from).collect()
    }

    /// Returns true unless the program reports that it was built without user-mode networks. The result is kept in `cache`.
    pub(crate) fn has_slirp(&self, cache: &Cache) -> bool {
        let names = self.query("qemu netdevs 1", &["-netdev", "help"], cache);
        names.is_empty() || names.lines().any(|name| name.trim() == "user")
    }

    /// Returns the output of a query, which is kept in `cache` as the entry `kind` of this program; empty if it failed.
    fn query(&self, kind: &str, arguments: &[&str], cache: &Cache) -> String {
        let Ok(metadata) = fs::metadata(&self.path) else { return String::new() };
        let asked = cache.file::<Failed>(&Key::of_file(kind, &self.path, &metadata), |file| {
            // A failed query is cached too, and not repeated.
            let output = answer(&self.path, arguments).ok().filter(|(status, _)| status.success());
            let text = output.map(|(_, text)| text).unwrap_or_default();
            file.write_all(text.as_bytes()).map_err(|_| Failed::Keeping)
        });
        asked.ok().and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default()
    }
}

/// Returns the cached facts, or queries the program if its file has changed.
fn remembered(path: &Path, cache: &Cache) -> Result<QemuFacts, QemuError> {
    let Ok(metadata) = fs::metadata(path) else { return Err(QemuError::NotThere { path: path.to_owned() }) };
    let key = Key::of_file("qemu facts 1", path, &metadata);
    let mut asked = None;
    let kept = cache.file::<Failed>(&key, |file| {
        let facts = ask(path).map_err(Failed::Asking)?;
        let text = serde_json::to_vec(&facts).map_err(|_| Failed::Keeping)?;
        asked = Some(facts);
        file.write_all(&text).map_err(|_| Failed::Keeping)
    });
    match (kept, asked) {
        (Err(Failed::Asking(error)), _) => Err(error),
        // A full or read-only cache only costs time.
        (_, Some(facts)) => Ok(facts),
        (Ok(file), None) => match fs::read(file).ok().and_then(|text| serde_json::from_slice(&text).ok()) {
            Some(facts) => Ok(facts),
            None => ask(path),
        },
        (Err(Failed::Keeping), None) => ask(path),
    }
}

/// Failure of the query, or of storing its result.
enum Failed {
    Asking(QemuError),
    Keeping,
}

impl From<CacheError> for Failed {
    fn from(_: CacheError) -> Self {
        Self::Keeping
    }
}

/// Debian package and program names for an architecture, the most common name first.
fn programs(arch: Arch) -> (&'static str, Vec<String>) {
    let Properties { qemu_package, qemu, .. } = arch.properties();
    let mut names = vec![format!("qemu-system-{qemu}")];
    if Arch::host() == Some(arch) {
        names.extend(["qemu-kvm".to_owned(), "kvm".to_owned()]);
    }
    (qemu_package, names)
}

fn locate_for(arch: Arch) -> Result<PathBuf, QemuError> {
    let (package, names) = programs(arch);
    let found = names.iter().find_map(|name| locate(OsStr::new(name)));
    found.ok_or_else(|| QemuError::NotFound { tried: names.join(", "), package })
}

/// Finds a program by path, or by name in PATH and in `/usr/libexec` (RHEL installs `qemu-kvm` there).
fn locate(name: &OsStr) -> Option<PathBuf> {
    let as_path = Path::new(name);
    if as_path.components().count() > 1 {
        return is_program(as_path).then(|| std::path::absolute(as_path).ok()).flatten();
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/bin"));
    let directories = std::env::split_paths(&path).chain([PathBuf::from("/usr/libexec")]);
    directories.map(|directory| directory.join(name)).find(|candidate| is_program(candidate))
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Queries version and sandbox support; runs the program up to two times. `-sandbox on` is refused during option
/// parsing if it was not compiled in (`softmmu/vl.c`), and `-version` exits directly afterwards.
fn ask(path: &Path) -> Result<QemuFacts, QemuError> {
    let not_qemu = |output: String| QemuError::NotQemu { path: path.to_owned(), output };
    let run = |arguments: &[&str]| answer(path, arguments).map_err(|error| not_qemu(error.to_string()));
    let (status, mut output) = run(&["-sandbox", "on", "-version"])?;
    let sandbox = status.success();
    if !sandbox {
        let (status, without) = run(&["-version"])?;
        if !status.success() {
            return Err(not_qemu(format!("{status}, output {:?}", without.trim_end())));
        }
        output = without;
    }
    // A wrapper may print something first.
    let Some((_, after)) = output.split_once("QEMU emulator version ") else {
        return Err(not_qemu(format!("unexpected output {:?}", output.trim_end())));
    };
    let version = after.split_whitespace().next().unwrap_or(after).to_owned();
    Ok(QemuFacts { version, sandbox })
}

/// Exit status and output of a short run of the program; the output is limited to [`MAX_OUTPUT`] bytes.
fn answer(path: &Path, arguments: &[&str]) -> io::Result<(ExitStatus, String)> {
    let mut command = Command::new(path);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = Process::start(&mut command, &[])?;
    poll(&mut [PollFd::new(process.ended(), PollFlags::IN)], Some(&PATIENCE))?;
    // The process group is killed with it; otherwise background processes would keep the pipes open.
    let Some(status) = process.exit()? else {
        return Err(io::Error::other(format!("no answer within {} s", PATIENCE.tv_sec)));
    };
    let mut output = Vec::new();
    for pipe in
        [process.take_stdout().map(OwnedFd::from), process.take_stderr().map(OwnedFd::from)].into_iter().flatten()
    {
        File::from(pipe).take(MAX_OUTPUT).read_to_end(&mut output)?;
    }
    Ok((status, String::from_utf8_lossy(&output).into_owned()))
}
