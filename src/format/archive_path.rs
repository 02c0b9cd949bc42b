//! A normalized, relative path inside an archive, in bytes.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The kernel's `PATH_MAX`. The kernel silently skips names that are longer, including their NUL (`init/initramfs.c`,
/// `do_header`), so a plan rejects them.
pub(crate) const PATH_MAX: usize = 4096;

/// A path inside an archive, without a leading slash and without `.` and `..` components, in bytes (names need not be
/// UTF-8).
///
/// The empty path is the archive's root. Paths are ordered by bytes, so that a directory sorts before its contents.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ArchivePath(Vec<u8>);

impl ArchivePath {
    /// Normalizes `path` as seen from `/`: removes leading slashes and `.`, and resolves `..`, which never leads above
    /// the root.
    pub fn new(path: impl AsRef<Path>) -> Self {
        let mut parts: Vec<&[u8]> = Vec::new();
        for part in path.as_ref().as_os_str().as_bytes().split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => drop(parts.pop()),
                name => parts.push(name),
            }
        }
        Self(parts.join(&b'/'))
    }

    /// Returns the bytes, as stored in a newc header.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns true for the archive's root.
    pub(crate) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the parent directory; `None` for the root.
    pub(crate) fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let cut = self.0.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        Some(Self(self.0[..cut].to_vec()))
    }

    /// Returns the last component; empty for the root.
    pub fn file_name(&self) -> &OsStr {
        let start = self.0.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        OsStr::from_bytes(&self.0[start..])
    }

    /// Returns this path with `name` (one or more components) appended. An absolute `name` replaces the path.
    #[must_use]
    pub(crate) fn join(&self, name: impl AsRef<Path>) -> Self {
        Self::new(self.to_absolute().join(name))
    }

    /// Returns the absolute path, such as `/usr/bin/ls`.
    pub(crate) fn to_absolute(&self) -> PathBuf {
        let mut bytes = Vec::with_capacity(self.0.len() + 1);
        bytes.push(b'/');
        bytes.extend_from_slice(&self.0);
        PathBuf::from(OsString::from_vec(bytes))
    }
}

impl fmt::Debug for ArchivePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_absolute(), f)
    }
}

impl fmt::Display for ArchivePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to_absolute().display())
    }
}

#[cfg(test)]
mod tests {
    use super::ArchivePath;

    #[test]
    fn paths_are_normalized_and_never_leave_the_root() {
        for (typed, meant) in
            [("/a//b/./c", "/a/b/c"), ("../../x", "/x"), ("/", "/"), ("a/../..", "/"), ("/a/b/../c/", "/a/c")]
        {
            assert_eq!(ArchivePath::new(typed).to_string(), meant, "{typed}");
        }
    }

    #[test]
    fn parents_end_at_the_root() {
        let path = ArchivePath::new("/usr/bin/ls");
        assert_eq!(path.parent(), Some(ArchivePath::new("/usr/bin")));
        assert_eq!(path.file_name(), "ls");
        assert_eq!(ArchivePath::new("x").parent(), Some(ArchivePath::default()));
        assert_eq!(ArchivePath::default().parent(), None);
    }
}
