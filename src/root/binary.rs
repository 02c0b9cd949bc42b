//! Classifies files as the kernel would: ELF, `#!` script, or neither. Each file is opened once.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::rc::Rc;

use super::root::Root;
use crate::format::archive_path::ArchivePath;
use crate::format::elf::{self, ElfError, ElfFacts};
use crate::format::pages::{PageError, Pages};
use crate::format::script::{self, Script};

/// Types of files that a program path can lead to.
#[derive(Debug, Clone)]
pub enum Binary {
    /// An ELF file.
    Elf(Rc<ElfFacts>),
    /// A script with a `#!` line.
    Script(Rc<Script>),
    /// Anything else.
    Plain,
}

/// Cache of the binaries below a root, keyed by link-free path.
#[derive(Debug)]
pub struct Binaries<'a> {
    root: &'a Root,
    seen: RefCell<HashMap<ArchivePath, Binary>>,
    threads: RefCell<HashMap<ArchivePath, bool>>,
}

impl<'a> Binaries<'a> {
    /// Creates an empty cache.
    pub fn new(root: &'a Root) -> Self {
        Self { root, seen: RefCell::default(), threads: RefCell::default() }
    }

    /// Classifies the regular file at `real`.
    pub fn get(&self, real: &ArchivePath) -> Result<Binary, ElfError> {
        if let Some(seen) = self.seen.borrow().get(real) {
            return Ok(seen.clone());
        }
        let host = self.root.host_path(real);
        let file = File::open(&host).map_err(|source| ElfError::Io { path: host.clone(), source })?;
        let binary = classify(&file, &host)?;
        self.seen.borrow_mut().insert(real.clone(), binary.clone());
        Ok(binary)
    }

    /// Returns true if the ELF file at `real` names one of the glibc functions that unwind a thread's stack.
    pub fn ends_threads(&self, real: &ArchivePath, facts: &ElfFacts) -> Result<bool, ElfError> {
        const UNWINDING: [&[u8]; 2] = [b"pthread_cancel", b"pthread_exit"];
        if let Some(seen) = self.threads.borrow().get(real) {
            return Ok(*seen);
        }
        let host = self.root.host_path(real);
        let answer = File::open(&host).and_then(|file| elf::mentions(&file, facts, &UNWINDING));
        let answer = answer.map_err(|source| ElfError::Io { path: host, source })?;
        self.threads.borrow_mut().insert(real.clone(), answer);
        Ok(answer)
    }
}

fn classify(file: &File, host: &Path) -> Result<Binary, ElfError> {
    let io = |source| ElfError::Io { path: host.to_path_buf(), source };
    let mut pages = Pages::new(file).map_err(io)?;
    let start = pages.at_most(0, script::LINE_MAX as u64).map_err(|error| match error {
        PageError::Io(source) => io(source),
        PageError::PastEnd | PageError::Shrank => {
            ElfError::Malformed { path: host.to_path_buf(), offset: 0, rule: "the file shrank while being read" }
        }
    })?;
    if elf::is_elf(start) {
        return Ok(Binary::Elf(Rc::new(elf::parse_pages(pages, host)?)));
    }
    match script::parse(start) {
        Ok(Some(script)) => Ok(Binary::Script(Rc::new(script))),
        Ok(None) => Ok(Binary::Plain),
        Err(rule) => Err(ElfError::Malformed { path: host.to_path_buf(), offset: 0, rule }),
    }
}
