//! A path inside an archive: relative, normal, bytes.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The kernel's `PATH_MAX`: names of this many bytes, NUL included, are skipped in silence
/// (`init/initramfs.c`, `do_header`), so a plan refuses longer ones.
pub const PATH_MAX: usize = 4096;

/// A path inside an archive, without a leading slash, `.` or `..` components, in bytes (names need not be UTF-8).
///
/// The empty path is the archive's root. Ordering is by bytes, so that a directory sorts before what is in it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ArchivePath(Vec<u8>);

impl ArchivePath {
    /// Normalises `path` as seen from `/`: leading slashes and `.` are dropped, `..` goes up but never above the root.
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

    /// The bytes, as they stand in a newc header.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// True for the archive's root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The containing directory; `None` for the root itself.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let cut = self.0.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        Some(Self(self.0[..cut].to_vec()))
    }

    /// The last component; empty for the root.
    pub fn file_name(&self) -> &OsStr {
        let start = self.0.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        OsStr::from_bytes(&self.0[start..])
    }

    /// This path with `name` (one component or several) below it; an absolute `name` replaces it.
    #[must_use]
    pub fn join(&self, name: impl AsRef<Path>) -> Self {
        Self::new(self.to_absolute().join(name))
    }

    /// As an absolute path: `/usr/bin/ls`.
    pub fn to_absolute(&self) -> PathBuf {
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
    fn paths_are_normal_and_never_above_the_root() {
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
