//! Machine and boot options.

use std::ffi::OsString;
use std::path::PathBuf;

use super::device::disk::DiskRequest;
use super::device::files::FilesRequest;
use super::device::net::NetRequest;
use crate::arch::Arch;

/// `--accel`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Accel {
    /// KVM if it is proven to work, else TCG.
    Auto,
    /// KVM, or an error.
    Kvm,
    /// QEMU's translator, TCG.
    Tcg,
}

/// `--firmware` as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirmwareRef {
    /// No firmware: QEMU starts the kernel directly, which is the fastest way.
    Direct,
    /// SeaBIOS, as shipped with QEMU.
    Bios,
    /// UEFI firmware installed on this host.
    Uefi {
        /// True if it must enforce Secure Boot with enrolled keys.
        secure: bool,
    },
    /// A firmware file: UEFI code or a BIOS, detected from its contents.
    File(PathBuf),
}

impl FirmwareRef {
    /// Parses a keyword or a path.
    pub fn read(text: &str) -> Result<Self, String> {
        Ok(match text {
            "none" => Self::Direct,
            "bios" => Self::Bios,
            "uefi" => Self::Uefi { secure: false },
            "uefi-secure" => Self::Uefi { secure: true },
            "" => return Err("expected uefi, uefi-secure, bios, none, or a file".to_owned()),
            path => Self::File(path.into()),
        })
    }
}

/// Destination of the guest's console output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsoleTo {
    /// Kept in memory; the tail is printed on failure.
    Tail,
    /// Standard error (`--console -`).
    Stderr,
    /// A file, written as the output arrives.
    File(PathBuf),
}

/// The requested machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootSpec {
    /// Architecture; `None`: the kernel's.
    pub arch: Option<Arch>,
    /// QEMU program, by path or by name on PATH; `None`: the one for the kernel's architecture.
    pub qemu: Option<PathBuf>,
    /// KVM or TCG.
    pub accel: Accel,
    /// `-machine`; `None`: the default for the architecture.
    pub machine: Option<OsString>,
    /// `-cpu`; `None`: `max` under TCG, `host` under KVM.
    pub cpu: Option<OsString>,
    /// `-smp`, as typed.
    pub smp: Option<OsString>,
    /// Guest memory in MiB; `None`: 1 GiB, or more if the initrd needs it.
    pub memory_mib: Option<u64>,
    /// Additional kernel command line arguments (`--append`, repeatable).
    pub append: Vec<OsString>,
    /// True if arguments that make the kernel boot faster, but change its behavior, precede those (`--fast-boot`).
    pub fast_boot: bool,
    /// Firmware that the machine starts with.
    pub firmware: FirmwareRef,
    /// Template of the UEFI variables; `None`: the one that belongs to the firmware.
    pub firmware_vars: Option<PathBuf>,
    /// Additional QEMU arguments, word by word (`--qemu-arg`).
    pub qemu_args: Vec<OsString>,
    /// Disks (`--disk`), in order.
    pub disks: Vec<DiskRequest>,
    /// Network interface (`--net`, `--publish`).
    pub net: Option<NetRequest>,
    /// Directories of the host (`--share`, `--root`).
    pub files: FilesRequest,
    /// Destination of the console output.
    pub console: ConsoleTo,
    /// True if the command runs on a separate terminal in the guest.
    pub tty: bool,
    /// True if the kernel's configuration is checked before QEMU starts (not with `--no-preflight`).
    pub preflight: bool,
}

impl Default for BootSpec {
    fn default() -> Self {
        Self {
            arch: None,
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
            disks: Vec::new(),
            net: None,
            files: FilesRequest::default(),
            console: ConsoleTo::Tail,
            tty: false,
            preflight: true,
        }
    }
}
