//! Atomic outputs: a file appears complete or not at all.
//!
//! If the file system supports `O_TMPFILE`, the file has no name until it is complete, so that a killed process leaves
//! nothing behind. Devices and pipes are written in place. Refuses directories, terminals, and block devices in use.

use std::ffi::{CString, OsStr};
use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use tempfile::{NamedTempFile, TempPath};

use super::WriteError;
use crate::sys::stdout_was_closed;

/// Maximum number of temporary names to try. Killed processes with the same process ID may have left files.
const ATTEMPTS: u32 = 100;

/// Output that is being written.
#[derive(Debug)]
pub struct Output {
    name: String,
    target: Target,
}

#[derive(Debug)]
enum Target {
    /// Standard output, a device or a pipe: written directly.
    InPlace(File),
    /// An unnamed file, and its final path.
    Nameless(File, PathBuf),
    /// A file with a temporary name in the same directory, and its final path.
    Temporary(NamedTempFile, PathBuf),
}

impl Output {
    /// Opens an output. `-` is standard output.
    pub fn create(path: &Path) -> Result<Self, WriteError> {
        let name = if path == "-" { "standard output".to_owned() } else { path.display().to_string() };
        match Target::open(path) {
            Ok(target) => Ok(Self { name, target }),
            Err(source) => Err(WriteError::Output { name, source }),
        }
    }

    /// Returns the name that the user gave.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the file to write to.
    pub fn file(&mut self) -> &mut File {
        match &mut self.target {
            Target::InPlace(file) | Target::Nameless(file, _) => file,
            Target::Temporary(file, _) => file.as_file_mut(),
        }
    }

    /// Returns true for a new, empty file, in which unwritten ranges read as zeros.
    pub(crate) fn is_new_file(&self) -> bool {
        match self.target {
            Target::InPlace(_) => false,
            Target::Nameless(..) | Target::Temporary(..) => true,
        }
    }

    /// Gives the output its final name. Replaces an existing file. Does not sync to disk, because an image can be built
    /// again.
    pub fn finish(self) -> Result<(), WriteError> {
        let named = match self.target {
            Target::InPlace(_) => Ok(()),
            Target::Nameless(file, path) => name_it(&file, &path),
            Target::Temporary(file, path) => file.persist(path).map(drop).map_err(|error| error.error),
        };
        named.map_err(|source| WriteError::Output { name: self.name, source })
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file().flush()
    }
}

impl Target {
    fn open(path: &Path) -> io::Result<Self> {
        if path == "-" {
            if stdout_was_closed() {
                return Err(io::Error::other("it is closed"));
            }
            let stdout = io::stdout();
            if stdout.is_terminal() {
                return Err(io::Error::other("refusing to write binary data to a terminal"));
            }
            return Ok(Self::InPlace(File::from(rustix::io::dup(&stdout)?)));
        }
        let known = match fs::metadata(path) {
            Ok(known) => Some(known),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let mut mode = 0o666;
        let mut path = path.to_owned();
        if let Some(known) = known {
            let kind = known.file_type();
            if kind.is_block_device() {
                // O_EXCL without O_CREAT refuses devices that are mounted or otherwise in use (`open(2)`).
                let alone = OFlags::EXCL.bits().cast_signed();
                return Ok(Self::InPlace(OpenOptions::new().write(true).custom_flags(alone).open(path)?));
            }
            if kind.is_char_device() || kind.is_fifo() {
                return Ok(Self::InPlace(OpenOptions::new().write(true).open(path)?));
            }
            if !kind.is_file() {
                return Err(io::Error::other("already exists and is not a regular file"));
            }
            // Follow symbolic links, as `>` in a shell does. Opening the file fails if the user may not write it, and
            // then the user may not replace it either.
            drop(OpenOptions::new().write(true).open(&path)?);
            path = fs::canonicalize(path)?;
            mode = known.permissions().mode() & 0o777;
        }
        Self::create_beside(path, mode)
    }

    /// Creates a file in the same directory, so that the rename does not cross file systems.
    fn create_beside(path: PathBuf, mode: u32) -> io::Result<Self> {
        let directory = match path.parent() {
            Some(parent) if parent != "" => parent,
            _ => Path::new("."),
        };
        let nameless = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        match rustix::fs::open(directory, nameless, Mode::from_raw_mode(mode)) {
            Ok(file) => return Ok(Self::Nameless(File::from(file), path)),
            // The file system or the kernel does not support `O_TMPFILE` (`open(2)`).
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Self::Temporary(temporary(&path, mode)?, path))
    }
}

/// Returns a temporary path in the directory of `path`.
fn temporary_path(path: &Path, attempt: u32) -> PathBuf {
    path.with_file_name(format!(".bootling-{}-{attempt}", std::process::id()))
}

/// Creates a file in the directory of `path` that is removed when dropped. Does not use tempfile to create it, because
/// tempfile's errors contain a path that the user does not know.
fn temporary(path: &Path, mode: u32) -> io::Result<NamedTempFile> {
    for attempt in 0..ATTEMPTS {
        let beside = temporary_path(path, attempt);
        match OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(file) => return Ok(NamedTempFile::from_parts(file, TempPath::try_from_path(beside)?)),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Gives an unnamed file its name. `linkat(2)` does not replace files, so replacing an existing file requires a rename.
fn name_it(file: &File, path: &Path) -> io::Result<()> {
    let open = format!("/proc/self/fd/{}", file.as_raw_fd());
    let link = |to: &OsStr| -> io::Result<()> {
        let to = CString::new(to.as_bytes())?;
        Ok(rustix::fs::linkat(CWD, &open, CWD, &to, AtFlags::SYMLINK_FOLLOW)?)
    };
    match link(path.as_os_str()) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        done => return done,
    }
    for attempt in 0..ATTEMPTS {
        let beside = temporary_path(path, attempt);
        match link(beside.as_os_str()) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(()) => {
                return fs::rename(&beside, path).inspect_err(|_| {
                    // Report the error of the rename, not this one.
                    let _ = fs::remove_file(&beside);
                });
            }
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use super::{Output, temporary};
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn the_file_appears_complete_when_the_output_is_finished() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x");
        for content in ["one", "another"] {
            let before = fs::read(&path).ok();
            let mut output = Output::create(&path).expect("an output");
            output.file().write_all(content.as_bytes()).expect("written");
            assert_eq!(fs::read(&path).ok(), before);
            output.finish().expect("finished");
            assert_eq!(fs::read_to_string(&path).expect("a file"), content);
            assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 1);
        }
        drop(Output::create(&path).expect("an output"));
        assert_eq!(fs::read_to_string(&path).expect("a file"), "another");
        assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 1);
    }

    #[test]
    fn temporary_files_are_renamed_or_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x");
        let (one, other) = (temporary(&path, 0o600).expect("a file"), temporary(&path, 0o600).expect("a file"));
        assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 2);
        drop(other);
        one.persist(&path).expect("renamed");
        let names: Vec<_> =
            fs::read_dir(dir.path()).expect("a directory").map(|entry| entry.expect("one").path()).collect();
        assert_eq!(names, [path]);
        let error = temporary(&dir.path().join("missing/x"), 0o600).expect_err("no directory");
        assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::NOENT.raw_os_error()));
    }

    #[test]
    fn symbolic_links_are_followed_and_modes_are_preserved() {
        let dir = tempfile::tempdir().expect("a directory");
        let (file, link) = (dir.path().join("f"), dir.path().join("l"));
        fs::write(&file, "old").expect("a file");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("a mode");
        symlink("f", &link).expect("a link");
        let mut output = Output::create(&link).expect("an output");
        output.file().write_all(b"new").expect("written");
        output.finish().expect("finished");
        assert!(fs::symlink_metadata(&link).expect("a link").is_symlink());
        assert_eq!(fs::read_to_string(&file).expect("a file"), "new");
        assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn a_missing_directory_is_reported_with_the_path_of_the_output() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("missing/x");
        let error = Output::create(&path).expect_err("no directory");
        let cause = std::error::Error::source(&error).expect("a cause").to_string();
        assert_eq!(
            format!("{error}: {cause}"),
            format!("failed to write {}: No such file or directory (os error 2)", path.display())
        );
    }
}
