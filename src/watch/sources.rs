//! Sources of a build: the files below some directories that git does not ignore.
//!
//! Excludes hidden files, files matched by `.gitignore`, `.ignore` or git's exclude files, and files that a round writes.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ignore::WalkBuilder;

/// Directories and files to walk.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    roots: Vec<PathBuf>,
    excluded: BTreeSet<PathBuf>,
    /// Device and inode.
    excluded_inodes: BTreeSet<(u64, u64)>,
}

/// Result of a walk.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    /// Everything except directories.
    pub(crate) files: BTreeSet<PathBuf>,
    /// Directories, in which new sources may appear.
    pub(crate) directories: BTreeSet<PathBuf>,
}

impl Sources {
    /// Selects all files at and below `roots`.
    pub fn new(roots: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { roots: roots.into_iter().map(|root| canonical(&root)).collect(), ..Self::default() }
    }

    /// Excludes a path and everything below it.
    pub fn exclude(&mut self, path: &Path) {
        self.excluded.insert(canonical(path));
    }

    /// Excludes the regular file that a descriptor refers to.
    pub fn exclude_open(&mut self, file: impl AsFd) {
        let metadata = file.as_fd().try_clone_to_owned().map(File::from).and_then(|file| file.metadata());
        let file = metadata.ok().filter(std::fs::Metadata::is_file);
        self.excluded_inodes.extend(file.map(|file| (file.dev(), file.ino())));
    }

    /// Walks all roots. Omits files that cannot be read.
    pub(crate) fn walk(&self) -> Walked {
        // A root that is not a directory is a source under any name, even if it does not exist yet.
        let files = self.roots.iter().filter(|root| !root.is_dir()).cloned();
        let mut walked = Walked { files: files.collect(), ..Walked::default() };
        let Some((first, others)) = self.roots.split_first() else { return walked };
        let mut builder = WalkBuilder::new(first);
        for root in others {
            builder.add(root);
        }
        let excluded = self.excluded.clone();
        // A tree unpacked from a tar archive has .gitignore, too, but no .git.
        builder.require_git(false).filter_entry(move |entry| !excluded.contains(entry.path()));
        for entry in builder.build().filter_map(Result::ok) {
            if entry.file_type().is_some_and(|file_type| file_type.is_dir()) {
                walked.directories.insert(entry.into_path());
                continue;
            }
            let is_excluded = !self.excluded_inodes.is_empty()
                && entry.metadata().is_ok_and(|file| self.excluded_inodes.contains(&(file.dev(), file.ino())));
            if !is_excluded {
                walked.files.insert(entry.into_path());
            }
        }
        walked
    }
}

/// Returns the path without symbolic links if it exists, otherwise the absolute path.
fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::Sources;
    use std::fs::{self, File};

    #[test]
    fn ignored_hidden_and_excluded_files_are_no_sources() {
        let dir = tempfile::tempdir().expect("a directory");
        let top = dir.path();
        fs::create_dir_all(top.join("src/deep")).expect("directories");
        fs::create_dir_all(top.join("target/debug")).expect("directories");
        let files = ["main.c", "main.o", "src/deep/a.rs", "target/debug/x", ".hidden", "log", "out.json"];
        for name in files {
            fs::write(top.join(name), "").expect("written");
        }
        fs::write(top.join(".gitignore"), "*.o\n/target\n").expect("written");
        let mut sources = Sources::new([top.to_owned()]);
        sources.exclude(&top.join("out.json"));
        sources.exclude_open(File::open(top.join("log")).expect("opened"));
        let walked = sources.walk();
        let names: Vec<_> = walked.files.iter().map(|path| path.strip_prefix(top).expect("below").to_owned()).collect();
        assert_eq!(names, ["main.c", "src/deep/a.rs"].map(std::path::PathBuf::from));
        assert_eq!(walked.directories.len(), 3, "{walked:?}");
    }

    #[test]
    fn a_root_may_be_a_file_that_does_not_exist_yet() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("one");
        assert!(Sources::new([path.clone()]).walk().files.contains(&path));
        fs::write(&path, "").expect("written");
        assert!(Sources::new([path.clone()]).walk().files.contains(&path));
    }
}
