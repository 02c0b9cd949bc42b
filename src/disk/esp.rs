//! Files for the EFI system partition: files of the host, and the program that the firmware starts.
//!
//! Links are followed, since FAT has none. Rejects special files, and names that are not UTF-8.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::format::pe::{Machine, Pe, PeError};
use crate::root::request::Copy;

/// Failure to add files to the EFI system partition.
#[derive(Debug, thiserror::Error)]
pub enum EspError {
    /// An I/O error.
    #[error("failed to {doing} {}", path.display())]
    Io {
        /// Verb, in the infinitive.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The underlying error.
        source: io::Error,
    },
    /// A special file, such as a pipe or a device.
    #[error("failed to add {}: neither a file nor a directory", .0.display())]
    Kind(PathBuf),
    /// A name that is not UTF-8: names on FAT are Unicode.
    #[error("failed to add {}: name is not UTF-8 (names on FAT are Unicode)", .0.display())]
    Name(PathBuf),
    /// Not a valid UEFI program.
    #[error("failed to read {}", path.display())]
    Program {
        /// The file.
        path: PathBuf,
        /// The underlying error.
        source: PeError,
    },
    /// A program for a machine without UEFI.
    #[error("unsupported EFI program {}: no EFI/BOOT file name for {machine}", path.display())]
    Machine {
        /// The file.
        path: PathBuf,
        /// The machine.
        machine: Machine,
    },
}

impl EspError {
    /// Returns the error for a file that cannot be read.
    pub(super) fn unreadable(path: &Path, source: io::Error) -> Self {
        Self::Io { doing: "read", path: path.to_owned(), source }
    }
}

/// A file or directory to add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddedFile {
    /// Path on the partition, with `/` between names.
    pub path: String,
    /// File on the host; `None` for a directory.
    pub file: Option<PathBuf>,
    /// The requesting option.
    pub why: String,
}

/// Returns all files requested by `--add-file SRC=DST`. Without a destination, or if it ends with `/`, the source's
/// name is used.
pub fn added(copies: &[Copy]) -> Result<Vec<AddedFile>, EspError> {
    let mut found = Vec::new();
    for copy in copies {
        add(copy, &mut found)?;
    }
    Ok(found)
}

fn add(copy: &Copy, found: &mut Vec<AddedFile>) -> Result<(), EspError> {
    let source = &copy.source;
    let text = |path: &Path| path.to_str().map(str::to_owned).ok_or_else(|| EspError::Name(path.to_owned()));
    let mut destination = match &copy.destination {
        None => String::new(),
        Some(destination) => text(destination)?,
    };
    let metadata = source.metadata().map_err(|error| EspError::unreadable(source, error))?;
    if metadata.is_file() && (destination.is_empty() || destination.ends_with(['/', '\\'])) {
        destination.push_str(&text(Path::new(source.file_name().unwrap_or_default()))?);
    }
    for entry in WalkDir::new(source).follow_links(true).sort_by_file_name() {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(source).to_owned();
            let error = error.into_io_error().unwrap_or_else(|| io::Error::other("symbolic link loop"));
            EspError::unreadable(&path, error)
        })?;
        let below = entry.path().strip_prefix(source).unwrap_or(Path::new(""));
        let path =
            if below.as_os_str().is_empty() { destination.clone() } else { format!("{destination}/{}", text(below)?) };
        let kind = entry.file_type();
        let file = match (kind.is_dir(), kind.is_file()) {
            (true, _) => None,
            (false, true) => Some(entry.path().to_owned()),
            (false, false) => return Err(EspError::Kind(entry.path().to_owned())),
        };
        found.push(AddedFile { path, file, why: format!("--add-file {}", entry.path().display()) });
    }
    Ok(())
}

/// Returns the machine that an EFI program is built for.
pub fn program(path: &Path) -> Result<Machine, EspError> {
    let unreadable = |source| EspError::unreadable(path, source);
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(unreadable(io::Error::other("not a regular file")));
    }
    let pe = Pe::read(&file).map_err(|source| EspError::Program { path: path.to_owned(), source })?;
    match pe.machine.suffix() {
        Some(_) => Ok(pe.machine),
        None => Err(EspError::Machine { path: path.to_owned(), machine: pe.machine }),
    }
}

#[cfg(test)]
mod tests {
    use super::{EspError, added};
    use crate::root::request::Copy;
    use std::path::{Path, PathBuf};

    fn copy(source: &Path, destination: Option<&str>) -> Copy {
        Copy { source: source.to_owned(), destination: destination.map(PathBuf::from) }
    }

    fn paths(copies: &[Copy]) -> Vec<(String, bool)> {
        added(copies).expect("found").into_iter().map(|added| (added.path, added.file.is_some())).collect()
    }

    #[test]
    fn files_keep_their_names_by_default_and_directories_include_their_contents() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("sub")).expect("a directory");
        std::fs::write(dir.path().join("sub/b.cfg"), "b").expect("a file");
        std::fs::write(dir.path().join("a.cfg"), "a").expect("a file");
        std::os::unix::fs::symlink("sub/b.cfg", dir.path().join("link")).expect("a link");
        let a = dir.path().join("a.cfg");
        assert_eq!(
            paths(&[copy(&a, None), copy(&a, Some("EFI/")), copy(&a, Some("/EFI/x"))]),
            [("a.cfg".into(), true), ("EFI/a.cfg".into(), true), ("/EFI/x".into(), true)]
        );
        let all = [("d", false), ("d/a.cfg", true), ("d/link", true), ("d/sub", false), ("d/sub/b.cfg", true)];
        assert_eq!(paths(&[copy(dir.path(), Some("d"))]), all.map(|(path, file)| (path.to_owned(), file)));
    }

    #[test]
    fn link_loops_and_devices_are_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        std::os::unix::fs::symlink(".", dir.path().join("round")).expect("a link");
        assert!(added(&[copy(dir.path(), None)]).is_err());
        assert!(matches!(added(&[copy(Path::new("/dev/null"), None)]), Err(EspError::Kind(_))));
        let missing = dir.path().join("missing");
        let error = added(&[copy(&missing, None)]).expect_err("not there");
        assert_eq!(error.to_string(), format!("failed to read {}", missing.display()));
    }
}
