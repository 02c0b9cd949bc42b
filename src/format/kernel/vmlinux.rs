//! A `vmlinux`: an ELF file, which is bootable if it has a PVH entry note.
//!
//! QEMU (`hw/i386/x86.c`, `load_elfboot`) searches for the note with the name `Xen` and type 18
//! (`XEN_ELFNOTE_PHYS32_ENTRY`; `arch/x86/platform/pvh/head.S`). Reads only program headers and notes. Refuses segments
//! outside the file.

use std::io;

use memchr::memmem;

use crate::format::elf::{Abi, ET_REL, Elf, ElfError, ElfKind, PT_LOAD, PT_NOTE};
use crate::format::read_at::{PagedReader, ReadAt};

/// `XEN_ELFNOTE_PHYS32_ENTRY`.
const PHYS32_ENTRY: u32 = 18;
/// Prefix of `linux_banner`.
const BANNER: &[u8] = b"Linux version ";

/// Properties of a vmlinux.
#[derive(Debug, Clone)]
pub(crate) struct Vmlinux {
    /// Class, data encoding and machine.
    pub(crate) abi: Abi,
    /// True for kernel modules and object files (`ET_REL`).
    pub(crate) is_relocatable: bool,
    /// True if the file has a PVH entry note.
    pub(crate) has_pvh: bool,
    /// File offset and length of each `PT_LOAD` segment, all inside the file.
    loads: Vec<(u64, u64)>,
}

impl Vmlinux {
    /// Reads the headers and notes.
    pub(crate) fn read(file: &(impl ReadAt + ?Sized)) -> Result<Self, ElfError> {
        let mut elf = Elf::read(PagedReader::new(file))?;
        let is_relocatable = elf.kind == ElfKind::Other(ET_REL);
        let mut found = Self { abi: elf.abi, is_relocatable, has_pvh: false, loads: Vec::new() };
        if is_relocatable {
            return Ok(found);
        }
        for segment in elf.segments()? {
            let (offset, len) = (segment.p_offset, segment.p_filesz);
            match segment.p_type {
                PT_LOAD if offset.checked_add(len).is_none_or(|end| end > file.size()) => {
                    return Err(ElfError::Malformed { offset, rule: "a segment extends past the end of the file" });
                }
                PT_LOAD => found.loads.push((offset, len)),
                PT_NOTE => {
                    let mut notes = elf.notes(&segment)?;
                    found.has_pvh |= notes.any(|note| note.n_type == PHYS32_ENTRY && note.name == "Xen");
                }
                _ => {}
            }
        }
        Ok(found)
    }

    /// Searches the loaded segments for the kernel's banner and returns its release.
    pub(crate) fn release(&self, file: &(impl ReadAt + ?Sized)) -> io::Result<Option<String>> {
        release_in(file, &self.loads)
    }

    /// Searches the loaded segments for the kernel's banner and returns its text from the release to the end of the line:
    /// `6.1.0 (user@host) (gcc ...) #1 SMP ...`. Newer kernels also contain a copy without a version, for an early link
    /// (`init/version.c`).
    pub(crate) fn banner(&self, file: &(impl ReadAt + ?Sized)) -> io::Result<Option<String>> {
        search(file, &self.loads, |banner| super::release::version(banner).is_some())
    }
}

/// Searches these ranges (offset, length) of a file for the kernel's banner and returns its release.
pub(crate) fn release_in(file: &(impl ReadAt + ?Sized), ranges: &[(u64, u64)]) -> io::Result<Option<String>> {
    let banner = search(file, ranges, |_| true)?;
    Ok(banner.and_then(|banner| banner.split(' ').next().map(str::to_owned)))
}

/// Returns the first banner that `accepts` in these ranges (offset, length) of a file.
fn search(
    file: &(impl ReadAt + ?Sized),
    ranges: &[(u64, u64)],
    accepts: impl Fn(&str) -> bool,
) -> io::Result<Option<String>> {
    // A banner may cross a block boundary, so each block overlaps the next one.
    const PIECE: usize = 1 << 20;
    const OVERLAP: usize = 1024;
    let mut buffer = vec![0; PIECE + OVERLAP];
    for (offset, len) in ranges {
        let mut done = 0;
        while done < *len {
            let want = usize::try_from(len - done).unwrap_or(usize::MAX).min(PIECE + OVERLAP);
            let Some(piece) = buffer.get_mut(..want) else { break };
            file.read_at(piece, offset + done)?;
            if let Some(found) = banners(piece).find(|banner| accepts(banner)) {
                return Ok(Some(found));
            }
            done += PIECE as u64;
        }
    }
    Ok(None)
}

/// A part of a file that is loaded at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileSegment {
    /// `p_paddr`.
    pub(crate) address: u64,
    /// `p_offset`.
    pub(crate) offset: u64,
    /// `p_filesz`.
    pub(crate) len: u64,
}

/// Returns the `PT_LOAD` segments with contents, all inside the file.
pub(crate) fn file_segments(file: &(impl ReadAt + ?Sized)) -> Result<Vec<FileSegment>, ElfError> {
    let segments = Elf::read(PagedReader::new(file))?.segments()?;
    let loaded = segments.iter().filter(|segment| segment.p_type == PT_LOAD && segment.p_filesz > 0);
    let found = loaded.map(|segment| {
        let (address, offset, len) = (segment.p_paddr, segment.p_offset, segment.p_filesz);
        let is_inside = offset.checked_add(len).is_some_and(|end| end <= file.size());
        let rule = "a segment extends past the end of the file";
        if is_inside { Ok(FileSegment { address, offset, len }) } else { Err(ElfError::Malformed { offset, rule }) }
    });
    found.collect()
}

/// Returns `p_vaddr`, `p_memsz` and `p_paddr` of each `PT_LOAD` segment.
pub(crate) fn loads(image: &[u8]) -> Result<Vec<(u64, u64, u64)>, ElfError> {
    let segments = Elf::read(PagedReader::new(image))?.segments()?;
    let loaded = segments.iter().filter(|segment| segment.p_type == PT_LOAD);
    Ok(loaded.map(|segment| (segment.p_vaddr, segment.p_memsz, segment.p_paddr)).collect())
}

/// Returns the texts of the banners in `bytes`, from the release. Skips the format string of `/proc/version`, which has the
/// same prefix.
fn banners(bytes: &[u8]) -> impl Iterator<Item = String> {
    memmem::find_iter(bytes, BANNER).filter_map(|at| {
        let text = bytes.get(at + BANNER.len()..)?;
        super::release::first_word(text).map(|_| super::release::line(text))
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Vmlinux, banners};
    use proptest::prelude::{ProptestConfig, any, prop_assert, proptest};
    use std::io::Write as _;

    /// Builds a small ELF executable for `machine` with a loaded banner and, if `pvh` is set, a PVH note.
    pub(crate) fn vmlinux(machine: u16, pvh: bool) -> Vec<u8> {
        let banner = b"Linux version %s (%s)\0Linux version 6.9.0-test (a@b) # \n\0Linux version 6.9.0-test (a@b) #1\0";
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
        let found = Vmlinux::read(&file);
        (file, found)
    }

    #[test]
    fn note_machine_and_release_are_found() {
        for pvh in [true, false] {
            let (file, found) = read(&vmlinux(62, pvh));
            let found = found.expect("parses");
            assert_eq!((found.has_pvh, found.abi.arch()), (pvh, Some(crate::arch::Arch::X86_64)));
            assert_eq!(found.release(&file).expect("read").as_deref(), Some("6.9.0-test"));
            assert_eq!(found.banner(&file).expect("read").as_deref(), Some("6.9.0-test (a@b) #1"));
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
        let whole = vmlinux(62, true);
        let note = whole.windows(3).position(|window| window == b"Xen").expect("a note") - 12;
        let mut long = whole.clone();
        long[note..note + 12].fill(0xff);
        assert!(!read(&long).1.expect("parses").has_pvh);
        let mut empty = whole;
        // p_filesz of the second program header.
        empty[64 + 56 + 32] = 0;
        assert!(!read(&empty).1.expect("parses").has_pvh);
        assert_eq!(banners(b"Linux version ").next(), None);
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
