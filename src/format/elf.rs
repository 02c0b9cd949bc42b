//! Parses ELF files as far as dynamic loading needs it: architecture, interpreter, libraries, search paths.
//!
//! System V ABI chapters 4 and 5. Uses program headers only, never section headers, so that stripped files work too.
//! Rejects what the kernel (`fs/binfmt_elf.c`) or the C libraries reject, and references past the end of the file.
//! Every size is bounded before it is read.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use goblin::container::Ctx;
use goblin::elf::Elf;
use goblin::elf::dynamic::{
    DF_1_NODEFLIB, DF_1_PIE, DT_FLAGS_1, DT_NEEDED, DT_NULL, DT_RPATH, DT_RUNPATH, DT_SONAME, DT_STRSZ, DT_STRTAB, Dyn,
    Dynamic,
};
use goblin::elf::header::{EI_CLASS, EI_DATA, ELFCLASS64, ELFDATA2LSB, ELFMAG, ET_DYN, ET_EXEC, Header};
use goblin::elf::note::NoteDataIterator;
use goblin::elf::program_header::{PT_DYNAMIC, PT_INTERP, PT_LOAD, PT_NOTE, ProgramHeader};

use super::dlopen_note::{self, DlopenNote};
use super::pages::{PageError, Pages, Source};
use crate::arch::Arch;

/// Kernel limit on the total size of the program headers (`fs/binfmt_elf.c`, `load_elf_phdrs`).
const MAX_PROGRAM_HEADERS: u64 = 65_536;
/// Size limit of the dynamic section: over two thousand entries; real files have fifty.
const MAX_DYNAMIC: u64 = 65_536;
/// Kernel limit on `PT_INTERP`, also applied to library names (`PATH_MAX`).
const MAX_NAME: u64 = 4_096;
/// Size limit of a search path; those of build trees are long.
const MAX_SEARCH_PATH: u64 = 65_536;
/// Size limit of a segment's notes; systemd's whole `.note.dlopen` is 2 KiB.
const MAX_NOTES: u64 = 65_536;
/// From `elf.h`; goblin defines neither.
const DT_AUXILIARY: u64 = 0x7fff_fffd;
const DT_FILTER: u64 = 0x7fff_ffff;

/// Dynamic loading data of an ELF file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElfFacts {
    /// Class, data encoding and machine.
    pub abi: Abi,
    /// Executable, shared object, or a file that cannot be run.
    pub kind: ElfKind,
    /// `PT_INTERP`.
    pub interpreter: Option<PathBuf>,
    /// `DT_NEEDED` and `DT_FILTER`, in order.
    pub needed: Vec<OsString>,
    /// `DT_AUXILIARY`: loaded if found.
    pub auxiliary: Vec<OsString>,
    /// `DT_SONAME`.
    pub soname: Option<OsString>,
    /// `DT_RPATH`; `None` if there is a `DT_RUNPATH`, which disables it.
    pub rpath: Option<OsString>,
    /// `DT_RUNPATH`.
    pub runpath: Option<OsString>,
    /// `DF_1_NODEFLIB`: the default directories are not searched.
    pub no_default_lib: bool,
    /// `DF_1_PIE`: a program, although its type is that of a shared object.
    pub pie: bool,
    /// `.note.dlopen`.
    pub dlopen: Vec<DlopenNote>,
    /// Dynamic string table: offset and size in the file.
    pub strings: Option<(u64, u64)>,
    /// Constant data, as offsets and sizes: segments that are neither writable nor executable.
    pub constants: Vec<(u64, u64)>,
}

/// ELF properties that two files must have in common to share an address space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Abi {
    /// `e_machine`.
    pub machine: u16,
    /// `ELFCLASS64`.
    pub is_64: bool,
    /// `ELFDATA2LSB`.
    pub little_endian: bool,
}

impl Abi {
    /// Returns the architecture, if it is supported.
    pub fn arch(self) -> Option<Arch> {
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
pub enum ElfKind {
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
    #[error("failed to read {}: {rule} (at offset {offset:#x})", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Offset in the file.
        offset: u64,
        /// The violated rule.
        rule: &'static str,
    },
    /// An I/O error.
    #[error("failed to read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The underlying error.
        source: io::Error,
    },
}

/// Returns true if `start`, a file's first bytes, begins with the ELF magic.
pub fn is_elf(start: &[u8]) -> bool {
    start.starts_with(ELFMAG)
}

/// Parses an ELF file; `path` is used in messages.
pub fn parse<S: Source + ?Sized>(source: &S, path: &Path) -> Result<ElfFacts, ElfError> {
    let pages = Pages::new(source).map_err(|source| ElfError::Io { path: path.to_path_buf(), source })?;
    parse_pages(pages, path)
}

/// Like [`parse`], for a file of which some pages have been read already.
pub(crate) fn parse_pages<S: Source + ?Sized>(pages: Pages<'_, S>, path: &Path) -> Result<ElfFacts, ElfError> {
    Reader { pages, path }.facts()
}

/// Returns true if the dynamic string table contains one of `names`, or a longer name that ends in one.
///
/// Linkers merge string tails, so `pthread_exit` may be part of `__pthread_exit`: false positives are possible.
pub fn mentions<S: Source + ?Sized>(source: &S, facts: &ElfFacts, names: &[&[u8]]) -> io::Result<bool> {
    const STEP: usize = 65_536;
    let Some((start, size)) = facts.strings else {
        return Ok(false);
    };
    let longest = names.iter().map(|name| name.len() + 1).max().unwrap_or(0) as u64;
    let mut buffer = vec![0; STEP];
    let mut done = 0;
    while done < size {
        let want = usize::try_from(size - done).unwrap_or(STEP).min(STEP);
        let part = buffer.get_mut(..want).unwrap_or_default();
        let count = source.read_some(part, start.saturating_add(done))?;
        let part = part.get(..count).unwrap_or_default();
        let end = part.iter().rposition(|byte| *byte == 0).unwrap_or(0);
        let whole = part.get(..end).unwrap_or_default();
        if whole.split(|byte| *byte == 0).any(|word| names.iter().any(|name| word.ends_with(name))) {
            return Ok(true);
        }
        if count < STEP {
            return Ok(false);
        }
        // Step back, so that a name at the boundary is seen whole the next time.
        done += (count as u64).saturating_sub(longest).max(1);
    }
    Ok(false)
}

struct Reader<'a, S: Source + ?Sized> {
    pages: Pages<'a, S>,
    path: &'a Path,
}

impl<S: Source + ?Sized> Reader<'_, S> {
    fn facts(mut self) -> Result<ElfFacts, ElfError> {
        let start = self.at_most(0, 64)?.to_vec();
        let malformed = self.malformed(0, "the header is truncated, or its class or byte order is invalid");
        let Ok(header) = Elf::parse_header(&start) else {
            return Err(malformed);
        };
        let (Ok(container), Ok(endian)) = (header.container(), header.endianness()) else {
            return Err(malformed);
        };
        let context = Ctx::new(container, endian);
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
        let mut facts = ElfFacts {
            abi,
            kind,
            interpreter: None,
            needed: Vec::new(),
            auxiliary: Vec::new(),
            soname: None,
            rpath: None,
            runpath: None,
            no_default_lib: false,
            pie: false,
            dlopen: Vec::new(),
            strings: None,
            constants: Vec::new(),
        };
        if !matches!(kind, ElfKind::Other(_)) {
            let headers = self.program_headers(&header, context)?;
            self.segments(&headers, context, &mut facts)?;
        }
        Ok(facts)
    }

    fn program_headers(&mut self, header: &Header, context: Ctx) -> Result<Vec<ProgramHeader>, ElfError> {
        let (offset, count) = (header.e_phoff, usize::from(header.e_phnum));
        let size = ProgramHeader::size(context);
        if count > 0 && usize::from(header.e_phentsize) != size {
            return Err(self.malformed(0, "e_phentsize is not the size of a program header"));
        }
        let total = (count as u64).saturating_mul(size as u64);
        if total > MAX_PROGRAM_HEADERS {
            return Err(self.malformed(0, "the program headers are larger than 64 KiB"));
        }
        let bytes = self.exactly(offset, total, "the program headers extend past the end of the file")?;
        ProgramHeader::parse(bytes, 0, count, context)
            .map_err(|_| self.malformed(offset, "the program headers cannot be parsed"))
    }

    fn segments(&mut self, headers: &[ProgramHeader], context: Ctx, facts: &mut ElfFacts) -> Result<(), ElfError> {
        for header in headers {
            match header.p_type {
                PT_INTERP if facts.interpreter.is_none() => facts.interpreter = Some(self.interpreter(header)?),
                PT_LOAD if !header.is_write() && !header.is_executable() => {
                    facts.constants.push((header.p_offset, header.p_filesz));
                }
                PT_NOTE => self.notes(header, context, &mut facts.dlopen),
                _ => {}
            }
        }
        if let Some(dynamic) = headers.iter().find(|header| header.p_type == PT_DYNAMIC) {
            self.dynamic(dynamic, headers, context, facts)?;
        }
        Ok(())
    }

    fn interpreter(&mut self, header: &ProgramHeader) -> Result<PathBuf, ElfError> {
        // fs/binfmt_elf.c, load_elf_binary: 2 to PATH_MAX bytes, the last of them NUL.
        if !(2..=MAX_NAME).contains(&header.p_filesz) {
            return Err(self.malformed(header.p_offset, "PT_INTERP is not 2 to 4096 bytes long"));
        }
        let bytes = self.exactly(header.p_offset, header.p_filesz, "PT_INTERP extends past the end of the file")?;
        let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        if name.len() == bytes.len() || !name.starts_with(b"/") {
            return Err(self.malformed(header.p_offset, "PT_INTERP is not a NUL-terminated absolute path"));
        }
        Ok(PathBuf::from(OsString::from_vec(name.to_vec())))
    }

    /// Notes are advisory: unreadable ones are skipped.
    fn notes(&mut self, header: &ProgramHeader, context: Ctx, into: &mut Vec<DlopenNote>) {
        // The specification's note is 4-byte aligned; segments with 8-byte alignment contain only GNU properties.
        if header.p_align > 4 || header.p_filesz > MAX_NOTES {
            return;
        }
        let Ok(data) = self.exactly(header.p_offset, header.p_filesz, "PT_NOTE extends past the end of the file")
        else {
            return;
        };
        let notes = NoteDataIterator { data, size: data.len(), offset: 0, ctx: (4, context) };
        for note in notes.map_while(Result::ok) {
            if note.n_type == dlopen_note::TYPE && note.name.trim_end_matches('\0').as_bytes() == dlopen_note::OWNER {
                into.extend(dlopen_note::parse(note.desc));
            }
        }
    }

    fn dynamic(
        &mut self,
        segment: &ProgramHeader,
        headers: &[ProgramHeader],
        context: Ctx,
        facts: &mut ElfFacts,
    ) -> Result<(), ElfError> {
        let offset = segment.p_offset;
        if segment.p_filesz > MAX_DYNAMIC {
            return Err(self.malformed(offset, "PT_DYNAMIC is larger than 64 KiB"));
        }
        let past_end = "PT_DYNAMIC extends past the end of the file";
        let bytes = self.exactly(offset, segment.p_filesz, past_end)?;
        // goblin expects the whole file: pass only the segment, at offset 0.
        let alone = ProgramHeader { p_type: PT_DYNAMIC, p_filesz: bytes.len() as u64, ..ProgramHeader::new() };
        let Ok(Some(Dynamic { dyns, .. })) = Dynamic::parse(bytes, &[alone], context) else {
            return Err(self.malformed(offset, "PT_DYNAMIC cannot be parsed"));
        };
        facts.strings = self.string_table(offset, &dyns, headers)?;
        for Dyn { d_tag, d_val } in dyns {
            match d_tag {
                DT_NULL => break,
                DT_NEEDED | DT_FILTER => facts.needed.push(self.string(facts.strings, d_val, MAX_NAME)?),
                DT_AUXILIARY => facts.auxiliary.push(self.string(facts.strings, d_val, MAX_NAME)?),
                DT_SONAME => facts.soname = Some(self.string(facts.strings, d_val, MAX_NAME)?),
                DT_RPATH => facts.rpath = Some(self.string(facts.strings, d_val, MAX_SEARCH_PATH)?),
                DT_RUNPATH => facts.runpath = Some(self.string(facts.strings, d_val, MAX_SEARCH_PATH)?),
                DT_FLAGS_1 => {
                    facts.no_default_lib = d_val & DF_1_NODEFLIB != 0;
                    facts.pie = d_val & DF_1_PIE != 0;
                }
                _ => {}
            }
        }
        if facts.runpath.is_some() {
            // elf/get-dynamic-info.h: DT_RUNPATH disables DT_RPATH.
            facts.rpath = None;
        }
        Ok(())
    }

    /// Returns the file offset and size of the string table. Translates the address in `DT_STRTAB` through `PT_LOAD`.
    fn string_table(&self, at: u64, dyns: &[Dyn], headers: &[ProgramHeader]) -> Result<Option<(u64, u64)>, ElfError> {
        let value = |tag| dyns.iter().rev().find(|entry| entry.d_tag == tag).map(|entry| entry.d_val);
        let (Some(address), Some(size)) = (value(DT_STRTAB), value(DT_STRSZ)) else {
            return Ok(None);
        };
        let inside = headers.iter().filter(|header| header.p_type == PT_LOAD).find_map(|load| {
            let distance = address.checked_sub(load.p_vaddr)?;
            (distance < load.p_filesz)
                .then(|| Some((load.p_offset.checked_add(distance)?, load.p_filesz - distance)))?
        });
        match inside {
            Some((offset, room)) if size <= room => Ok(Some((offset, size))),
            Some(_) => Err(self.malformed(at, "DT_STRSZ extends past its segment")),
            None => Err(self.malformed(at, "DT_STRTAB is in no segment of the file")),
        }
    }

    fn string(&mut self, table: Option<(u64, u64)>, index: u64, limit: u64) -> Result<OsString, ElfError> {
        let Some((start, size)) = table else {
            return Err(self.malformed(0, "DT_STRTAB is missing, but names refer to it"));
        };
        let offset = start.saturating_add(index);
        let Some(room) = size.checked_sub(index).filter(|room| *room > 0) else {
            return Err(self.malformed(offset, "a name is outside the dynamic string table"));
        };
        // Most names are short: a name in a page that has been read already needs no further read.
        for length in [64.min(room), room.min(limit)] {
            let past_end = "the dynamic string table extends past the end of the file";
            let bytes = self.exactly(offset, length, past_end)?;
            if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
                return Ok(OsString::from_vec(bytes.get(..end).unwrap_or_default().to_vec()));
            }
        }
        Err(self.malformed(offset, "unterminated name in the dynamic string table"))
    }

    fn exactly(&mut self, offset: u64, length: u64, rule: &'static str) -> Result<&[u8], ElfError> {
        let path = self.path;
        self.pages.exactly(offset, length).map_err(|error| page_error(path, offset, rule, error))
    }

    fn at_most(&mut self, offset: u64, length: u64) -> Result<&[u8], ElfError> {
        let path = self.path;
        self.pages.at_most(offset, length).map_err(|error| page_error(path, offset, "the file is truncated", error))
    }

    fn malformed(&self, offset: u64, rule: &'static str) -> ElfError {
        ElfError::Malformed { path: self.path.to_path_buf(), offset, rule }
    }
}

fn page_error(path: &Path, offset: u64, rule: &'static str, error: PageError) -> ElfError {
    let path = path.to_path_buf();
    match error {
        PageError::PastEnd => ElfError::Malformed { path, offset, rule },
        PageError::Shrank => ElfError::Malformed { path, offset, rule: "the file shrank while being read" },
        PageError::Io(source) => ElfError::Io { path, source },
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::{any, proptest};

    use super::{Abi, ElfError, ElfFacts, ElfKind, mentions, parse};
    use crate::arch::Arch;
    use crate::format::dlopen_note::Priority;
    use crate::format::elf_builder::ElfBuilder;

    fn read(bytes: &[u8]) -> Result<ElfFacts, ElfError> {
        parse(bytes, Path::new("/x"))
    }

    fn rich(arch: Arch) -> ElfBuilder {
        let note = r#"[{"soname":["libz.so.1"],"priority":"required"}]"#;
        let elf = ElfBuilder::library(arch).interpreter("/lib/ld.so").needed("liba.so.1").needed("libb.so.2");
        elf.soname("libx.so").rpath("/r").no_default_lib().dlopen_note(note).string("pthread_exit")
    }

    #[test]
    fn every_class_and_byte_order_is_parsed() {
        for arch in Arch::ALL {
            let facts = read(&rich(arch).build()).expect("a good file");
            assert_eq!(facts.abi, Abi::of(arch));
            assert_eq!(facts.kind, ElfKind::Shared);
            assert_eq!(facts.interpreter.as_deref(), Some(Path::new("/lib/ld.so")), "{arch}");
            assert_eq!(facts.needed, ["liba.so.1", "libb.so.2"]);
            assert_eq!(facts.soname.as_deref(), Some("libx.so".as_ref()));
            assert_eq!(facts.rpath.as_deref(), Some("/r".as_ref()));
            assert!(facts.no_default_lib && !facts.pie);
            assert_eq!(facts.dlopen[0].priority, Priority::Required, "{arch}");
        }
    }

    #[test]
    fn a_runpath_disables_the_rpath() {
        let facts = read(&rich(Arch::X86_64).runpath("/s").build()).expect("a good file");
        assert_eq!((facts.rpath, facts.runpath.as_deref()), (None, Some("/s".as_ref())));
    }

    #[test]
    fn functions_are_found_by_name() {
        let bytes = rich(Arch::X86_64).build();
        let facts = read(&bytes).expect("a good file");
        let has = |name: &str| mentions(bytes.as_slice(), &facts, &[name.as_bytes()]).expect("readable");
        assert!(has("pthread_exit"));
        assert!(!has("pthread_cancel") && !has("thread_exit_"));
        let mut far = ElfBuilder::library(Arch::X86_64);
        for index in 0..30_000 {
            far = far.string(&format!("symbol{index}"));
        }
        let bytes = far.string("pthread_cancel").build();
        // More entries than the dynamic section may have: only the string table matters here.
        let strings = (64 + 2 * 56, 500_000);
        let facts = ElfFacts { strings: Some(strings), ..facts };
        assert!(mentions(bytes.as_slice(), &facts, &[b"pthread_cancel"]).expect("readable"));
        assert!(mentions(bytes.as_slice(), &facts, &[b"symbol29999"]).expect("readable"));
        assert!(!mentions(bytes.as_slice(), &facts, &[b"symbol30001"]).expect("readable"));
    }

    #[test]
    fn a_truncated_file_is_an_error_with_an_offset() {
        let whole = rich(Arch::X86_64).build();
        for end in 0..whole.len() {
            let error = read(&whole[..end]).expect_err("a truncated file");
            assert!(error.to_string().contains("at offset 0x"), "{error}");
        }
    }

    #[test]
    fn an_unterminated_interpreter_and_a_string_table_outside_all_segments_are_refused() {
        let mut bytes = rich(Arch::X86_64).build();
        let at = bytes.windows(11).position(|window| window == b"/lib/ld.so\0").expect("the interpreter") + 10;
        bytes[at] = b'x';
        assert!(read(&bytes).expect_err("no NUL").to_string().contains("PT_INTERP"));
        let mut bytes = rich(Arch::X86_64).build();
        // p_vaddr of the only PT_LOAD, right after the ELF header.
        bytes[64 + 16] = 1;
        bytes[64 + 23] = 1;
        assert!(read(&bytes).expect_err("no segment").to_string().contains("DT_STRTAB"));
    }

    proptest! {
        #[test]
        fn damaged_files_never_panic(changes in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..8), arch in 0..8usize) {
            let mut bytes = rich(Arch::ALL[arch]).build();
            let length = bytes.len();
            for (at, value) in changes {
                bytes[usize::from(at) % length] = value;
            }
            if let Ok(facts) = read(&bytes) {
                mentions(bytes.as_slice(), &facts, &[b"pthread_exit"]).expect("a slice is readable");
            }
        }

        #[test]
        fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
            bytes.extend(noise);
            drop(read(&bytes));
        }
    }
}
