//! The guest's pid 1, compiled by `build.rs` from `stubs/init` and embedded here.

use crate::arch::Arch;

/// Returns the program for `/init` in an initrd; `None` for architectures that it has not been built for.
pub fn image(arch: Arch) -> Option<&'static [u8]> {
    match arch {
        Arch::X86_64 => X86_64,
        Arch::X86 | Arch::X32 | Arch::Aarch64 | Arch::Arm | Arch::Riscv64 | Arch::S390x | Arch::Ppc64le => None,
    }
}

#[cfg(pid1)]
const X86_64: Option<&[u8]> = Some(include_bytes!(env!("BOOTLING_PID1")));
#[cfg(not(pid1))]
const X86_64: Option<&[u8]> = None;
