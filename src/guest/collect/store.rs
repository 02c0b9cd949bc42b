//! Writes files below a directory of the host, never through a symbolic link, each complete or not at all.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, openat, renameat, unlinkat};
use rustix::io::Errno;

use super::request::Place;

/// Number of the next temporary file of this process.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A file that is being written under a temporary name, which is removed on drop.
#[derive(Debug)]
pub(super) struct NewFile {
    file: File,
    directory: OwnedFd,
    temporary: String,
    name: OsString,
    is_finished: bool,
}

/// Creates a directory, and those above it.
pub(super) fn make_directory(place: &Place, mode: u16) -> io::Result<()> {
    open_directory(place, place.names.len(), mode).map(drop)
}

/// Opens the directory with the first `count` names of a place below its base; creates it if it is missing. The base is
/// the user's choice, and may contain symbolic links; the names come from the guest.
fn open_directory(place: &Place, count: usize, mode: u16) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    fs::create_dir_all(&place.base)?;
    let mut directory = rustix::fs::open(&place.base, flags, Mode::empty())?;
    for (at, name) in place.names.iter().take(count).enumerate() {
        let is_last = at + 1 == place.names.len();
        let mode = if is_last { u32::from(mode) | 0o700 } else { 0o777 };
        match mkdirat(&directory, name, Mode::from_raw_mode(mode)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        directory = openat(&directory, name, flags | OFlags::NOFOLLOW, Mode::empty()).map_err(|errno| match errno {
            Errno::NOTDIR | Errno::LOOP => {
                io::Error::other(format!("{} exists and is not a directory", name.display()))
            }
            other => other.into(),
        })?;
    }
    Ok(directory)
}

impl NewFile {
    /// Creates a file.
    pub(super) fn create(place: &Place, mode: u16) -> io::Result<Self> {
        let (Some(name), depth) = (place.names.last(), place.names.len().saturating_sub(1)) else {
            return Err(io::ErrorKind::IsADirectory.into());
        };
        let directory = open_directory(place, depth, 0o777)?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let temporary = format!(".bootling-collect-{}-{number}", std::process::id());
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(u32::from(mode) | 0o600);
        let file = openat(&directory, temporary.as_str(), flags, mode)?;
        Ok(Self { file: file.into(), directory, temporary, name: name.clone(), is_finished: false })
    }

    /// Appends bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Gives the file its name; replaces a file or a symbolic link of that name.
    pub(super) fn finish(mut self) -> io::Result<()> {
        renameat(&self.directory, self.temporary.as_str(), &self.directory, self.name.as_os_str() as &OsStr)?;
        self.is_finished = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_finished {
            // There is nobody to report it to; the error that led here was reported.
            let _ = unlinkat(&self.directory, self.temporary.as_str(), AtFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{NewFile, Place, make_directory};
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn nothing_is_written_through_a_symbolic_link() {
        let scratch = tempfile::tempdir().expect("a directory");
        let (base, outside) = (scratch.path().join("base"), scratch.path().join("outside"));
        fs::create_dir_all(&base).expect("made");
        fs::create_dir_all(&outside).expect("made");
        fs::write(outside.join("file"), "kept").expect("written");
        symlink(&outside, base.join("link")).expect("made");
        symlink(outside.join("file"), base.join("name")).expect("made");
        let place = |names: &[&str]| Place { base: base.clone(), names: names.iter().map(Into::into).collect() };
        for names in [&["link", "file"][..], &["link", "new", "file"]] {
            let error = NewFile::create(&place(names), 0o644).expect_err("a link").to_string();
            assert_eq!(error, "link exists and is not a directory");
        }
        make_directory(&place(&["link", "new"]), 0o755).expect_err("a link");
        let mut file = NewFile::create(&place(&["name"]), 0o644).expect("created");
        file.write(b"new").expect("written");
        file.finish().expect("named");
        assert_eq!(fs::read_to_string(base.join("name")).expect("there"), "new");
        assert!(base.join("name").symlink_metadata().expect("there").is_file());
        assert_eq!(fs::read_to_string(outside.join("file")).expect("there"), "kept");
        assert_eq!(fs::read_dir(&outside).expect("there").count(), 1);
        // An incomplete file leaves nothing.
        drop(NewFile::create(&place(&["a", "b"]), 0o644).expect("created"));
        assert_eq!(fs::read_dir(base.join("a")).expect("there").count(), 0);
    }
}
