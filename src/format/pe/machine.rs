//! Machine types of PE headers, and their names in EFI file names.

use std::fmt;

use crate::arch::Arch;

/// Machine type of a PE header (`IMAGE_FILE_MACHINE_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Machine(pub u16);

impl Machine {
    /// AMD64.
    pub const X64: Self = Self(0x8664);
    /// 32-bit x86.
    pub const IA32: Self = Self(0x014c);
    /// 64-bit Arm.
    pub const AA64: Self = Self(0xaa64);
    /// 32-bit Arm; UEFI uses the number of Thumb.
    pub const ARM: Self = Self(0x01c2);
    /// 64-bit RISC-V.
    pub(crate) const RISCV64: Self = Self(0x5064);
    /// 64-bit `LoongArch`.
    pub(crate) const LOONGARCH64: Self = Self(0x6264);

    const NAMED: [(Self, &'static str); 6] = [
        (Self::X64, "x64"),
        (Self::IA32, "ia32"),
        (Self::AA64, "aa64"),
        (Self::ARM, "arm"),
        (Self::RISCV64, "riscv64"),
        (Self::LOONGARCH64, "loongarch64"),
    ];

    /// Returns the UEFI machine type of an architecture, if there is one.
    pub(crate) const fn of(arch: Arch) -> Option<Self> {
        match arch {
            Arch::X86_64 => Some(Self::X64),
            Arch::X86 => Some(Self::IA32),
            Arch::Aarch64 => Some(Self::AA64),
            Arch::Arm => Some(Self::ARM),
            Arch::Riscv64 => Some(Self::RISCV64),
            Arch::X32 | Arch::S390x | Arch::Ppc64le => None,
        }
    }

    /// Returns the suffix in file names: `x64` in `linuxx64.efi.stub` and, in capitals, in `BOOTX64.EFI`
    /// (UEFI 2.11 §3.5.1.1, table 3.4).
    pub(crate) fn suffix(self) -> Option<&'static str> {
        Self::NAMED.iter().find(|(machine, _)| *machine == self).map(|(_, name)| *name)
    }

    /// Returns the file in `EFI/BOOT` that firmware starts if no boot entry applies.
    pub fn default_loader(self) -> Option<String> {
        self.suffix().map(|suffix| format!("BOOT{}.EFI", suffix.to_ascii_uppercase()))
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.suffix() {
            Some(name) => f.write_str(name),
            None => write!(f, "machine {:#06x}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Machine;
    use crate::arch::Arch;

    #[test]
    fn each_uefi_architecture_has_a_default_loader() {
        let names: Vec<_> = Arch::ALL.into_iter().filter_map(Machine::of).filter_map(Machine::default_loader).collect();
        assert_eq!(names, ["BOOTX64.EFI", "BOOTIA32.EFI", "BOOTAA64.EFI", "BOOTARM.EFI", "BOOTRISCV64.EFI"]);
        assert_eq!(Machine(0x1234).to_string(), "machine 0x1234");
    }
}
