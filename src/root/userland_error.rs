//! Errors in the programs and files of an image.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use super::binary::BinaryError;
use super::closure::Missing;
use super::directory::RootError;
use super::glob::GlobError;
use crate::arch::Arch;
use crate::format::archive_path::ArchivePath;
use crate::format::script::MAX_NESTED;

/// Failure to resolve a userland.
#[derive(Debug, thiserror::Error)]
pub enum UserlandError {
    /// A path could not be looked up.
    #[error(transparent)]
    Root(#[from] RootError),
    /// A program or library is damaged or unreadable.
    #[error(transparent)]
    Elf(#[from] BinaryError),
    /// A pattern could not be expanded.
    #[error("failed to expand {option}")]
    Glob {
        /// The option as typed.
        option: String,
        /// The underlying error.
        source: GlobError,
    },
    /// A program name that is in no directory of PATH.
    #[error("program {} not found in PATH: not in {}{}", name.display(), list(tried), applet_note(*no_applet))]
    NoProgram {
        /// The name.
        name: OsString,
        /// The directories.
        tried: Vec<PathBuf>,
        /// True if busybox applets were searched too.
        no_applet: bool,
    },
    /// A program path that does not exist.
    #[error("program {}: no such file", path.display())]
    NoSuchFile {
        /// The path, as this process would open it.
        path: PathBuf,
    },
    /// A file that the kernel cannot run.
    #[error("failed to include program {}: {why}", path.display())]
    NotAProgram {
        /// The file.
        path: PathBuf,
        /// The fault.
        why: &'static str,
    },
    /// A program for another architecture.
    #[error("failed to include program {}: built for {is}, but the guest is {guest}", path.display())]
    WrongArch {
        /// The file.
        path: PathBuf,
        /// Its architecture.
        is: String,
        /// The guest's architecture.
        guest: Arch,
    },
    /// Libraries that were not found.
    #[error("libraries of {program} not found: {}", missing.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    MissingLibraries {
        /// The program.
        program: ArchivePath,
        /// Each library with its requiring file and all locations searched.
        missing: Vec<Missing>,
    },
    /// A script interpreter that was not found.
    #[error("interpreter {} of script {script} not found: {}{}", name.display(), tried_for(tried), applet_note(*no_applet))]
    NoInterpreter {
        /// The interpreter, or the program that `env` starts.
        name: OsString,
        /// The script.
        script: ArchivePath,
        /// Directories, if it was searched by name.
        tried: Vec<PathBuf>,
        /// True if busybox applets were searched too.
        no_applet: bool,
    },
    /// Too many nested script interpreters.
    #[error("failed to resolve the interpreters of {script}: the kernel supports at most {MAX_NESTED} nested scripts")]
    NestedScripts {
        /// The first script.
        script: ArchivePath,
    },
    /// busybox was not found.
    #[error("busybox not found: not in {} (try: apt-get install busybox-static, or --no-busybox)", list(tried))]
    NoBusybox {
        /// The directories.
        tried: Vec<PathBuf>,
    },
    /// A busybox without a recognizable applet table.
    #[error("failed to read the applet names of {}: no applet table found", path.display())]
    NoApplets {
        /// The file.
        path: PathBuf,
    },
    /// A copy source that matches no file.
    #[error("no file matches {option}")]
    NothingToCopy {
        /// The option as typed.
        option: String,
    },
    /// A file that changed or cannot be read.
    #[error("failed to copy {} for {option}{}", path.display(), vanished(source))]
    Copy {
        /// The file or directory.
        path: PathBuf,
        /// The option as typed.
        option: String,
        /// The underlying error.
        source: io::Error,
    },
}

fn list(dirs: &[PathBuf]) -> String {
    dirs.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn tried_for(dirs: &[PathBuf]) -> String {
    if dirs.is_empty() { "no such file".to_owned() } else { format!("not in {}", list(dirs)) }
}

const fn applet_note(no_applet: bool) -> &'static str {
    if no_applet { ", and not a busybox applet" } else { "" }
}

fn vanished(source: &io::Error) -> &'static str {
    if source.kind() == io::ErrorKind::NotFound { ": it vanished while being read" } else { "" }
}
