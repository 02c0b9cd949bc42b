//! The QEMU program: where it is, and what it can do.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use serde::{Deserialize, Serialize};

use crate::arch::Arch;
use crate::cache::{Cache, CacheError, Key};
use crate::process::Process;

/// How long a program may take to say its version, on the slowest of hosts.
const PATIENCE: Timespec = Timespec { tv_sec: 20, tv_nsec: 0 };
/// How much of what it says is read.
const SAID: u64 = 4096;

/// A QEMU system emulator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qemu {
    /// The program, absolute.
    pub path: PathBuf,
    /// What it can do.
    pub facts: QemuFacts,
}

/// What one QEMU program said about itself; remembered as long as the file stays the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QemuFacts {
    /// Its version: `7.2.22`, or what it printed where that is no version.
    pub version: String,
    /// Whether it was built with `-sandbox`.
    pub sandbox: bool,
}

/// No QEMU that can be used.
#[derive(Debug, thiserror::Error)]
pub enum QemuError {
    /// None of the usual programs is installed.
    #[error(
        "finding QEMU: none of {tried} in PATH or /usr/libexec\n  install it (Debian: apt-get install {package}), or name one with --qemu PATH"
    )]
    NotFound {
        /// Names that were tried.
        tried: String,
        /// Debian's package.
        package: &'static str,
    },
    /// The named program is not there.
    #[error("finding QEMU: {} is not there or not a program", path.display())]
    NotThere {
        /// As typed.
        path: PathBuf,
    },
    /// The program does not behave like QEMU.
    #[error("asking {} for its version: {said}", path.display())]
    NotQemu {
        /// The program.
        path: PathBuf,
        /// What happened instead.
        said: String,
    },
}

impl Qemu {
    /// Finds the program for `arch`, or the one named, and learns what it can do. Its answers are kept in `cache`
    /// under the file's identity, since starting QEMU only to ask takes longer than everything else before the boot.
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
}

impl Qemu {
    /// The directories that it takes its ROMs from, in order; none where it does not tell. Its answer is kept in `cache`.
    pub fn data(&self, cache: &Cache) -> Vec<PathBuf> {
        let Ok(metadata) = fs::metadata(&self.path) else { return Vec::new() };
        let asked = cache.file::<Failed>(&Key::of_file("qemu data 1", &self.path, &metadata), |file| {
            // One that does not tell is not asked again.
            let told = answer(&self.path, &["-L", "help"]).ok().filter(|(status, _)| status.success());
            let places = told.map(|(_, places)| places).unwrap_or_default();
            file.write_all(places.as_bytes()).map_err(|_| Failed::Keeping)
        });
        let places = asked.ok().and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default();
        places.lines().map(PathBuf::from).collect()
    }
}

/// What the program said when it was last asked, as long as the file is the same.
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

/// Asking failed, or only keeping the answer did.
enum Failed {
    Asking(QemuError),
    Keeping,
}

impl From<CacheError> for Failed {
    fn from(_: CacheError) -> Self {
        Self::Keeping
    }
}

/// Debian's package and the program names for an architecture, most likely first.
fn programs(arch: Arch) -> (&'static str, Vec<String>) {
    let (package, suffix) = match arch {
        Arch::X86_64 | Arch::X32 => ("qemu-system-x86", "x86_64"),
        Arch::X86 => ("qemu-system-x86", "i386"),
        Arch::Aarch64 => ("qemu-system-arm", "aarch64"),
        Arch::Arm => ("qemu-system-arm", "arm"),
        Arch::Riscv64 => ("qemu-system-misc", "riscv64"),
        Arch::S390x => ("qemu-system-misc", "s390x"),
        Arch::Ppc64le => ("qemu-system-ppc", "ppc64"),
    };
    let mut names = vec![format!("qemu-system-{suffix}")];
    if Arch::host() == Some(arch) {
        names.extend(["qemu-kvm".to_owned(), "kvm".to_owned()]);
    }
    (package, names)
}

fn locate_for(arch: Arch) -> Result<PathBuf, QemuError> {
    let (package, names) = programs(arch);
    let found = names.iter().find_map(|name| locate(OsStr::new(name)));
    found.ok_or_else(|| QemuError::NotFound { tried: names.join(", "), package })
}

/// A program by path, or by name in PATH and in `/usr/libexec` (where RHEL keeps `qemu-kvm`).
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

/// Runs the program twice at most. `-sandbox on` is refused while options are parsed where it was not compiled in
/// (`softmmu/vl.c`), and `-version` ends the program right after.
fn ask(path: &Path) -> Result<QemuFacts, QemuError> {
    let not_qemu = |said: String| QemuError::NotQemu { path: path.to_owned(), said };
    let run = |arguments: &[&str]| answer(path, arguments).map_err(|error| not_qemu(error.to_string()));
    let (status, mut said) = run(&["-sandbox", "on", "-version"])?;
    let sandbox = status.success();
    if !sandbox {
        let (status, without) = run(&["-version"])?;
        if !status.success() {
            return Err(not_qemu(format!("{status}, and it said {:?}", without.trim_end())));
        }
        said = without;
    }
    // A wrapper may have something to say first.
    let Some((_, after)) = said.split_once("QEMU emulator version ") else {
        return Err(not_qemu(format!("it said {:?}", said.trim_end())));
    };
    let version = after.split_whitespace().next().unwrap_or(after).to_owned();
    Ok(QemuFacts { version, sandbox })
}

/// How a short run of the program ended, and what it said, at most [`SAID`] bytes.
fn answer(path: &Path, arguments: &[&str]) -> io::Result<(ExitStatus, String)> {
    let mut command = Command::new(path);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = Process::start(&mut command, &[])?;
    poll(&mut [PollFd::new(process.ended(), PollFlags::IN)], Some(&PATIENCE))?;
    // Its group ends with it, or what it has left behind would hold the pipes.
    let Some(status) = process.exit()? else {
        return Err(io::Error::other(format!("no answer within {} s", PATIENCE.tv_sec)));
    };
    let mut said = Vec::new();
    for pipe in
        [process.take_stdout().map(OwnedFd::from), process.take_stderr().map(OwnedFd::from)].into_iter().flatten()
    {
        File::from(pipe).take(SAID).read_to_end(&mut said)?;
    }
    Ok((status, String::from_utf8_lossy(&said).into_owned()))
}
