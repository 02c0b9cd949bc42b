//! What can be wrong with the programs and files that an image is to hold.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use super::closure::Missing;
use super::glob::GlobError;
use super::root::RootError;
use crate::arch::Arch;
use crate::format::archive_path::ArchivePath;
use crate::format::elf::ElfError;
use crate::format::script::MAX_NESTED;

/// A userland that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum UserlandError {
    /// A path could not be looked up.
    #[error(transparent)]
    Root(#[from] RootError),
    /// A program or library is damaged.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// A pattern could not be followed.
    #[error("looking for {option}")]
    Glob {
        /// The option as typed.
        option: String,
        /// What is wrong.
        source: GlobError,
    },
    /// A name that is in no directory of PATH.
    #[error("looking for program {} in PATH: not in {}{}", name.display(), list(tried), also(*no_applet))]
    NoProgram {
        /// The name.
        name: OsString,
        /// The directories.
        tried: Vec<PathBuf>,
        /// True where busybox was asked too.
        no_applet: bool,
    },
    /// A program by path, where nothing stands.
    #[error("looking for program {}: there is no such file", path.display())]
    NoSuchFile {
        /// The path, as this process would open it.
        path: PathBuf,
    },
    /// Something that the kernel would not run.
    #[error("including program {}: {why}", path.display())]
    NotAProgram {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A program for another machine.
    #[error("including program {}: it is for {is}, and the guest is {guest}", path.display())]
    WrongArch {
        /// The file.
        path: PathBuf,
        /// Its architecture.
        is: String,
        /// The guest's.
        guest: Arch,
    },
    /// Libraries that are nowhere.
    #[error("looking for the libraries of {program}: {}", missing.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    MissingLibraries {
        /// The program.
        program: ArchivePath,
        /// Each library, who needs it, and everywhere that was tried.
        missing: Vec<Missing>,
    },
    /// A `#!` line that names nothing.
    #[error("looking for {}, interpreter of script {script}: {}{}", name.display(), tried_for(tried), also(*no_applet))]
    NoInterpreter {
        /// The interpreter, or the program that `env` is to start.
        name: OsString,
        /// The script.
        script: ArchivePath,
        /// Directories, where it was looked for by name.
        tried: Vec<PathBuf>,
        /// True where busybox was asked too.
        no_applet: bool,
    },
    /// Scripts whose interpreters are scripts, and so on.
    #[error("following the interpreters of {script}: the kernel gives up after {MAX_NESTED} scripts")]
    NestedScripts {
        /// The first of them.
        script: ArchivePath,
    },
    /// No busybox.
    #[error("looking for busybox: not in {} (try: apt-get install busybox-static, or --no-busybox)", list(tried))]
    NoBusybox {
        /// The directories.
        tried: Vec<PathBuf>,
    },
    /// A busybox that cannot be understood.
    #[error("reading the applet names of {}: found no table of them", path.display())]
    NoApplets {
        /// The file.
        path: PathBuf,
    },
    /// Nothing to copy.
    #[error("looking for what {option} names: nothing matches")]
    NothingToCopy {
        /// The option as typed.
        option: String,
    },
    /// A tree that changes, or cannot be read.
    #[error("copying {}, as {option} wants{}", path.display(), vanished(source))]
    Copy {
        /// The file or directory.
        path: PathBuf,
        /// The option as typed.
        option: String,
        /// What the file system said.
        source: io::Error,
    },
}

fn list(dirs: &[PathBuf]) -> String {
    dirs.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn tried_for(dirs: &[PathBuf]) -> String {
    if dirs.is_empty() { "no such file".to_owned() } else { format!("not in {}", list(dirs)) }
}

const fn also(no_applet: bool) -> &'static str {
    if no_applet { ", and no applet of busybox" } else { "" }
}

fn vanished(source: &io::Error) -> &'static str {
    if source.kind() == io::ErrorKind::NotFound { ": it vanished while it was read" } else { "" }
}
