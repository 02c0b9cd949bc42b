//! Directories of library search paths and the files in them, each looked up once.
//!
//! `..` behaves as in the kernel: it leaves the real directory, not the name through which it was entered.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use super::binary::{Binaries, Binary, BinaryError};
use super::directory::{Hop, Resolved, Root};
use crate::format::archive_path::ArchivePath;
use crate::format::elf::{Abi, ElfError, ElfFacts, ElfKind};

/// A resolved directory.
#[derive(Debug)]
pub(crate) struct Dir {
    /// Path, free of symbolic links.
    pub(crate) real: ArchivePath,
    /// Links followed to reach it.
    pub(crate) hops: Vec<Hop>,
}

/// A resolved ELF file.
#[derive(Debug)]
pub struct Found {
    /// Path that was looked up, last component not followed; its directory is `$ORIGIN`.
    pub path: ArchivePath,
    /// The file with all links followed, and those links.
    pub resolved: Resolved,
    /// Parsed ELF data.
    pub elf: Rc<ElfFacts>,
}

impl Found {
    /// Returns `$ORIGIN`: the directory in which the file was found, its own link not followed (`elf/dl-object.c`,
    /// `_dl_new_object`).
    pub(crate) fn origin(&self) -> ArchivePath {
        self.path.parent().unwrap_or_default()
    }
}

/// Memoized results, failures included.
type Memo<K, V> = RefCell<HashMap<K, Option<Rc<V>>>>;

/// Lookup cache for the library directories of one root.
#[derive(Debug)]
pub struct Dirs<'a> {
    /// The root.
    pub(crate) root: &'a Root,
    /// Cache of the binaries below the root.
    pub(crate) binaries: &'a Binaries<'a>,
    entered: Memo<Vec<u8>, Dir>,
    files: Memo<(ArchivePath, OsString, Abi), Found>,
    variants: RefCell<HashMap<ArchivePath, Rc<[Rc<Dir>]>>>,
}

impl<'a> Dirs<'a> {
    /// Creates an empty cache.
    pub fn new(root: &'a Root, binaries: &'a Binaries<'a>) -> Self {
        Self { root, binaries, entered: RefCell::default(), files: RefCell::default(), variants: RefCell::default() }
    }

    /// Returns the directory at an absolute path, links followed.
    pub(crate) fn dir(&self, path: &[u8]) -> Option<Rc<Dir>> {
        if let Some(known) = self.entered.borrow().get(path) {
            return known.clone();
        }
        let found = self.walk(path).map(Rc::new);
        self.entered.borrow_mut().insert(path.to_vec(), found.clone());
        found
    }

    /// Returns the library `name` in `dir`, if it is built for `abi`.
    ///
    /// As `open_verify` in elf/dl-load.c: files that cannot be opened and files for other architectures are skipped;
    /// damaged files are errors.
    pub(crate) fn library(&self, dir: &Dir, name: &OsStr, abi: Abi) -> Result<Option<Rc<Found>>, BinaryError> {
        let key = (dir.real.clone(), name.to_owned(), abi);
        if let Some(known) = self.files.borrow().get(&key) {
            return Ok(known.clone());
        }
        let found = self.open(dir, name, abi)?.map(Rc::new);
        self.files.borrow_mut().insert(key, found.clone());
        Ok(found)
    }

    /// Returns the `glibc-hwcaps` directories in `dir`, the least demanding first.
    pub(crate) fn variants(&self, dir: &Dir) -> Rc<[Rc<Dir>]> {
        if let Some(known) = self.variants.borrow().get(&dir.real) {
            return Rc::clone(known);
        }
        let parent = dir.real.join("glibc-hwcaps");
        let names =
            if self.root.find(&parent).is_some() { self.root.list(&parent).unwrap_or_default() } else { Vec::new() };
        let below = names.iter().filter_map(|name| self.dir(parent.join(name).to_absolute().as_os_str().as_bytes()));
        let found: Rc<[Rc<Dir>]> = below.collect();
        self.variants.borrow_mut().insert(dir.real.clone(), Rc::clone(&found));
        found
    }

    fn open(&self, dir: &Dir, name: &OsStr, abi: Abi) -> Result<Option<Found>, BinaryError> {
        let path = dir.real.join(name);
        let Some(mut resolved) = self.root.find(&path).filter(|found| found.metadata.is_file()) else {
            return Ok(None);
        };
        let binary = match self.binaries.get(&resolved.real) {
            Err(BinaryError { fault: ElfError::Io(_), .. }) => return Ok(None),
            other => other?,
        };
        match binary {
            Binary::Elf(elf) if elf.abi != abi => Ok(None),
            Binary::Elf(elf) if elf.kind == ElfKind::Shared => {
                resolved.hops.splice(..0, dir.hops.iter().cloned());
                Ok(Some(Found { path, resolved, elf }))
            }
            Binary::Elf(_) => Err(self.refuse(&resolved, "expected a shared library, found another type of ELF file")),
            Binary::Script(_) | Binary::Plain => {
                Err(self.refuse(&resolved, "expected a shared library, found no ELF file"))
            }
        }
    }

    fn refuse(&self, resolved: &Resolved, rule: &'static str) -> BinaryError {
        BinaryError::violation(&self.root.host_path(&resolved.real), rule)
    }

    fn walk(&self, path: &[u8]) -> Option<Dir> {
        let mut dir = Dir { real: ArchivePath::default(), hops: Vec::new() };
        let mut ahead = ArchivePath::default();
        for part in path.split(|byte| *byte == b'/') {
            if part == b".." {
                self.enter(&mut dir, &ahead)?;
                dir.real = dir.real.parent().unwrap_or_default();
                ahead = dir.real.clone();
            } else {
                ahead = ahead.join(OsStr::from_bytes(part));
            }
        }
        self.enter(&mut dir, &ahead)?;
        Some(dir)
    }

    fn enter(&self, dir: &mut Dir, path: &ArchivePath) -> Option<()> {
        let found = self.root.find(path).filter(|found| found.metadata.is_dir())?;
        dir.real = found.real;
        dir.hops.extend(found.hops);
        Some(())
    }
}
