//! How the image is to be booted.

use std::ffi::OsString;
use std::path::PathBuf;

/// `--accel`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Accel {
    /// KVM where it was proven to work, else TCG.
    Auto,
    /// KVM, or an error.
    Kvm,
    /// QEMU's translator.
    Tcg,
}

/// `--firmware`, as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirmwareRef {
    /// None: QEMU enters the kernel itself, as fast as it can.
    Direct,
    /// SeaBIOS, as QEMU brings it.
    Bios,
    /// UEFI firmware, wherever this host has it.
    Uefi {
        /// Whether it must enforce Secure Boot, with keys enrolled.
        secure: bool,
    },
    /// This file: UEFI code, or a BIOS; its contents tell.
    File(PathBuf),
}

impl FirmwareRef {
    /// Reads a word, or a path.
    pub fn read(text: &str) -> Result<Self, String> {
        Ok(match text {
            "none" => Self::Direct,
            "bios" => Self::Bios,
            "uefi" => Self::Uefi { secure: false },
            "uefi-secure" => Self::Uefi { secure: true },
            "" => return Err("give uefi, uefi-secure, bios, none, or a file".to_owned()),
            path => Self::File(path.into()),
        })
    }
}

/// Where the guest's console goes while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsoleTo {
    /// Kept in memory; its tail is shown when something goes wrong.
    Tail,
    /// Our standard error (`--console -`).
    Stderr,
    /// A file, written as it arrives.
    File(PathBuf),
}

/// The machine that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootSpec {
    /// The QEMU program, by path or by name on PATH; `None`: the one for the kernel's architecture.
    pub qemu: Option<PathBuf>,
    /// KVM or TCG.
    pub accel: Accel,
    /// `-machine`; `None`: our choice for the architecture.
    pub machine: Option<OsString>,
    /// `-cpu`; `None`: `max` under TCG, `host` under KVM.
    pub cpu: Option<OsString>,
    /// `-smp`, as typed.
    pub smp: Option<OsString>,
    /// Guest memory in MiB; `None`: 1 GiB, or more where the initrd needs it.
    pub memory_mib: Option<u64>,
    /// Further words for the kernel's command line (`--append`, repeatable).
    pub append: Vec<OsString>,
    /// Whether words that make a kernel boot faster, but another kernel, stand before those (`--fast-boot`).
    pub fast_boot: bool,
    /// What the machine starts with.
    pub firmware: FirmwareRef,
    /// The template of UEFI's variables; `None`: the one that belongs to the firmware.
    pub firmware_vars: Option<PathBuf>,
    /// Further QEMU arguments, word by word (`--qemu-arg`).
    pub qemu_args: Vec<OsString>,
    /// Where the console goes.
    pub console: ConsoleTo,
    /// Whether the command gets a terminal of its own in the guest.
    pub tty: bool,
}

impl Default for BootSpec {
    fn default() -> Self {
        Self {
            qemu: None,
            accel: Accel::Auto,
            machine: None,
            cpu: None,
            smp: None,
            memory_mib: None,
            append: Vec::new(),
            fast_boot: false,
            firmware: FirmwareRef::Direct,
            firmware_vars: None,
            qemu_args: Vec::new(),
            console: ConsoleTo::Tail,
            tty: false,
        }
    }
}
