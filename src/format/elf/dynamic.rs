//! Data for dynamic loading: interpreter, libraries, search paths.
//!
//! Uses program headers only, never section headers, so that stripped files work too. Rejects what the kernel
//! (`fs/binfmt_elf.c`) or the C libraries reject.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use goblin::elf::dynamic::{
    DF_1_NODEFLIB, DF_1_PIE, DT_FLAGS_1, DT_NEEDED, DT_NULL, DT_RPATH, DT_RUNPATH, DT_SONAME, DT_STRSZ, DT_STRTAB, Dyn,
    Dynamic,
};
use goblin::elf::program_header::{PT_DYNAMIC, PT_INTERP, PT_LOAD, PT_NOTE, ProgramHeader};

use super::dlopen_note::{self, DlopenNote};
use super::{Abi, Elf, ElfError, ElfKind, malformed};
use crate::format::read_at::{PagedReader, ReadAt};

/// Size limit of the dynamic section: over two thousand entries; real files have fifty.
const MAX_DYNAMIC: u64 = 65_536;
/// Kernel limit on `PT_INTERP`, also applied to library names (`PATH_MAX`).
const MAX_NAME: u64 = 4_096;
/// Size limit of a search path; those of build trees are long.
const MAX_SEARCH_PATH: u64 = 65_536;
/// From `elf.h`; goblin defines neither.
const DT_AUXILIARY: u64 = 0x7fff_fffd;
const DT_FILTER: u64 = 0x7fff_ffff;

/// Dynamic loading data of an ELF file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElfFacts {
    /// Class, data encoding and machine.
    pub abi: Abi,
    /// Executable, shared object, or a file that cannot be run.
    pub(crate) kind: ElfKind,
    /// `PT_INTERP`.
    pub interpreter: Option<PathBuf>,
    /// `DT_NEEDED` and `DT_FILTER`, in order.
    pub needed: Vec<OsString>,
    /// `DT_AUXILIARY`: loaded if found.
    pub(crate) auxiliary: Vec<OsString>,
    /// `DT_SONAME`.
    pub(crate) soname: Option<OsString>,
    /// `DT_RPATH`; `None` if there is a `DT_RUNPATH`, which disables it.
    pub(crate) rpath: Option<OsString>,
    /// `DT_RUNPATH`.
    pub(crate) runpath: Option<OsString>,
    /// `DF_1_NODEFLIB`: the default directories are not searched.
    pub(crate) no_default_lib: bool,
    /// `DF_1_PIE`: a program, although its type is that of a shared object.
    pub(crate) pie: bool,
    /// `.note.dlopen`.
    pub(crate) dlopen: Vec<DlopenNote>,
    /// Dynamic string table: offset and size in the file.
    pub(crate) strings: Option<(u64, u64)>,
    /// Constant data, as offsets and sizes: segments that are neither writable nor executable.
    pub(crate) constants: Vec<(u64, u64)>,
}

impl ElfFacts {
    /// Reads the headers, notes and dynamic section of a file.
    pub fn read<R: ReadAt + ?Sized>(reader: PagedReader<'_, R>) -> Result<Self, ElfError> {
        let mut elf = Elf::read(reader)?;
        let mut facts = Self {
            abi: elf.abi,
            kind: elf.kind,
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
        if matches!(facts.kind, ElfKind::Other(_)) {
            return Ok(facts);
        }
        let segments = elf.segments()?;
        for segment in &segments {
            match segment.p_type {
                PT_INTERP if facts.interpreter.is_none() => facts.interpreter = Some(interpreter(&mut elf, segment)?),
                PT_LOAD if !segment.is_write() && !segment.is_executable() => {
                    facts.constants.push((segment.p_offset, segment.p_filesz));
                }
                // The specification's note is 4-byte aligned; segments with 8-byte alignment contain only GNU
                // properties. Notes are advisory: unreadable ones are skipped.
                PT_NOTE if segment.p_align <= 4 => facts.dlopen.extend(dlopen_notes(&mut elf, segment)),
                _ => {}
            }
        }
        if let Some(dynamic) = segments.iter().find(|segment| segment.p_type == PT_DYNAMIC) {
            facts.add_dynamic(&mut elf, dynamic, &segments)?;
        }
        Ok(facts)
    }

    fn add_dynamic<R: ReadAt + ?Sized>(
        &mut self,
        elf: &mut Elf<'_, R>,
        dynamic: &ProgramHeader,
        segments: &[ProgramHeader],
    ) -> Result<(), ElfError> {
        let offset = dynamic.p_offset;
        if dynamic.p_filesz > MAX_DYNAMIC {
            return Err(malformed(offset, "PT_DYNAMIC is larger than 64 KiB"));
        }
        let context = elf.context;
        let bytes = elf.bytes(offset, dynamic.p_filesz, "PT_DYNAMIC extends past the end of the file")?;
        // goblin expects the whole file: pass only the segment, at offset 0.
        let segment = ProgramHeader { p_type: PT_DYNAMIC, p_filesz: bytes.len() as u64, ..ProgramHeader::new() };
        let Ok(Some(Dynamic { dyns, .. })) = Dynamic::parse(bytes, &[segment], context) else {
            return Err(malformed(offset, "PT_DYNAMIC cannot be parsed"));
        };
        self.strings = string_table(offset, &dyns, segments)?;
        let mut string = |index, limit| string(elf, self.strings, index, limit);
        for Dyn { d_tag, d_val } in dyns {
            match d_tag {
                DT_NULL => break,
                DT_NEEDED | DT_FILTER => self.needed.push(string(d_val, MAX_NAME)?),
                DT_AUXILIARY => self.auxiliary.push(string(d_val, MAX_NAME)?),
                DT_SONAME => self.soname = Some(string(d_val, MAX_NAME)?),
                DT_RPATH => self.rpath = Some(string(d_val, MAX_SEARCH_PATH)?),
                DT_RUNPATH => self.runpath = Some(string(d_val, MAX_SEARCH_PATH)?),
                DT_FLAGS_1 => {
                    self.no_default_lib = d_val & DF_1_NODEFLIB != 0;
                    self.pie = d_val & DF_1_PIE != 0;
                }
                _ => {}
            }
        }
        if self.runpath.is_some() {
            // elf/get-dynamic-info.h: DT_RUNPATH disables DT_RPATH.
            self.rpath = None;
        }
        Ok(())
    }

    /// Returns true if the dynamic string table contains one of `names`, or a longer name that ends in one.
    ///
    /// Linkers merge string tails, so `pthread_exit` may be part of `__pthread_exit`: false positives are possible.
    pub fn string_table_contains(&self, source: &(impl ReadAt + ?Sized), names: &[&[u8]]) -> io::Result<bool> {
        const STEP: u64 = 65_536;
        let Some((start, size)) = self.strings else { return Ok(false) };
        let end = start.saturating_add(size).min(source.size());
        let longest = names.iter().map(|name| name.len() + 1).max().unwrap_or(0) as u64;
        let mut buffer = vec![0; STEP as usize];
        let mut at = start;
        while at < end {
            let length = (end - at).min(STEP);
            let part = buffer.get_mut(..length as usize).unwrap_or_default();
            source.read_at(part, at)?;
            // The part after the last NUL continues in the next step.
            let whole = part.rsplitn(2, |byte| *byte == 0).nth(1).unwrap_or_default();
            if whole.split(|byte| *byte == 0).any(|word| names.iter().any(|name| word.ends_with(name))) {
                return Ok(true);
            }
            if at + length == end {
                return Ok(false);
            }
            // Step back, so that a name at the boundary is seen whole the next time.
            at += length.saturating_sub(longest).max(1);
        }
        Ok(false)
    }
}

fn interpreter<R: ReadAt + ?Sized>(elf: &mut Elf<'_, R>, segment: &ProgramHeader) -> Result<PathBuf, ElfError> {
    // fs/binfmt_elf.c, load_elf_binary: 2 to PATH_MAX bytes, the last of them NUL.
    if !(2..=MAX_NAME).contains(&segment.p_filesz) {
        return Err(malformed(segment.p_offset, "PT_INTERP is not 2 to 4096 bytes long"));
    }
    let bytes = elf.bytes(segment.p_offset, segment.p_filesz, "PT_INTERP extends past the end of the file")?;
    let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    if name.len() == bytes.len() || !name.starts_with(b"/") {
        return Err(malformed(segment.p_offset, "PT_INTERP is not a NUL-terminated absolute path"));
    }
    Ok(PathBuf::from(OsString::from_vec(name.to_vec())))
}

fn dlopen_notes<R: ReadAt + ?Sized>(elf: &mut Elf<'_, R>, segment: &ProgramHeader) -> Vec<DlopenNote> {
    let notes = elf.notes(segment).into_iter().flatten();
    let notes = notes.filter(|note| note.n_type == dlopen_note::TYPE && note.name == dlopen_note::OWNER);
    notes.flat_map(|note| dlopen_note::parse(note.desc)).collect()
}

/// Returns the file offset and size of the string table. Translates the address in `DT_STRTAB` through `PT_LOAD`.
fn string_table(at: u64, dyns: &[Dyn], segments: &[ProgramHeader]) -> Result<Option<(u64, u64)>, ElfError> {
    let value = |tag| dyns.iter().rev().find(|entry| entry.d_tag == tag).map(|entry| entry.d_val);
    let (Some(address), Some(size)) = (value(DT_STRTAB), value(DT_STRSZ)) else {
        return Ok(None);
    };
    let inside = segments.iter().filter(|segment| segment.p_type == PT_LOAD).find_map(|load| {
        let distance = address.checked_sub(load.p_vaddr)?;
        (distance < load.p_filesz).then(|| Some((load.p_offset.checked_add(distance)?, load.p_filesz - distance)))?
    });
    match inside {
        Some((offset, room)) if size <= room => Ok(Some((offset, size))),
        Some(_) => Err(malformed(at, "DT_STRSZ extends past its segment")),
        None => Err(malformed(at, "DT_STRTAB is in no segment of the file")),
    }
}

fn string<R: ReadAt + ?Sized>(
    elf: &mut Elf<'_, R>,
    table: Option<(u64, u64)>,
    index: u64,
    limit: u64,
) -> Result<OsString, ElfError> {
    let (start, size) = table.ok_or(malformed(0, "DT_STRTAB is missing, but names refer to it"))?;
    let offset = start.saturating_add(index);
    let Some(room) = size.checked_sub(index).filter(|room| *room > 0) else {
        return Err(malformed(offset, "a name is outside the dynamic string table"));
    };
    // Most names are short: a name in a page that has been read already needs no further read.
    for length in [64.min(room), room.min(limit)] {
        let bytes = elf.bytes(offset, length, "the dynamic string table extends past the end of the file")?;
        if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
            return Ok(OsString::from_vec(bytes.get(..end).unwrap_or_default().to_vec()));
        }
    }
    Err(malformed(offset, "unterminated name in the dynamic string table"))
}
