//! The guest's pid 1 for each architecture: compiled by `build.rs` from `stubs/init` for the architecture that this program
//! is built for, else from `assets/`.

use crate::arch::Arch;

/// Returns the program for `/init` in an initrd; `None` for architectures that it has not been built for.
pub fn image(arch: Arch) -> Option<&'static [u8]> {
    match arch {
        Arch::X86_64 => Some(include_bytes!(env!("BOOTLING_PID1_X86_64"))),
        Arch::Aarch64 => Some(include_bytes!(env!("BOOTLING_PID1_AARCH64"))),
        Arch::X86 | Arch::X32 | Arch::Arm | Arch::Riscv64 | Arch::S390x | Arch::Ppc64le => None,
    }
}
