//! The guest's pid 1 as it is embedded: a small, static program that asks nothing of the guest.

use std::io::{self, Write};

use bootling::arch::Arch;
use bootling::pid1;
use goblin::elf::Elf;
use goblin::elf::header::{EM_X86_64, ET_EXEC};
use goblin::elf::program_header::{PT_DYNAMIC, PT_INTERP, PT_LOAD};

/// "Tens of kilobytes".
const MOST_BYTES: usize = 64 << 10;

#[test]
fn pid_1_is_small_static_and_never_writable_and_executable_at_once() {
    // Only a build for another machine has none.
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
    if pid1::image(Arch::X86_64).is_none() {
        return;
    }
    let image = pid1::image(Arch::X86_64).expect("a build for x86-64 Linux embeds a pid 1");
    writeln!(io::stderr(), "stubs/init for x86_64: {} bytes", image.len()).expect("standard error is open");
    assert!(image.len() <= MOST_BYTES, "{} bytes", image.len());
    let elf = Elf::parse(image).expect("it is an ELF file");
    assert_eq!((elf.header.e_machine, elf.header.e_type), (EM_X86_64, ET_EXEC));
    assert_ne!(elf.header.e_entry, 0);
    for header in &elf.program_headers {
        assert!(!matches!(header.p_type, PT_INTERP | PT_DYNAMIC), "it asks for a loader: {header:?}");
        let loads_code_it_can_change = header.p_type == PT_LOAD && header.is_write() && header.is_executable();
        assert!(!loads_code_it_can_change, "{header:?}");
    }
}
