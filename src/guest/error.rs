//! Why a guest cannot be had: the stages' errors, and the few that concern several of them.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use super::health::HealthError;
use super::verdict::Outcome;
use crate::arch::Arch;
use crate::cache::CacheError;
use crate::format::newc::ReadError;
use crate::initrd::PlanError;
use crate::output::WriteError;
use crate::qemu::firmware::FirmwareError;
use crate::qemu::machine::MachineError;
use crate::qemu::program::QemuError;
use crate::root::kernel::error::KernelError;
use crate::root::modules::error::ModuleError;
use crate::root::{root::RootError, userland_error::UserlandError};

/// No guest.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    /// The root directory cannot be used.
    #[error(transparent)]
    Root(#[from] RootError),
    /// Nor can the cache.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// No kernel.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A machine that cannot be.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// No QEMU.
    #[error(transparent)]
    Qemu(#[from] QemuError),
    /// No firmware.
    #[error(transparent)]
    Firmware(#[from] FirmwareError),
    /// A program or file that is not there, or will not do.
    #[error(transparent)]
    Userland(#[from] UserlandError),
    /// A kernel module that is not there, or will not do.
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// A pattern for the kernel's health that is none.
    #[error(transparent)]
    Health(#[from] HealthError),
    /// What was found does not make an image, or a job.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The image could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The next command of a guest is larger than any it can be given.
    #[error("handing {len} bytes to the guest: it takes {window_mib} MiB at most")]
    Window {
        /// The archive's length.
        len: u64,
        /// The window's.
        window_mib: u64,
    },
    /// The file system said no.
    #[error("{doing} {object}")]
    Io {
        /// A gerund.
        doing: &'static str,
        /// The object, in words.
        object: String,
        /// What it said.
        source: io::Error,
    },
    /// A ready-made initrd that is a directory or a device.
    #[error("opening initrd {}: it is not a regular file", path.display())]
    InitrdKind {
        /// The path.
        path: PathBuf,
    },
    /// A ready-made initrd that no kernel would unpack whole.
    #[error("reading initrd {}", path.display())]
    BrokenInitrd {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ReadError,
    },
    /// A ready-made initrd that is not ours, with settings that only our pid 1 knows.
    #[error(
        "using --kmod or --env with {}: it is not bootling's and boots as it is; give a COMMAND or --run",
        path.display()
    )]
    ForeignInitrd {
        /// The file.
        path: PathBuf,
    },
    /// A bzImage that UEFI cannot start.
    #[error("starting {origin} by UEFI: it is no EFI program (CONFIG_EFI_STUB is off)")]
    NoEfiStub {
        /// Where the kernel came from.
        origin: String,
    },
    /// A kernel that no firmware can start.
    #[error("starting {origin} by firmware: it is a vmlinux, which no firmware starts")]
    VmlinuxByFirmware {
        /// Where the kernel came from.
        origin: String,
    },
    /// A setting without a name.
    #[error("reading --env {}: a variable has a name", .0.display())]
    Variable(OsString),
    /// A variable whose name is none.
    #[error("setting the variable {0:?}: a name is not empty and holds no '='")]
    Name(OsString),
    /// A command of no words at all.
    #[error("running a command: it has no words")]
    NoCommand,
    /// A kernel or a machine that can be given one command at most.
    #[error("keeping a guest for several commands: {0}")]
    NotKept(String),
    /// A guest that was not there before its first command.
    #[error("booting the guest: {}", outcome.sentence().unwrap_or_else(|| "it ended before it had a command".to_owned()))]
    NotBooted {
        /// What came of it.
        outcome: Box<Outcome>,
        /// The console's last lines.
        console: Vec<String>,
    },
    /// A command for a guest that has ended.
    #[error("running a command in a guest that is gone: {0}")]
    Gone(String),
    /// No pid 1 for an image of this architecture.
    #[error("building an image for {0}: bootling has no pid 1 for this architecture")]
    NoPid1(Arch),
    /// Nothing says what an image is for.
    #[error("building an image without --kernel: this machine's architecture is not known here")]
    UnknownArch,
}

impl VmError {
    /// Makes an [`io::Error`] one of these.
    pub(super) fn io(doing: &'static str, object: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let object = object.into();
        move |source| Self::Io { doing, object, source }
    }

    /// One line of advice, where there is some beside the message.
    pub const fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Cache(_) => Some("name a directory of yours in BOOTLING_CACHE_DIR"),
            Self::VmlinuxByFirmware { .. } => Some("name the bzImage of the same build (arch/x86/boot/bzImage)"),
            Self::Window { .. } => Some("name what is large at the guest's start: it then gets room for it"),
            Self::NoCommand => Some("give a program and its arguments, or a line for the shell"),
            Self::NotKept(_) => Some("`Builder::run` boots a guest for a single command"),
            Self::Gone(_) => Some("`Vm::restart` starts it again"),
            Self::Root(_)
            | Self::Kernel(_)
            | Self::Machine(_)
            | Self::Qemu(_)
            | Self::Firmware(_)
            | Self::Userland(_)
            | Self::Module(_)
            | Self::Health(_)
            | Self::Plan(_)
            | Self::Write(_)
            | Self::Io { .. }
            | Self::InitrdKind { .. }
            | Self::BrokenInitrd { .. }
            | Self::ForeignInitrd { .. }
            | Self::NoEfiStub { .. }
            | Self::Variable(_)
            | Self::Name(_)
            | Self::NotBooted { .. }
            | Self::NoPid1(_)
            | Self::UnknownArch => None,
        }
    }
}
