//! Machine architectures and their properties, matched exhaustively.
//!
//! ELF machine numbers are those of the System V ABI's `e_machine` registry.

use std::fmt;

/// Machine architecture of an ELF file, a kernel or a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Arch {
    /// AMD64, with 64-bit pointers.
    X86_64,
    /// 80386 and later, 32-bit.
    X86,
    /// AMD64 instructions with 32-bit pointers.
    X32,
    /// 64-bit Arm.
    Aarch64,
    /// 32-bit Arm.
    Arm,
    /// 64-bit RISC-V.
    Riscv64,
    /// IBM Z.
    S390x,
    /// 64-bit POWER, little endian.
    Ppc64le,
}

/// ELF identity: `(e_machine, is 64-bit, is little endian)`.
type ElfIdentity = (u16, bool, bool);

impl Arch {
    /// All supported architectures.
    pub const ALL: [Self; 8] =
        [Self::X86_64, Self::X86, Self::X32, Self::Aarch64, Self::Arm, Self::Riscv64, Self::S390x, Self::Ppc64le];

    /// Returns the architecture that this program is built for, whose guests KVM can run.
    pub fn host() -> Option<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Self::X86_64),
            "x86" => Some(Self::X86),
            "aarch64" => Some(Self::Aarch64),
            "arm" => Some(Self::Arm),
            "riscv64" => Some(Self::Riscv64),
            "s390x" => Some(Self::S390x),
            "powerpc64" if cfg!(target_endian = "little") => Some(Self::Ppc64le),
            _ => None,
        }
    }

    /// Returns the architecture in an ELF header, if it is supported.
    pub(crate) fn from_elf(machine: u16, is_64: bool, little_endian: bool) -> Option<Self> {
        Self::ALL.into_iter().find(|arch| arch.elf() == (machine, is_64, little_endian))
    }

    /// Returns the ELF identity of the architecture: `(e_machine, 64-bit class, little endian)`.
    pub(crate) const fn elf(self) -> ElfIdentity {
        match self {
            Self::X86_64 => (62, true, true),
            Self::X86 => (3, false, true),
            Self::X32 => (62, false, true),
            Self::Aarch64 => (183, true, true),
            Self::Arm => (40, false, true),
            Self::Riscv64 => (243, true, true),
            Self::S390x => (22, true, false),
            Self::Ppc64le => (21, true, true),
        }
    }

    /// Returns the usual name in the kernel and in QEMU.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::X86 => "i386",
            Self::X32 => "x32",
            Self::Aarch64 => "aarch64",
            Self::Arm => "arm",
            Self::Riscv64 => "riscv64",
            Self::S390x => "s390x",
            Self::Ppc64le => "ppc64le",
        }
    }

    /// Returns Debian's multiarch directory name (`/usr/lib/TUPLE`).
    pub(crate) const fn multiarch(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-linux-gnu",
            Self::X86 => "i386-linux-gnu",
            Self::X32 => "x86_64-linux-gnux32",
            Self::Aarch64 => "aarch64-linux-gnu",
            Self::Arm => "arm-linux-gnueabihf",
            Self::Riscv64 => "riscv64-linux-gnu",
            Self::S390x => "s390x-linux-gnu",
            Self::Ppc64le => "powerpc64le-linux-gnu",
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
