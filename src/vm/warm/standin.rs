//! What QEMU gets as the kernel of a machine that it restores: the kernel is in the guest's memory already, and QEMU would
//! read 60 MB for nothing. But the machine must have the same firmware as when it was saved, and what that is depends on
//! the kind of kernel: one with a PVH entry (`hw/i386/x86.c`, `load_elfboot`).

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, memfd_create};

/// Where it would be loaded, and entered: never.
const ADDRESS: u64 = 16 << 20;
const PAGE: u64 = 0x1000;
/// `XEN_ELFNOTE_PHYS32_ENTRY` (`include/xen/interface/elfnote.h`).
const PHYS32_ENTRY: u32 = 18;
const EHSIZE: u16 = 64;
const PHENTSIZE: u16 = 56;

/// An ELF file with a PVH entry and nothing else, in memory.
pub fn vmlinux() -> io::Result<OwnedFd> {
    in_memory("kernel", &bytes())
}

/// An initrd with nothing in it, in memory.
pub fn initrd() -> io::Result<OwnedFd> {
    in_memory("initrd", &[0; 4])
}

fn in_memory(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create(name, MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    Ok(file.into())
}

fn bytes() -> Vec<u8> {
    let mut note = Vec::new();
    for word in [4, 4, PHYS32_ENTRY] {
        note.extend(word.to_le_bytes());
    }
    note.extend(b"Xen\0");
    note.extend((ADDRESS as u32).to_le_bytes());
    // System V ABI, chapter 4 (gABI): an executable for x86-64 with two program headers.
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    for half in [2_u16, 62] {
        file.extend(half.to_le_bytes());
    }
    file.extend(1_u32.to_le_bytes());
    for word in [ADDRESS, u64::from(EHSIZE), 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend(0_u32.to_le_bytes());
    for half in [EHSIZE, PHENTSIZE, 2, 0, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    // PT_LOAD, readable and executable, and PT_NOTE over the same bytes.
    for (kind, flags, address, align) in [(1_u32, 5_u32, ADDRESS, PAGE), (4, 4, 0, 4)] {
        file.extend(kind.to_le_bytes());
        file.extend(flags.to_le_bytes());
        let len = note.len() as u64;
        for word in [PAGE, address, address, len, len, align] {
            file.extend(word.to_le_bytes());
        }
    }
    file.resize(PAGE as usize, 0);
    file.extend(note);
    file
}

#[cfg(test)]
mod tests {
    use goblin::elf::Elf;
    use goblin::elf::program_header::{PT_LOAD, PT_NOTE};

    #[test]
    fn it_is_an_executable_with_a_pvh_entry() {
        let bytes = super::bytes();
        let elf = Elf::parse(&bytes).expect("an ELF file");
        let kinds: Vec<u32> = elf.program_headers.iter().map(|header| header.p_type).collect();
        assert_eq!(kinds, [PT_LOAD, PT_NOTE]);
        let notes: Vec<_> = elf.iter_note_headers(&bytes).expect("notes").collect::<Result<_, _>>().expect("a note");
        let [note] = &notes[..] else { panic!("{notes:?}") };
        assert_eq!((note.name, note.n_type, note.desc), ("Xen", 18, &(16_u32 << 20).to_le_bytes()[..]));
    }
}
