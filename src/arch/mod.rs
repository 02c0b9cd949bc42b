//! Machine architectures and their properties: one file each for those whose guests bootling runs.
//!
//! ELF machine numbers are those of the System V ABI's `e_machine` registry.

mod aarch64;
mod others;
mod x86_64;

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

/// Properties that differ between architectures.
#[derive(Debug)]
pub(crate) struct Properties {
    /// Usual name in the kernel and in QEMU.
    pub(crate) name: &'static str,
    /// Other names that users type, such as Debian's.
    pub(crate) aliases: &'static [&'static str],
    /// Debian's name, if Debian has it.
    pub(crate) debian: Option<&'static str>,
    /// ELF identity.
    pub(crate) elf: ElfIdentity,
    /// Debian's multiarch directory name (`/usr/lib/TUPLE`).
    pub(crate) multiarch: &'static str,
    /// Path of glibc's loader, as defined by the architecture's ABI.
    pub(crate) glibc_loader: &'static str,
    /// Path of musl's loader.
    pub(crate) musl_loader: &'static str,
    /// `flags` of a library in `ld.so.cache`, including `FLAG_ELF_LIBC6` (`sysdeps/unix/sysv/linux/*/dl-cache.h`).
    pub(crate) ld_cache_flags: u32,
    /// Debian package of its QEMU.
    pub(crate) qemu_package: &'static str,
    /// Name of its QEMU, after `qemu-system-`.
    pub(crate) qemu: &'static str,
    /// The first serial console of the kernel.
    pub(crate) console: &'static str,
    /// Properties of guests; `None` for architectures that are only recognized.
    pub(crate) guest: Option<&'static Guest>,
}

/// Properties of guests that differ between architectures.
#[derive(Debug)]
pub(crate) struct Guest {
    /// `-machine` if none is requested.
    pub(crate) machine: &'static str,
    /// `-cpu` under TCG if none is requested.
    pub(crate) tcg_cpu: &'static str,
    /// Kernel parameters under TCG.
    pub(crate) tcg_parameters: &'static [&'static str],
    /// Kernel parameters of `--fast-boot`, under KVM.
    pub(crate) fast_boot: &'static [&'static str],
    /// Kernel parameters of `--fast-boot`, under TCG.
    pub(crate) fast_boot_tcg: &'static [&'static str],
    /// Images of a build tree, relative to its top, the one that starts fastest first: `vmlinux` needs no decompression.
    pub(crate) images: &'static [&'static str],
    /// Option without a prompt that each complete configuration sets.
    pub(crate) config: &'static str,
    /// Options of the serial console's driver: the port, and its use as a console.
    pub(crate) serial: [&'static str; 2],
}

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

    /// Returns the architecture with this name, or with an alias such as `arm64`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|arch| arch.name() == name || arch.properties().aliases.contains(&name))
    }

    /// Parses the name of an architecture, or an alias such as `arm64`.
    pub fn parse(name: &str) -> Result<Self, String> {
        let unknown = || format!("unknown architecture: expected one of {}", Self::ALL.map(Self::name).join(", "));
        Self::named(name).ok_or_else(unknown)
    }

    /// Parses the name of an architecture whose guests run.
    pub fn for_guests(name: &str) -> Result<Self, String> {
        let found = Self::named(name).filter(|arch| arch.properties().guest.is_some());
        found.ok_or_else(|| format!("unsupported architecture: bootling runs guests of {}", Self::guest_names()))
    }

    /// Returns the architecture in an ELF header, if it is supported.
    pub(crate) fn from_elf(machine: u16, is_64: bool, little_endian: bool) -> Option<Self> {
        Self::ALL.into_iter().find(|arch| arch.elf() == (machine, is_64, little_endian))
    }

    /// Returns its properties.
    pub(crate) const fn properties(self) -> &'static Properties {
        match self {
            Self::X86_64 => &x86_64::PROPERTIES,
            Self::X86 => &others::X86,
            Self::X32 => &others::X32,
            Self::Aarch64 => &aarch64::PROPERTIES,
            Self::Arm => &others::ARM,
            Self::Riscv64 => &others::RISCV64,
            Self::S390x => &others::S390X,
            Self::Ppc64le => &others::PPC64LE,
        }
    }

    /// Returns the ELF identity of the architecture: `(e_machine, 64-bit class, little endian)`.
    pub(crate) const fn elf(self) -> ElfIdentity {
        self.properties().elf
    }

    /// Returns the usual name in the kernel and in QEMU.
    pub(crate) const fn name(self) -> &'static str {
        self.properties().name
    }

    /// Returns Debian's multiarch directory name (`/usr/lib/TUPLE`).
    pub(crate) const fn multiarch(self) -> &'static str {
        self.properties().multiarch
    }

    /// Returns the kernel's name of the first serial console.
    pub fn console(self) -> &'static str {
        self.properties().console
    }

    /// Returns Debian's name, if Debian has the architecture.
    pub(crate) const fn debian(self) -> Option<&'static str> {
        self.properties().debian
    }

    /// Returns `-machine` if none is requested.
    pub fn default_machine(self) -> &'static str {
        self.guest().machine
    }

    /// Returns the properties of guests; those of x86-64 for architectures without guests, which are refused later.
    pub(crate) fn guest(self) -> &'static Guest {
        self.properties().guest.unwrap_or(&x86_64::GUEST)
    }

    /// Returns the names of the architectures whose guests run.
    pub(crate) fn guest_names() -> String {
        Self::with_guests().map(Self::name).collect::<Vec<_>>().join(", ")
    }

    /// Returns the architectures whose guests run.
    pub(crate) fn with_guests() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|arch| arch.properties().guest.is_some())
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
