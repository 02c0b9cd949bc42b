//! Firmware of a machine: UEFI (OVMF), a BIOS, or none (direct kernel boot).
//!
//! UEFI firmware is found as management tools find it: by QEMU's firmware descriptors (`docs/interop/firmware.json`),
//! then in the directories where distributions and QEMU builds install it. A variable template is only read: each guest
//! gets its own copy in memory.
//!
//! Refuses firmware that requires features the user did not request (System Management Mode, enrolled keys), and a
//! variable store given in place of code.

pub(crate) mod descriptor;
pub(crate) mod file;
pub(crate) mod search;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::machine_type::{MachineType, full_name};
use super::spec::FirmwareRef;
use crate::arch::Arch;

pub(crate) use self::descriptor::Descriptor;
pub(crate) use self::search::Search;

use super::program::Qemu;

/// Firmware that a machine starts with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Firmware {
    /// Direct kernel boot: QEMU loads the kernel, and its own small firmware only jumps to it.
    Direct,
    /// A BIOS: the SeaBIOS that QEMU ships, or the user's file.
    Bios(Option<PathBuf>),
    /// UEFI firmware.
    Uefi(Uefi),
}

/// UEFI firmware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uefi {
    /// Firmware files.
    pub(crate) files: Files,
    /// True if the firmware runs in System Management Mode to protect its variables.
    pub(crate) smm: bool,
}

/// The files of UEFI firmware: `FirmwareMapping` in `docs/interop/firmware.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Files {
    /// Code in read-only flash, variables in a separate image.
    Split {
        /// Code image.
        code: Image,
        /// Variable template.
        vars: Image,
    },
    /// Code and variables in one image.
    Combined(Image),
    /// Code only: the variables are lost at power-off.
    Stateless(Image),
    /// Code that QEMU loads as ROM (`-bios`).
    Rom(PathBuf),
}

/// A flash image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Path of the image.
    pub(crate) path: PathBuf,
    /// Image format.
    pub(crate) format: Format,
}

/// Format of a flash image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Raw bytes.
    Raw,
    /// A qcow2 image.
    Qcow2,
}

impl Format {
    /// QEMU's name of the format.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

impl Firmware {
    /// Name of the firmware type in `--json`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Direct => "none",
            Self::Bios(_) => "bios",
            Self::Uefi(_) => "uefi",
        }
    }

    /// Path of the firmware, unless it is the one that QEMU ships.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Direct => None,
            Self::Bios(path) => path.as_deref(),
            Self::Uefi(uefi) => Some(uefi.files.code()),
        }
    }

    /// Flash image of which the guest gets a writable copy.
    pub(crate) fn writable(&self) -> Option<&Image> {
        match self {
            Self::Direct | Self::Bios(_) => None,
            Self::Uefi(uefi) => match &uefi.files {
                Files::Split { vars: image, .. } | Files::Combined(image) => Some(image),
                Files::Stateless(_) | Files::Rom(_) => None,
            },
        }
    }
}

impl Files {
    /// Path of the code.
    pub(crate) fn code(&self) -> &Path {
        match self {
            Self::Split { code: image, .. } | Self::Combined(image) | Self::Stateless(image) => &image.path,
            Self::Rom(path) => path,
        }
    }
}

/// Error: no usable firmware.
#[derive(Debug, thiserror::Error)]
pub enum FirmwareError {
    /// No matching firmware is installed.
    #[error(
        "no UEFI firmware{kind} found for {arch} and machine {machine}; searched {tried}\n  install it (Debian: apt-get install ovmf; Fedora: edk2-ovmf), or pass its code with --firmware FILE"
    )]
    NotFound {
        /// ` that enforces Secure Boot`, or an empty string.
        kind: &'static str,
        /// The guest's architecture.
        arch: Arch,
        /// QEMU's machine type name.
        machine: String,
        /// Searched directories.
        tried: String,
    },
    /// The machine type cannot run the firmware.
    #[error("{firmware} firmware is not supported with {machine}: {name} has {missing}")]
    Machine {
        /// `UEFI` or `BIOS`.
        firmware: &'static str,
        /// `-machine`
        machine: String,
        /// Name of the machine type.
        name: &'static str,
        /// Missing feature.
        missing: &'static str,
    },
    /// A firmware file cannot be read.
    #[error("failed to read firmware {}", path.display())]
    Unreadable {
        /// Path of the file.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// The given file is a variable store.
    #[error("{} contains UEFI variables, not firmware code; pass it with --firmware-vars", path.display())]
    Variables {
        /// Path of the file.
        path: PathBuf,
    },
    /// The code requires variables, and none were found.
    #[error(
        "firmware {} contains no variables, and no template is in its directory (tried {tried})\n  pass a template with --firmware-vars FILE",
        path.display()
    )]
    NoVariables {
        /// Path of the code.
        path: PathBuf,
        /// File names that were tried.
        tried: String,
    },
    /// `--firmware-vars` with firmware that stores no variables.
    #[error("--firmware-vars requires UEFI firmware in flash, found {firmware}")]
    NoFlash {
        /// The requested firmware, as given by the user.
        firmware: String,
    },
}

/// Finds the requested firmware. `machine` is the `-machine` value for this QEMU.
pub fn find(
    wanted: &FirmwareRef,
    vars: Option<&Path>,
    arch: Arch,
    machine: &OsStr,
    qemu: &Qemu,
) -> Result<Firmware, FirmwareError> {
    let no_flash = |firmware: &str| FirmwareError::NoFlash { firmware: firmware.to_owned() };
    match wanted {
        FirmwareRef::Direct => {}
        FirmwareRef::Uefi { .. } => check_machine(machine, true)?,
        FirmwareRef::Bios | FirmwareRef::File(_) => check_machine(machine, false)?,
    }
    let search = || Search::on_host(arch, full_name(machine, &qemu.facts.version), &qemu.path);
    let found = match wanted {
        FirmwareRef::Direct => return if vars.is_some() { Err(no_flash("no firmware")) } else { Ok(Firmware::Direct) },
        FirmwareRef::Bios => return if vars.is_some() { Err(no_flash("a BIOS")) } else { Ok(Firmware::Bios(None)) },
        FirmwareRef::Uefi { secure } => search().find(*secure)?,
        FirmwareRef::File(path) => match file::identify(path, vars, &search())? {
            Firmware::Uefi(uefi) => uefi,
            other @ (Firmware::Direct | Firmware::Bios(_)) => return Ok(other),
        },
    };
    check_machine(machine, true)?;
    with_vars(found, vars).map(Firmware::Uefi)
}

/// Fails if the machine type cannot run firmware.
fn check_machine(machine: &OsStr, is_uefi: bool) -> Result<(), FirmwareError> {
    let row = MachineType::of(machine);
    if if is_uefi { row.has_pci() } else { row.has_bios } {
        return Ok(());
    }
    let missing = match (row.has_bios, row.has_pci()) {
        (true, _) => "no PCI",
        (false, false) => "no PCI and no flash",
        (false, true) => "no BIOS",
    };
    let (firmware, machine) = (if is_uefi { "UEFI" } else { "BIOS" }, machine.to_string_lossy().into_owned());
    Err(FirmwareError::Machine { firmware, machine, name: row.name, missing })
}

/// Replaces the firmware's variables by the user's.
fn with_vars(mut uefi: Uefi, vars: Option<&Path>) -> Result<Uefi, FirmwareError> {
    let Some(path) = vars else { return Ok(uefi) };
    let image = file::image(path)?;
    uefi.files = match uefi.files {
        Files::Split { code, .. } | Files::Stateless(code) => Files::Split { code, vars: image },
        Files::Combined(code) => return Err(FirmwareError::NoFlash { firmware: told_of(&code.path) }),
        Files::Rom(code) => return Err(FirmwareError::NoFlash { firmware: told_of(&code) }),
    };
    Ok(uefi)
}

fn told_of(path: &Path) -> String {
    path.display().to_string()
}
