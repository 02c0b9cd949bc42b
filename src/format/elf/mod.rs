//! Reader of ELF files (System V ABI, chapters 4 and 5). goblin parses the structures.
//!
//! Answers a few questions, and reads only what each of them needs: class and machine, segments, notes, one section by
//! name. `dynamic` reads the data for dynamic loading. Rejects references past the end of the file. Every size is
//! bounded before it is read.

pub(crate) mod dlopen_note;
pub(crate) mod dynamic;
#[cfg(test)]
pub(crate) mod tests;

use std::io;

use goblin::container::Ctx;
use goblin::elf::header::{EI_CLASS, EI_DATA, ELFCLASS64, ELFDATA2LSB, ELFMAG, ET_DYN, ET_EXEC, Header};
use goblin::elf::note::{Note, NoteDataIterator};
use goblin::elf::section_header::SectionHeader;

pub(crate) use goblin::elf::header::ET_REL;
pub(crate) use goblin::elf::program_header::{PT_LOAD, PT_NOTE, ProgramHeader};

pub use self::dynamic::ElfFacts;
use super::read_at::{PagedReader, ReadAt};
use crate::arch::Arch;

/// Kernel limit on the total size of the program headers (`fs/binfmt_elf.c`, `load_elf_phdrs`).
const MAX_PROGRAM_HEADERS: u64 = 65_536;
/// Size limit of section headers and section names. The largest kernel modules have a few hundred KiB.
const MAX_SECTION_TABLE: u64 = 16 << 20;
/// Size limit of a segment's notes; systemd's whole `.note.dlopen` is 2 KiB.
const MAX_NOTES: u64 = 1 << 20;

/// ELF properties that two files must have in common to share an address space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Abi {
    /// `e_machine`.
    pub(crate) machine: u16,
    /// `ELFCLASS64`.
    pub(crate) is_64: bool,
    /// `ELFDATA2LSB`.
    pub(crate) little_endian: bool,
}

impl Abi {
    /// Returns the architecture, if it is supported.
    pub(crate) fn arch(self) -> Option<Arch> {
        Arch::from_elf(self.machine, self.is_64, self.little_endian)
    }

    /// Returns the ABI of `arch`.
    pub fn of(arch: Arch) -> Self {
        let (machine, is_64, little_endian) = arch.elf();
        Self { machine, is_64, little_endian }
    }
}

impl std::fmt::Display for Abi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(arch) = self.arch() {
            return arch.fmt(f);
        }
        let (bits, endian) = (if self.is_64 { 64 } else { 32 }, if self.little_endian { "little" } else { "big" });
        write!(f, "ELF machine {} ({bits}-bit, {endian} endian)", self.machine)
    }
}

/// `e_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ElfKind {
    /// `ET_EXEC`.
    Executable,
    /// `ET_DYN`: a library, or a position-independent program.
    Shared,
    /// Object files, core dumps.
    Other(u16),
}

/// Failure to read an ELF file.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// The file violates a rule.
    #[error("{rule} (at offset {offset:#x})")]
    Malformed {
        /// Offset in the file.
        offset: u64,
        /// The violated rule.
        rule: &'static str,
    },
    /// An I/O error.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Returns true if `start`, a file's first bytes, begins with the ELF magic.
pub fn is_elf(start: &[u8]) -> bool {
    start.starts_with(ELFMAG)
}

/// Section headers, in the order of their indexes, and their names.
#[derive(Debug, Default)]
pub(crate) struct Sections {
    pub(crate) headers: Vec<SectionHeader>,
    names: Vec<u8>,
}

impl Sections {
    /// Returns the first section with this name.
    pub(crate) fn find(&self, name: &str) -> Option<&SectionHeader> {
        self.headers.iter().find(|section| {
            let rest = self.names.get(section.sh_name..).and_then(|rest| rest.strip_prefix(name.as_bytes()));
            rest.is_some_and(|rest| rest.first() == Some(&0))
        })
    }
}

/// An ELF file, of which the header has been read.
#[derive(Debug)]
pub(crate) struct Elf<'a, R: ?Sized> {
    /// Class, data encoding and machine.
    pub(crate) abi: Abi,
    /// Executable, shared object, or a file that cannot be run.
    pub(crate) kind: ElfKind,
    header: Header,
    context: Ctx,
    reader: PagedReader<'a, R>,
}

impl<'a, R: ReadAt + ?Sized> Elf<'a, R> {
    /// Reads the header.
    pub(crate) fn read(mut reader: PagedReader<'a, R>) -> Result<Self, ElfError> {
        let malformed = || malformed(0, "the header is truncated, or its class or byte order is invalid");
        let header = goblin::elf::Elf::parse_header(reader.read_up_to(0, 64)?).map_err(|_| malformed())?;
        let container = header.container().map_err(|_| malformed())?;
        let endian = header.endianness().map_err(|_| malformed())?;
        let abi = Abi {
            machine: header.e_machine,
            is_64: header.e_ident.get(EI_CLASS) == Some(&ELFCLASS64),
            little_endian: header.e_ident.get(EI_DATA) == Some(&ELFDATA2LSB),
        };
        let kind = match header.e_type {
            ET_EXEC => ElfKind::Executable,
            ET_DYN => ElfKind::Shared,
            other => ElfKind::Other(other),
        };
        Ok(Self { abi, kind, header, context: Ctx::new(container, endian), reader })
    }

    /// Returns class and byte order.
    pub(crate) fn context(&self) -> Ctx {
        self.context
    }

    /// Returns the program headers.
    pub(crate) fn segments(&mut self) -> Result<Vec<ProgramHeader>, ElfError> {
        let (offset, count) = (self.header.e_phoff, usize::from(self.header.e_phnum));
        let size = ProgramHeader::size(self.context);
        if count > 0 && usize::from(self.header.e_phentsize) != size {
            return Err(malformed(0, "e_phentsize is not the size of a program header"));
        }
        let total = (count as u64).saturating_mul(size as u64);
        if total > MAX_PROGRAM_HEADERS {
            return Err(malformed(0, "the program headers are larger than 64 KiB"));
        }
        let context = self.context;
        let bytes = self.bytes(offset, total, "the program headers extend past the end of the file")?;
        ProgramHeader::parse(bytes, 0, count, context)
            .map_err(|_| malformed(offset, "the program headers cannot be parsed"))
    }

    /// Returns the notes in a segment, up to the first invalid one; none if the segment is too large.
    pub(crate) fn notes(&mut self, segment: &ProgramHeader) -> Result<impl Iterator<Item = Note<'_>>, ElfError> {
        let size = if segment.p_filesz > MAX_NOTES { 0 } else { segment.p_filesz };
        let context = self.context;
        let data = self.bytes(segment.p_offset, size, "PT_NOTE extends past the end of the file")?;
        Ok(NoteDataIterator { data, size: data.len(), offset: 0, ctx: (4, context) }.map_while(Result::ok))
    }

    /// Returns the contents of the first section with this name. Limit: `limit` bytes.
    pub(crate) fn section(&mut self, name: &str, limit: u64) -> Result<Option<&[u8]>, ElfError> {
        match self.sections()?.find(name) {
            Some(section) => self.contents(section, limit).map(Some),
            None => Ok(None),
        }
    }

    /// Returns the contents of a section. Limit: `limit` bytes.
    pub(crate) fn contents(&mut self, section: &SectionHeader, limit: u64) -> Result<&[u8], ElfError> {
        self.limited(section, limit, "a section extends past the end of the file")
    }

    /// Returns the section headers; none if their names are missing.
    pub(crate) fn sections(&mut self) -> Result<Sections, ElfError> {
        let (size, count) = (SectionHeader::size(self.context) as u64, u64::from(self.header.e_shnum));
        if count > 0 && u64::from(self.header.e_shentsize) != size {
            return Err(malformed(0, "e_shentsize is not the size of a section header"));
        }
        let (start, context) = (self.header.e_shoff, self.context);
        let table = self.bytes(start, count * size, "the section headers extend past the end of the file")?;
        let headers = SectionHeader::parse_from(table, 0, count as usize, context)
            .map_err(|_| malformed(start, "the section headers cannot be parsed"))?;
        let Some(names) = headers.get(usize::from(self.header.e_shstrndx)) else { return Ok(Sections::default()) };
        let names = self.limited(names, MAX_SECTION_TABLE, "the section names extend past the end of the file")?;
        Ok(Sections { names: names.to_vec(), headers })
    }

    fn limited(&mut self, section: &SectionHeader, limit: u64, rule: &'static str) -> Result<&[u8], ElfError> {
        if section.sh_size > limit {
            return Err(malformed(section.sh_offset, "a section is larger than any real one"));
        }
        self.bytes(section.sh_offset, section.sh_size, rule)
    }

    /// Returns a byte range, which the caller must bound. `rule` is violated if the range is not in the file.
    fn bytes(&mut self, offset: u64, length: u64, rule: &'static str) -> Result<&[u8], ElfError> {
        self.reader.read_exact(offset, length).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => malformed(offset, rule),
            _ => ElfError::Io(error),
        })
    }
}

fn malformed(offset: u64, rule: &'static str) -> ElfError {
    ElfError::Malformed { offset, rule }
}
