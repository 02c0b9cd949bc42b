//! ISO 9660 volume: access to directories, files and boot images.

use std::io;

use super::descriptor::{self, Descriptors, Root};
use super::directory::{Entry, EntryKind, Names, decode};
use super::el_torito::{self, BootEntry};
use super::fault::{Fault, LONGEST_DIRECTORY};
use super::rock_ridge;
use crate::format::{Content, Medium};

/// Volume with valid descriptors.
#[derive(Debug, Clone)]
pub struct Volume<M> {
    medium: M,
    descriptors: Descriptors,
    names: Names,
}

impl<M: Medium> Volume<M> {
    /// Reads the volume descriptors of `medium`.
    pub fn open(medium: M) -> Result<Self, Fault> {
        let offset = 16 * descriptor::SECTOR;
        let read = descriptor::read(&medium).map_err(|source| Fault::Read { offset, source })?;
        let descriptors = read.ok_or(Fault::Descriptor)?;
        let mut volume = Self { medium, descriptors, names: Names::Plain };
        let root = volume.descriptors.root;
        let first = volume.bytes(root.block, u64::from(root.len).min(descriptor::SECTOR))?;
        volume.names = match (rock_ridge::skip(&first), volume.descriptors.joliet) {
            (Some(skip), _) => Names::RockRidge(skip),
            (None, Some(_)) => Names::Joliet,
            (None, None) => Names::Plain,
        };
        Ok(volume)
    }

    /// Returns the fields of the volume descriptors.
    pub fn descriptors(&self) -> &Descriptors {
        &self.descriptors
    }

    /// Returns the boot images; empty if there is no boot catalog.
    pub fn boot_entries(&self) -> Result<Vec<BootEntry>, Fault> {
        self.descriptors.boot_catalog.map_or(Ok(Vec::new()), |lba| el_torito::read(&self.medium, lba))
    }

    /// Returns the byte offset of an entry; `None` for an empty file.
    pub fn offset(&self, entry: &Entry) -> Option<u64> {
        let (block, _) = entry.extents.first().filter(|_| entry.size > 0)?;
        Some(u64::from(*block) * self.descriptors.block)
    }

    /// Returns the entries of a directory; `None` is the root directory.
    pub fn list(&self, directory: Option<&Entry>) -> Result<Vec<Entry>, Fault> {
        let (block, len) = self.place(directory)?;
        decode(&self.bytes(block, len)?, self.names, &self.medium, self.descriptors.block)
    }

    /// Returns the first block and the length of a directory.
    pub(super) fn place(&self, directory: Option<&Entry>) -> Result<(u32, u64), Fault> {
        let Some(entry) = directory else {
            let Root { block, len } = match (self.names, self.descriptors.joliet) {
                (Names::Joliet, Some(root)) => root,
                (Names::Plain | Names::RockRidge(_) | Names::Joliet, _) => self.descriptors.root,
            };
            return Ok((block, len.into()));
        };
        let wrong = || Fault::WrongType(entry.name.clone(), "not a directory");
        let (block, len) = *entry.extents.first().filter(|_| entry.kind == EntryKind::Directory).ok_or_else(wrong)?;
        if len > 0 {
            return Ok((block, len.into()));
        }
        // A moved directory: its own first record has its length.
        let own = self.bytes(block, 33)?;
        Ok((block, u64::from(crate::format::bytes::le32(&own, 10))))
    }

    /// Reads `len` bytes from the start of a block.
    fn bytes(&self, block: u32, len: u64) -> Result<Vec<u8>, Fault> {
        if len > LONGEST_DIRECTORY {
            return Err(Fault::Long(len, block));
        }
        let offset = u64::from(block) * self.descriptors.block;
        if offset.checked_add(len).is_none_or(|end| end > self.medium.size()) {
            return Err(Fault::Read { offset, source: io::ErrorKind::UnexpectedEof.into() });
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
        self.medium.read_at(&mut bytes, offset).map_err(|source| Fault::Read { offset, source })?;
        Ok(bytes)
    }

    /// Returns the entry at a path; `None` is the root directory. An exact name takes precedence over one that differs
    /// in case.
    pub fn find(&self, path: &str) -> Result<Option<Entry>, Fault> {
        let mut here: Option<Entry> = None;
        for name in path.split('/').filter(|name| !name.is_empty() && *name != ".") {
            let entries = self.list(here.as_ref())?;
            let exact = entries.iter().position(|entry| entry.name == name);
            let index = exact.or_else(|| entries.iter().position(|entry| entry.name.eq_ignore_ascii_case(name)));
            let found = index.and_then(|index| entries.into_iter().nth(index));
            here = Some(found.ok_or_else(|| Fault::Missing(name.to_owned()))?);
        }
        Ok(here)
    }

    /// Returns the content of a file.
    pub fn content(&self, file: &Entry) -> Result<Content<&M>, Fault> {
        match &file.kind {
            EntryKind::File if file.interleaved => return Err(Fault::Interleaved(file.name.clone())),
            EntryKind::File => {}
            EntryKind::Directory => return Err(Fault::WrongType(file.name.clone(), "a directory, not a file")),
            EntryKind::Link(_) => return Err(Fault::WrongType(file.name.clone(), "a symbolic link, not a file")),
        }
        let block = self.descriptors.block;
        let runs = file.extents.iter().map(|(first, len)| (u64::from(*first) * block, u64::from(*len)));
        Ok(Content::new(&self.medium, file.size, runs))
    }
}
