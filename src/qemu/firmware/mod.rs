//! What a machine's processor executes first: UEFI firmware (OVMF), a BIOS, or nothing before the kernel.
//!
//! UEFI firmware is found as management tools find it, by QEMU's firmware descriptors (`docs/interop/firmware.json`),
//! then in the places where distributions and QEMU builds are known to put it. A template of variables is only ever
//! read: each guest gets a copy of its own, in memory.
//! Refuses firmware that needs what was not asked for (System Management Mode, enrolled keys), and a file that is a
//! variable store, not code.

pub mod descriptor;
pub mod file;
pub mod machine_type;
pub mod search;

use std::path::{Path, PathBuf};

use super::spec::FirmwareRef;
use crate::arch::Arch;

pub use self::descriptor::Descriptor;
pub use self::search::Search;

use super::program::Qemu;

/// What a machine starts with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Firmware {
    /// QEMU enters the kernel itself; its own small firmware does nothing but that.
    Direct,
    /// SeaBIOS as QEMU brings it, or a BIOS of the user's.
    Bios(Option<PathBuf>),
    /// UEFI.
    Uefi(Uefi),
}

/// UEFI firmware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uefi {
    /// Its files.
    pub files: Files,
    /// Whether it runs in System Management Mode, to guard its variables.
    pub smm: bool,
}

/// The files of UEFI firmware: `FirmwareMapping` in `docs/interop/firmware.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Files {
    /// Code in read-only flash, variables beside it.
    Split {
        /// The code.
        code: Image,
        /// The variables to start with.
        vars: Image,
    },
    /// Code and variables in one.
    Combined(Image),
    /// Code alone: variables are forgotten at power off.
    Stateless(Image),
    /// Code that QEMU puts into ROM (`-bios`).
    Rom(PathBuf),
}

/// A flash image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The file.
    pub path: PathBuf,
    /// How it is stored.
    pub format: Format,
}

/// Formats of flash images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Byte for byte.
    Raw,
    /// As a qcow2 image.
    Qcow2,
}

impl Format {
    /// QEMU's word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

impl Firmware {
    /// One word for `--json`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Direct => "none",
            Self::Bios(_) => "bios",
            Self::Uefi(_) => "uefi",
        }
    }

    /// The file it is, where that is not QEMU's own affair.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Direct => None,
            Self::Bios(path) => path.as_deref(),
            Self::Uefi(uefi) => Some(uefi.files.code()),
        }
    }

    /// The flash image of which the guest gets a copy that it may write.
    pub fn writable(&self) -> Option<&Image> {
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
    /// The code.
    pub fn code(&self) -> &Path {
        match self {
            Self::Split { code: image, .. } | Self::Combined(image) | Self::Stateless(image) => &image.path,
            Self::Rom(path) => path,
        }
    }
}

/// No firmware that can be used.
#[derive(Debug, thiserror::Error)]
pub enum FirmwareError {
    /// None is installed.
    #[error(
        "finding UEFI firmware{kind} for {arch} and machine {machine}: none is in {tried}\n  install it (Debian: apt-get install ovmf; Fedora: edk2-ovmf), or name its code with --firmware FILE"
    )]
    NotFound {
        /// ` that enforces Secure Boot`, or nothing.
        kind: &'static str,
        /// The guest's architecture.
        arch: Arch,
        /// QEMU's name of the machine.
        machine: String,
        /// Directories that were looked through.
        tried: String,
    },
    /// A machine type that has no room for it.
    #[error("starting {machine} with --firmware: microvm has no PCI and no flash that OVMF or SeaBIOS would run from")]
    Microvm {
        /// `-machine`
        machine: String,
    },
    /// A file cannot be read.
    #[error("reading firmware {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The user named a variable store.
    #[error("using {} as firmware: it holds UEFI variables, not code; --firmware-vars takes it", path.display())]
    Variables {
        /// The file.
        path: PathBuf,
    },
    /// Code alone does not run.
    #[error(
        "using {} as firmware: it has no variables of its own, and none are beside it ({tried})\n  name their template with --firmware-vars FILE",
        path.display()
    )]
    NoVariables {
        /// The code.
        path: PathBuf,
        /// Names that were tried.
        tried: String,
    },
    /// Variables where there is nothing that keeps any.
    #[error("using --firmware-vars: only UEFI firmware in flash has variables, and {firmware} is none")]
    NoFlash {
        /// What was asked for, in the user's words.
        firmware: String,
    },
}

/// Finds what was asked for. `machine` is `-machine` as it will be given to this QEMU.
pub fn find(
    wanted: &FirmwareRef,
    vars: Option<&Path>,
    arch: Arch,
    machine: &std::ffi::OsStr,
    qemu: &Qemu,
) -> Result<Firmware, FirmwareError> {
    let told = |firmware: &str| FirmwareError::NoFlash { firmware: firmware.to_owned() };
    if *wanted != FirmwareRef::Direct && super::machine::is_microvm(machine) {
        return Err(FirmwareError::Microvm { machine: machine.to_string_lossy().into_owned() });
    }
    let search = || Search::on_host(arch, machine_type::full_name(machine, &qemu.facts.version), &qemu.path);
    let found = match wanted {
        FirmwareRef::Direct => return if vars.is_some() { Err(told("none")) } else { Ok(Firmware::Direct) },
        FirmwareRef::Bios => return if vars.is_some() { Err(told("a BIOS")) } else { Ok(Firmware::Bios(None)) },
        FirmwareRef::Uefi { secure } => search().find(*secure)?,
        FirmwareRef::File(path) => match file::identify(path, vars, &search())? {
            Firmware::Uefi(uefi) => uefi,
            other @ (Firmware::Direct | Firmware::Bios(_)) => return Ok(other),
        },
    };
    with_vars(found, vars).map(Firmware::Uefi)
}

/// The same firmware with the user's variables.
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
