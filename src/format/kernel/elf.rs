//! A `vmlinux`: an ELF file, with a PVH entry note if it can be booted as it is.
//!
//! The note (name `Xen`, type 18, `XEN_ELFNOTE_PHYS32_ENTRY`; `arch/x86/platform/pvh/head.S`) is what QEMU looks for
//! (`hw/i386/x86.c`, `load_elfboot`). Reads program headers and notes only. Refuses tables that lie outside the file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use goblin::container::Ctx;
use goblin::elf::program_header::{PT_LOAD, PT_NOTE};
use goblin::elf::{Elf, ProgramHeader};

use crate::arch::Arch;

/// ELF's `ET_REL`.
const ET_REL: u16 = 1;
/// A kernel has five or so program headers and some hundred bytes of notes.
const NOTES_LIMIT: u64 = 1 << 20;
/// `XEN_ELFNOTE_PHYS32_ENTRY`.
const PHYS32_ENTRY: u32 = 18;
/// What `linux_banner` starts with.
const BANNER: &[u8] = b"Linux version ";

/// An ELF file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// Damaged or hostile.
    #[error("{0}")]
    Bad(String),
    /// The file system said no.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<goblin::error::Error> for ElfError {
    fn from(error: goblin::error::Error) -> Self {
        Self::Bad(error.to_string())
    }
}

/// What is known of a vmlinux.
#[derive(Debug, Clone)]
pub struct Vmlinux {
    /// `e_machine`, as it stands.
    pub machine: u16,
    /// The same as one of ours.
    pub arch: Option<Arch>,
    /// True for modules and object files.
    pub is_relocatable: bool,
    /// Whether the PVH entry note is there.
    pub has_pvh: bool,
    /// Loaded parts of the file: offset and length, all inside it.
    loads: Vec<(u64, u64)>,
}

impl Vmlinux {
    /// Reads headers and notes of a file of `len` bytes.
    pub fn read(file: &File, len: u64) -> Result<Self, ElfError> {
        let start = part(file, len, "the ELF header", 0, len.min(64))?;
        if start.len() < 64 {
            return Err(ElfError::Bad(format!("{len} bytes are no whole ELF header")));
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
            return Err(ElfError::Bad(format!("program headers of {} bytes", header.e_phentsize)));
        }
        let table = part(file, len, "the program headers", header.e_phoff, count * size)?;
        for segment in ProgramHeader::parse(&table, 0, usize::from(header.e_phnum), context)? {
            match segment.p_type {
                PT_LOAD => {
                    let end = segment.p_offset.checked_add(segment.p_filesz);
                    if end.is_none_or(|end| end > len) {
                        let end = end.unwrap_or(u64::MAX);
                        return Err(ElfError::Bad(format!("cut short: a segment ends at {end}, the file at {len}")));
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

    /// The release in the kernel's banner, searched for in what is loaded.
    pub fn release(&self, file: &File) -> io::Result<Option<String>> {
        // A banner may straddle two pieces: each is read with some of the next.
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

/// The release after the first banner in `bytes`. The format string of `/proc/version` starts alike: it is passed over.
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

/// Where the loaded parts of an image are linked to, how long they are in memory, and where they are loaded to.
pub(crate) fn loads(image: &[u8]) -> Option<Vec<(u64, u64, u64)>> {
    let header = Elf::parse_header(image.get(..64)?).ok()?;
    let context = Ctx::new(header.container().ok()?, header.endianness().ok()?);
    let start = usize::try_from(header.e_phoff).ok()?;
    let segments = ProgramHeader::parse(image, start, usize::from(header.e_phnum), context).ok()?;
    let loaded = segments.iter().filter(|segment| segment.p_type == PT_LOAD);
    Some(loaded.map(|segment| (segment.p_vaddr, segment.p_memsz, segment.p_paddr)).collect())
}

/// Whether one of these notes is the PVH entry.
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

/// Reads a part that must lie inside the file.
fn part(file: &File, len: u64, what: &str, offset: u64, size: u64) -> Result<Vec<u8>, ElfError> {
    if offset.checked_add(size).is_none_or(|end| end > len) || size > (16 << 20) {
        return Err(ElfError::Bad(format!("{what} at offset {offset}, {size} bytes, in a file of {len}")));
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

    /// A small ELF executable for `machine` with a loaded banner and, perhaps, a PVH note.
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
    fn a_vmlinux_cut_short_anywhere_is_an_error() {
        let whole = vmlinux(62, true);
        for len in 0..whole.len() {
            assert!(read(&whole[..len]).1.is_err(), "cut at {len}");
        }
    }

    #[test]
    fn notes_that_lie_about_their_length_end_the_search() {
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
