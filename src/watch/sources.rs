//! What a build is made from: the files below some directories that git would not ignore.
//!
//! Hidden files are left out, as are those that `.gitignore`, `.ignore` and git's own exclude files name: what compilers
//! write goes there. So is what we write ourselves.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use ignore::WalkBuilder;

/// Directories and files to look through.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    roots: Vec<PathBuf>,
    except: BTreeSet<PathBuf>,
    except_inodes: BTreeSet<(u64, u64)>,
}

/// What was found there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Walked {
    /// Files, links and whatever else is no directory.
    pub files: BTreeSet<PathBuf>,
    /// Directories, in which new ones may appear.
    pub directories: BTreeSet<PathBuf>,
}

impl Sources {
    /// Everything at and below `roots`.
    pub fn new(roots: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { roots: roots.into_iter().collect(), ..Self::default() }
    }

    /// Whether there is nothing to look through.
    pub fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    /// Leaves a path out, with all below it.
    pub fn leave_out(&mut self, path: PathBuf) {
        self.except.insert(path);
    }

    /// Leaves out the file that a descriptor writes to.
    pub fn leave_out_open(&mut self, file: impl AsFd) {
        let metadata = file.as_fd().try_clone_to_owned().map(File::from).and_then(|file| file.metadata());
        // What cannot be looked at is none of the sources.
        self.except_inodes
            .extend(metadata.ok().filter(std::fs::Metadata::is_file).map(|found| (found.dev(), found.ino())));
    }

    /// Goes through all of it. What vanishes meanwhile, or cannot be read, is not there.
    pub fn walk(&self) -> Walked {
        // A file that was named counts whatever it is called, and before it is there.
        let named = self.roots.iter().filter(|root| !root.is_dir()).cloned();
        let mut walked = Walked { files: named.collect(), ..Walked::default() };
        let Some((first, others)) = self.roots.split_first() else { return walked };
        let mut builder = WalkBuilder::new(first);
        for root in others {
            builder.add(root);
        }
        // A tree that came as an archive has the file, too.
        let except = self.except.clone();
        builder.require_git(false).filter_entry(move |entry| !except.contains(entry.path()));
        for entry in builder.build().filter_map(Result::ok) {
            if entry.file_type().is_some_and(|kind| kind.is_dir()) {
                walked.directories.insert(entry.into_path());
                continue;
            }
            let is_ours = !self.except_inodes.is_empty()
                && entry.metadata().is_ok_and(|found| self.except_inodes.contains(&(found.dev(), found.ino())));
            if !is_ours {
                walked.files.insert(entry.into_path());
            }
        }
        walked
    }
}

#[cfg(test)]
mod tests {
    use super::Sources;
    use std::fs::{self, File};

    #[test]
    fn sources_are_what_is_neither_ignored_nor_hidden_nor_ours() {
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
        sources.leave_out(top.join("out.json"));
        sources.leave_out_open(File::open(top.join("log")).expect("opened"));
        let walked = sources.walk();
        let names: Vec<_> = walked.files.iter().map(|path| path.strip_prefix(top).expect("below").to_owned()).collect();
        assert_eq!(names, ["main.c", "src/deep/a.rs"].map(std::path::PathBuf::from));
        assert_eq!(walked.directories.len(), 3, "{walked:?}");
    }

    #[test]
    fn a_single_file_can_be_named_and_need_not_be_there() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("one");
        assert!(Sources::new([path.clone()]).walk().files.contains(&path));
        fs::write(&path, "").expect("written");
        assert!(Sources::new([path.clone()]).walk().files.contains(&path));
    }
}
