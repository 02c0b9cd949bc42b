//! What goes on the EFI system partition: files of this machine, and the program that firmware starts.
//!
//! Links are followed, since FAT has none. Refuses what is neither a file nor a directory, and names that are not UTF-8.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::format::Medium;
use crate::format::pe::{Machine, Pe, PeError};
use crate::root::request::Copy;

/// Why files cannot go on the partition.
#[derive(Debug, thiserror::Error)]
pub enum EspError {
    /// Something that cannot be read.
    #[error("{doing} {}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
    /// A pipe, a device.
    #[error("adding {}: it is neither a file nor a directory", .0.display())]
    Kind(PathBuf),
    /// FAT's names are Unicode.
    #[error("adding {}: its name is not UTF-8, and names on FAT are Unicode", .0.display())]
    Name(PathBuf),
    /// Not a program for UEFI.
    #[error("reading {}", path.display())]
    Program {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: PeError,
    },
    /// A program for a machine without UEFI.
    #[error("reading {}: it is for {machine}, which has no EFI/BOOT file name", path.display())]
    Machine {
        /// The file.
        path: PathBuf,
        /// The machine.
        machine: Machine,
    },
}

/// A file or directory to be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddedFile {
    /// Where on the partition, `/` between names.
    pub path: String,
    /// The file on this machine; `None` for a directory.
    pub file: Option<PathBuf>,
    /// How it was asked for.
    pub why: String,
}

/// Finds everything that `--add-file SRC=DST` asks for. A destination that ends with `/`, or none, takes the source's name.
pub fn added(copies: &[Copy]) -> Result<Vec<AddedFile>, EspError> {
    let mut found = Vec::new();
    for copy in copies {
        add(copy, &mut found)?;
    }
    Ok(found)
}

fn add(copy: &Copy, found: &mut Vec<AddedFile>) -> Result<(), EspError> {
    let source = &copy.source;
    let unreadable = |path: &Path, source: io::Error| EspError::Io { doing: "reading", path: path.to_owned(), source };
    let text = |path: &Path| path.to_str().map(str::to_owned).ok_or_else(|| EspError::Name(path.to_owned()));
    let mut destination = match &copy.destination {
        None => String::new(),
        Some(destination) => text(destination)?,
    };
    let metadata = source.metadata().map_err(|error| unreadable(source, error))?;
    if metadata.is_file() && (destination.is_empty() || destination.ends_with(['/', '\\'])) {
        destination.push_str(&text(Path::new(source.file_name().unwrap_or_default()))?);
    }
    for entry in WalkDir::new(source).follow_links(true).sort_by_file_name() {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(source).to_owned();
            let error = error.into_io_error().unwrap_or_else(|| io::Error::other("links that lead in a circle"));
            unreadable(&path, error)
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

/// A file as a medium.
struct Whole(File, u64);

impl Medium for Whole {
    fn size(&self) -> u64 {
        self.1
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }
}

/// For which machine an EFI program is.
pub fn program(path: &Path) -> Result<Machine, EspError> {
    let unreadable = |source| EspError::Io { doing: "reading", path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(unreadable(io::Error::other("it is not a file")));
    }
    let pe =
        Pe::read(&Whole(file, metadata.len())).map_err(|source| EspError::Program { path: path.to_owned(), source })?;
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
    fn files_keep_their_names_where_none_is_given_and_directories_bring_what_is_in_them() {
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
    fn circles_and_devices_are_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        std::os::unix::fs::symlink(".", dir.path().join("round")).expect("a link");
        assert!(added(&[copy(dir.path(), None)]).is_err());
        assert!(matches!(added(&[copy(Path::new("/dev/null"), None)]), Err(EspError::Kind(_))));
        let error = added(&[copy(Path::new("/nonexistent/x"), None)]).expect_err("not there");
        assert_eq!(error.to_string(), "reading /nonexistent/x");
    }
}
