//! Parser of a `vmlinux`: an ELF file, which is bootable if it has a PVH entry note.
//!
//! QEMU (`hw/i386/x86.c`, `load_elfboot`) searches for the note with the name `Xen` and type 18
//! (`XEN_ELFNOTE_PHYS32_ENTRY`; `arch/x86/platform/pvh/head.S`). Reads only program headers and notes. Refuses tables
//! outside the file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use goblin::container::Ctx;
use goblin::elf::program_header::{PT_LOAD, PT_NOTE};
use goblin::elf::{Elf, ProgramHeader};

use crate::arch::Arch;

/// ELF's `ET_REL`.
const ET_REL: u16 = 1;
/// Size limit of a note segment, in bytes. A kernel has about five program headers and a few hundred bytes of notes.
const NOTES_LIMIT: u64 = 1 << 20;
/// `XEN_ELFNOTE_PHYS32_ENTRY`.
const PHYS32_ENTRY: u32 = 18;
/// Prefix of `linux_banner`.
const BANNER: &[u8] = b"Linux version ";

/// The ELF file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// Damaged or malicious content.
    #[error("{0}")]
    Bad(String),
    /// An I/O error.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<goblin::error::Error> for ElfError {
    fn from(error: goblin::error::Error) -> Self {
        Self::Bad(error.to_string())
    }
}

/// Properties of a vmlinux.
#[derive(Debug, Clone)]
pub struct Vmlinux {
    /// `e_machine` of the ELF header.
    pub machine: u16,
    /// Architecture, if `e_machine` is a supported one.
    pub arch: Option<Arch>,
    /// True for kernel modules and object files (`ET_REL`).
    pub is_relocatable: bool,
    /// True if the file has a PVH entry note.
    pub has_pvh: bool,
    /// File offset and length of each `PT_LOAD` segment, all inside the file.
    loads: Vec<(u64, u64)>,
}

impl Vmlinux {
    /// Reads the headers and notes of a file of `len` bytes.
    pub fn read(file: &File, len: u64) -> Result<Self, ElfError> {
        let start = part(file, len, "the ELF header", 0, len.min(64))?;
        if start.len() < 64 {
            return Err(ElfError::Bad(format!("truncated ELF header: {len} bytes")));
        }
        let header = Elf::parse_header(&start)?;
        let (container, endian) = (header.container()?, header.endianness()?);
        let context = Ctx::new(container, endian);
        let arch = Arch::from_elf(header.e_machine, container.is_big(), endian.is_little());
        let mut found = Self {
            machine: header.e_machine,
            arch,
            is_relocatable: header.e_type == ET_REL,
            has_pvh: false,
            loads: Vec::new(),
        };
        let count = u64::from(header.e_phnum);
        if found.is_relocatable || count == 0 {
            return Ok(found);
        }
        let size = ProgramHeader::size(context) as u64;
        if u64::from(header.e_phentsize) != size {
            return Err(ElfError::Bad(format!("unexpected program header size {}", header.e_phentsize)));
        }
        let table = part(file, len, "the program headers", header.e_phoff, count * size)?;
        for segment in ProgramHeader::parse(&table, 0, usize::from(header.e_phnum), context)? {
            match segment.p_type {
                PT_LOAD => {
                    let end = segment.p_offset.checked_add(segment.p_filesz);
                    if end.is_none_or(|end| end > len) {
                        let end = end.unwrap_or(u64::MAX);
                        return Err(ElfError::Bad(format!("truncated: a segment ends at {end}, the file at {len}")));
                    }
                    found.loads.push((segment.p_offset, segment.p_filesz));
                }
                PT_NOTE if segment.p_filesz <= NOTES_LIMIT => {
                    let notes = part(file, len, "the notes", segment.p_offset, segment.p_filesz)?;
                    found.has_pvh |= has_pvh_note(&notes, endian.is_little());
                }
                _ => {}
            }
        }
        Ok(found)
    }

    /// Searches the loaded segments for the kernel's banner and returns its release.
    pub fn release(&self, file: &File) -> io::Result<Option<String>> {
        // A banner may cross a block boundary, so each block overlaps the next one.
        const PIECE: usize = 1 << 20;
        const OVERLAP: usize = 256;
        let mut buffer = vec![0; PIECE + OVERLAP];
        for (offset, len) in &self.loads {
            let mut done = 0;
            while done < *len {
                let want = usize::try_from(len - done).unwrap_or(usize::MAX).min(PIECE + OVERLAP);
                let Some(piece) = buffer.get_mut(..want) else { break };
                file.read_exact_at(piece, offset + done)?;
                if let Some(release) = banner(piece) {
                    return Ok(Some(release));
                }
                done += PIECE as u64;
            }
        }
        Ok(None)
    }
}

/// Returns the release in the first banner in `bytes`. Skips the format string of `/proc/version`, which has the same
/// prefix.
fn banner(bytes: &[u8]) -> Option<String> {
    let mut at = 0;
    while let Some(found) = bytes.get(at..)?.iter().position(|byte| *byte == b'L') {
        at += found;
        let rest = bytes.get(at..)?;
        if rest.starts_with(BANNER)
            && let Some(release) = super::release::first_word(rest.get(BANNER.len()..)?)
        {
            return Some(release);
        }
        at += 1;
    }
    None
}

/// Returns `p_vaddr`, `p_memsz` and `p_paddr` of each `PT_LOAD` segment.
pub(crate) fn loads(image: &[u8]) -> Option<Vec<(u64, u64, u64)>> {
    let header = Elf::parse_header(image.get(..64)?).ok()?;
    let context = Ctx::new(header.container().ok()?, header.endianness().ok()?);
    let start = usize::try_from(header.e_phoff).ok()?;
    let segments = ProgramHeader::parse(image, start, usize::from(header.e_phnum), context).ok()?;
    let loaded = segments.iter().filter(|segment| segment.p_type == PT_LOAD);
    Some(loaded.map(|segment| (segment.p_vaddr, segment.p_memsz, segment.p_paddr)).collect())
}

/// Returns true if one of the notes is the PVH entry.
fn has_pvh_note(notes: &[u8], little: bool) -> bool {
    let word = |at: usize| -> Option<u32> {
        let bytes: [u8; 4] = notes.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    };
    let mut at = 0_usize;
    while let (Some(name_len), Some(desc_len), Some(kind)) = (word(at), word(at + 4), word(at + 8)) {
        let (Ok(name_len), Ok(desc_len)) = (usize::try_from(name_len), usize::try_from(desc_len)) else { return false };
        let name = at + 12;
        let Some(name_end) = name.checked_add(name_len) else { return false };
        if kind == PHYS32_ENTRY && notes.get(name..name_end) == Some(b"Xen\0") {
            return true;
        }
        let next = name_end.checked_next_multiple_of(4).and_then(|desc| desc.checked_add(desc_len));
        let Some(next) = next.and_then(|end| end.checked_next_multiple_of(4)) else { return false };
        at = next;
    }
    false
}

/// Reads a byte range, which must be inside the file. Limit: 16 MiB.
fn part(file: &File, len: u64, what: &str, offset: u64, size: u64) -> Result<Vec<u8>, ElfError> {
    if offset.checked_add(size).is_none_or(|end| end > len) || size > (16 << 20) {
        return Err(ElfError::Bad(format!(
            "{what} ({size} bytes at offset {offset}) out of range in a file of {len} bytes"
        )));
    }
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Vmlinux, banner, has_pvh_note};
    use proptest::prelude::{ProptestConfig, any, prop_assert, proptest};
    use std::io::Write as _;

    /// Builds a small ELF executable for `machine` with a loaded banner and, if `pvh` is set, a PVH note.
    pub(crate) fn vmlinux(machine: u16, pvh: bool) -> Vec<u8> {
        let banner = b"Linux version %s (%s)\0Linux version 6.9.0-test (a@b) #1\0";
        let mut note = Vec::new();
        for word in [4_u32, 8, if pvh { 18 } else { 5 }] {
            note.extend(word.to_le_bytes());
        }
        note.extend(b"Xen\0\0\0\0\x01\0\0\0\0");
        let (banner_at, note_at) = (64 + 2 * 56, 64 + 2 * 56 + banner.len());
        let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        elf.extend(2_u16.to_le_bytes());
        elf.extend(machine.to_le_bytes());
        elf.extend(1_u32.to_le_bytes());
        elf.extend([0; 8]);
        elf.extend(64_u64.to_le_bytes());
        elf.extend([0; 12]);
        for field in [64_u16, 56, 2, 64, 0, 0] {
            elf.extend(field.to_le_bytes());
        }
        for (kind, at, len) in [(1_u32, banner_at, banner.len()), (4, note_at, note.len())] {
            elf.extend(kind.to_le_bytes());
            elf.extend([0; 4]);
            elf.extend((at as u64).to_le_bytes());
            elf.extend([0; 16]);
            elf.extend((len as u64).to_le_bytes());
            elf.extend((len as u64).to_le_bytes());
            elf.extend([0; 8]);
        }
        elf.extend(banner);
        elf.extend(note);
        elf
    }

    fn read(bytes: &[u8]) -> (std::fs::File, Result<Vmlinux, super::ElfError>) {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("written");
        let found = Vmlinux::read(&file, bytes.len() as u64);
        (file, found)
    }

    #[test]
    fn note_machine_and_release_are_found() {
        for pvh in [true, false] {
            let (file, found) = read(&vmlinux(62, pvh));
            let found = found.expect("parses");
            assert_eq!((found.has_pvh, found.arch), (pvh, Some(crate::arch::Arch::X86_64)));
            assert_eq!(found.release(&file).expect("read").as_deref(), Some("6.9.0-test"));
        }
    }

    #[test]
    fn a_vmlinux_truncated_anywhere_is_an_error() {
        let whole = vmlinux(62, true);
        for len in 0..whole.len() {
            assert!(read(&whole[..len]).1.is_err(), "truncated at {len}");
        }
    }

    #[test]
    fn notes_with_a_wrong_length_end_the_search() {
        assert!(!has_pvh_note(&[0xff; 64], true));
        assert!(!has_pvh_note(&[], true));
        assert_eq!(banner(b"Linux version "), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_change_is_parsed_or_refused(change in proptest::collection::vec((0_usize..300, any::<u8>()), 0..8)) {
            let mut bytes = vmlinux(62, true);
            for (at, byte) in change {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            let (file, found) = read(&bytes);
            if let Ok(found) = found {
                prop_assert!(found.release(&file).is_ok());
            }
        }
    }
}
