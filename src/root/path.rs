//! Finds programs by name: the root's PATH for lookup, the guest's PATH for execution.

use std::env;
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::directory::Root;
use crate::format::archive_path::ArchivePath;

/// PATH in the guest, and for roots other than the host's.
pub(crate) const GUEST_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Program directories of a root.
#[derive(Debug)]
pub(crate) struct SearchPath<'a> {
    root: &'a Root,
    dirs: Vec<ArchivePath>,
    /// Directories of the guest's PATH, links followed.
    guest: Vec<ArchivePath>,
}

impl<'a> SearchPath<'a> {
    /// Returns the directories of this process's PATH (host only), followed by the standard directories.
    pub(crate) fn of(root: &'a Root) -> Self {
        let typed = if root.is_host() { env::var_os("PATH").unwrap_or_default() } else { <_>::default() };
        Self::new(root, &typed)
    }

    fn new(root: &'a Root, typed: &OsStr) -> Self {
        let standard: Vec<ArchivePath> = env::split_paths(GUEST_PATH).map(ArchivePath::new).collect();
        // Relative directories depend on a shell's current directory.
        let typed = env::split_paths(typed).filter(|dir| dir.is_absolute()).map(ArchivePath::new);
        let mut dirs: Vec<ArchivePath> = Vec::new();
        for dir in typed.chain(standard.iter().cloned()) {
            if !dirs.contains(&dir) {
                dirs.push(dir);
            }
        }
        let guest = standard.iter().map(|dir| root.find(dir).map_or_else(|| dir.clone(), |found| found.real)).collect();
        Self { root, dirs, guest }
    }

    /// Returns the first executable file named `name`. Its links are not followed.
    pub(crate) fn find(&self, name: &OsStr) -> Option<ArchivePath> {
        self.dirs.iter().map(|dir| dir.join(name)).find(|path| self.is_program(path))
    }

    /// Returns true if `path` leads to an executable file.
    pub(crate) fn is_program(&self, path: &ArchivePath) -> bool {
        let found = self.root.find(path);
        found.is_some_and(|found| found.metadata.is_file() && found.metadata.mode() & 0o111 != 0)
    }

    /// Returns every directory that [`SearchPath::find`] searches, as host paths.
    pub(crate) fn tried(&self) -> Vec<PathBuf> {
        self.dirs.iter().map(|dir| self.root.host_path(dir)).collect()
    }

    /// Returns true if the guest finds the file at `path` by its name.
    pub(crate) fn in_guest(&self, path: &ArchivePath) -> bool {
        let dir = path.parent().unwrap_or_default();
        let real = self.root.find(&dir).map(|found| found.real);
        self.guest.contains(real.as_ref().unwrap_or(&dir))
    }
}

#[cfg(test)]
mod tests {
    use super::SearchPath;
    use crate::format::archive_path::ArchivePath;
    use crate::root::directory::Root;
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn names_are_found_in_order_and_only_if_executable() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for (path, mode) in
            [("opt/x/tool", 0o755), ("usr/bin/tool", 0o755), ("usr/bin/other", 0o755), ("opt/x/other", 0o644)]
        {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
            fs::write(&path, "").expect("a file");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
        }
        symlink("usr/bin", dir.path().join("bin")).expect("a link");
        let root = Root::new(dir.path()).expect("a root");
        let path = SearchPath::new(&root, OsStr::new("relative:/opt/x:"));
        assert_eq!(path.find(OsStr::new("tool")), Some(ArchivePath::new("/opt/x/tool")));
        assert_eq!(path.find(OsStr::new("other")), Some(ArchivePath::new("/usr/bin/other")));
        assert_eq!(path.find(OsStr::new("nothing")), None);
        assert!(path.in_guest(&ArchivePath::new("/bin/tool")));
        assert!(!path.in_guest(&ArchivePath::new("/opt/x/tool")));
    }
}
