//! Input files of a run: the files to watch for changes.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::RunSpec;
use crate::root::request::KernelRef;
use crate::root::{directory::Root, kernel};

/// Absolute host paths. Symbolic links are not followed: a link's target is a separate path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Inputs {
    /// Existing files, with the symbolic links on the way.
    pub(crate) read: BTreeSet<PathBuf>,
    /// Missing files that would change the run if they existed.
    pub(crate) missed: BTreeSet<PathBuf>,
    /// Directories that were listed: a new entry may change the run.
    pub(crate) listed: BTreeSet<PathBuf>,
}

impl Inputs {
    /// Returns the files that the user named and that are not looked up below the root.
    pub(super) fn named(spec: &RunSpec) -> Self {
        let mut inputs = Self::default();
        let modules = spec.initrd.modules.iter().chain(&spec.base_modules).map(|module| Path::new(&module.name));
        let modules = modules.filter(|name| name.as_os_str().as_bytes().contains(&b'/') || name.extension().is_some());
        let kernel = match &spec.kernel {
            Some(KernelRef::Named(name)) => Some(Path::new(name)),
            Some(KernelRef::Newest) | None => None,
        };
        inputs.extend(modules.chain(kernel).chain(spec.ready_made.as_deref()).chain(spec.boot.qemu.as_deref()));
        inputs
    }

    /// Adds the lookups below a root.
    pub(super) fn add(&mut self, root: &Root) {
        self.read.extend(root.paths_read());
        self.missed.extend(root.paths_missed());
        self.listed.extend(root.paths_listed());
    }

    /// Adds the lookups in a build tree, if the kernel comes from one. `image`: the kernel image, if it was found.
    pub(super) fn add_tree(&mut self, spec: &RunSpec, image: Option<&Path>) {
        let Some(KernelRef::Named(name)) = &spec.kernel else { return };
        let directory = Path::new(name);
        if directory.is_dir() {
            self.extend(kernel::tree_paths(directory, image).iter().map(PathBuf::as_path));
        }
    }

    /// Adds files of the host.
    pub(super) fn extend<'a>(&mut self, paths: impl IntoIterator<Item = &'a Path>) {
        // A path that cannot be made absolute (empty, or no current directory) cannot be watched.
        for path in paths.into_iter().filter_map(|path| std::path::absolute(path).ok()) {
            let paths = if path.symlink_metadata().is_ok() { &mut self.read } else { &mut self.missed };
            paths.insert(path);
        }
    }

    /// Returns every path that was looked up, existing or not.
    pub(crate) fn looked_at(&self) -> impl Iterator<Item = &PathBuf> {
        self.read.union(&self.missed)
    }

    /// Removes everything below a directory.
    pub(crate) fn leave_out(&mut self, directory: &Path) {
        for paths in [&mut self.read, &mut self.missed, &mut self.listed] {
            paths.retain(|path| !path.starts_with(directory));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Inputs;
    use crate::guest::RunSpec;
    use crate::root::directory::Root;
    use crate::{
        format::archive_path::ArchivePath,
        root::request::{KernelRef, ModuleRequest},
        root::spec::InitrdSpec,
    };

    #[test]
    fn named_files_and_lookups_are_listed_once_whether_they_exist_or_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        for name in ["linux.deb", "mine.ko", "initrd"] {
            std::fs::write(at(name), "").expect("a file");
        }
        let module = |name: std::ffi::OsString| ModuleRequest { name, params: "".into() };
        let initrd =
            InitrdSpec { modules: vec![module(at("mine.ko").into()), module("loop".into())], ..InitrdSpec::default() };
        let kernel = Some(KernelRef::Named(at("linux.deb").into()));
        let spec = RunSpec { initrd, kernel, ready_made: Some(at("gone")), ..RunSpec::default() };
        let mut inputs = Inputs::named(&spec);
        assert_eq!(inputs.read, [at("linux.deb"), at("mine.ko")].into());
        assert_eq!(inputs.missed, [at("gone")].into());
        let root = Root::new(dir.path()).expect("a root");
        for name in ["initrd", "mine.ko", "nothing"] {
            drop(root.find(&ArchivePath::new(name)));
        }
        inputs.add(&root);
        assert_eq!(inputs.read.len(), 3, "{inputs:?}");
        assert!(inputs.missed.iter().any(|path| path.ends_with("nothing")), "{inputs:?}");
    }
}
