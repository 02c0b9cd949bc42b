//! Classifies files as the kernel would: ELF, `#!` script, or neither. Each file is opened once.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::directory::Root;
use crate::format::archive_path::ArchivePath;
use crate::format::elf::{ElfError, ElfFacts, is_elf};
use crate::format::read_at::PagedReader;
use crate::format::script::{self, Script};

/// A program, library or script that is damaged or cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("failed to read {}: {fault}", path.display())]
pub struct BinaryError {
    /// The file.
    pub(crate) path: PathBuf,
    /// The fault.
    pub(crate) fault: ElfError,
}

impl BinaryError {
    /// Adds the path to a fault.
    pub(crate) fn new(path: &Path, fault: impl Into<ElfError>) -> Self {
        Self { path: path.to_owned(), fault: fault.into() }
    }

    /// Creates an error for a file that violates `rule`.
    pub(crate) fn violation(path: &Path, rule: &'static str) -> Self {
        Self::new(path, ElfError::Malformed { offset: 0, rule })
    }
}

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
    pub fn get(&self, real: &ArchivePath) -> Result<Binary, BinaryError> {
        if let Some(seen) = self.seen.borrow().get(real) {
            return Ok(seen.clone());
        }
        let host = self.root.host_path(real);
        let file = File::open(&host).map_err(|error| BinaryError::new(&host, error))?;
        let binary = classify(&file).map_err(|fault| BinaryError::new(&host, fault))?;
        self.seen.borrow_mut().insert(real.clone(), binary.clone());
        Ok(binary)
    }

    /// Returns true if the ELF file at `real` names one of the glibc functions that unwind a thread's stack.
    pub(crate) fn ends_threads(&self, real: &ArchivePath, facts: &ElfFacts) -> Result<bool, BinaryError> {
        const UNWINDING: [&[u8]; 2] = [b"pthread_cancel", b"pthread_exit"];
        if let Some(seen) = self.threads.borrow().get(real) {
            return Ok(*seen);
        }
        let host = self.root.host_path(real);
        let answer = File::open(&host).and_then(|file| facts.string_table_contains(&file, &UNWINDING));
        let answer = answer.map_err(|error| BinaryError::new(&host, error))?;
        self.threads.borrow_mut().insert(real.clone(), answer);
        Ok(answer)
    }
}

fn classify(file: &File) -> Result<Binary, ElfError> {
    let mut reader = PagedReader::new(file);
    let start = reader.read_up_to(0, script::LINE_MAX as u64)?;
    if is_elf(start) {
        return Ok(Binary::Elf(Rc::new(ElfFacts::read(reader)?)));
    }
    match script::parse(start) {
        Ok(Some(script)) => Ok(Binary::Script(Rc::new(script))),
        Ok(None) => Ok(Binary::Plain),
        Err(rule) => Err(ElfError::Malformed { offset: 0, rule }),
    }
}
