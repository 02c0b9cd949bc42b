//! Errors of preparing and running a guest.

use std::error::Error;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::devices::error::DeviceError;
use super::disk::DiskError;
use super::files::shares::FilesError;
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
use crate::root::fetch::FetchError;
use crate::root::kernel::error::KernelError;
use crate::root::modules::error::ModuleError;
use crate::root::{directory::RootError, userland_error::UserlandError};

/// Failure to run a guest.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    /// The root directory cannot be used.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// Packages could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// No kernel.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// Invalid machine.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// No QEMU.
    #[error(transparent)]
    Qemu(#[from] QemuError),
    /// No firmware.
    #[error(transparent)]
    Firmware(#[from] FirmwareError),
    /// A missing or unusable program or file.
    #[error(transparent)]
    Userland(#[from] UserlandError),
    /// A missing or unusable kernel module.
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// An invalid health pattern.
    #[error(transparent)]
    Health(#[from] HealthError),
    /// The contents do not make a valid image or job.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The image could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// `--user` that the image does not have.
    #[error("invalid --user {typed}: {why}")]
    User {
        /// The value.
        typed: String,
        /// The fault and its fix.
        why: String,
    },
    /// An invalid value of a builder's option.
    #[error("invalid {option} {value}: {why}")]
    Value {
        /// The option.
        option: &'static str,
        /// The value.
        value: String,
        /// The fault.
        why: String,
    },
    /// `--hostname` that is not a host name.
    #[error("invalid --hostname {0:?}: expected 1 to 64 letters, digits, '-', '_' or '.'")]
    Hostname(String),
    /// A command and its files do not fit into the window of a running guest.
    #[error("the command and its files have {len} bytes, but the guest's window has {window_mib} MiB")]
    Window {
        /// Size of the archive in bytes.
        len: u64,
        /// Size of the window in MiB.
        window_mib: u64,
    },
    /// A disk image cannot be booted.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A disk or network interface that the machine cannot have.
    #[error(transparent)]
    Device(Box<DeviceError>),
    /// Directories of the host that the guest cannot have.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// An operating system error.
    #[error("failed to {action} {object}")]
    Io {
        /// The action, an infinitive.
        action: &'static str,
        /// Its object.
        object: String,
        /// The cause.
        source: io::Error,
    },
    /// `--initrd` names a directory or a device.
    #[error("failed to open initrd {}: not a regular file", path.display())]
    InitrdKind {
        /// The path.
        path: PathBuf,
    },
    /// `--initrd` names an initrd that a kernel would not unpack completely.
    #[error("failed to read initrd {}", path.display())]
    BrokenInitrd {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: ReadError,
    },
    /// `--initrd` names an initrd without bootling's pid 1, together with options that need it.
    #[error(
        "--kmod, --env, --user, --hostname and --collect require bootling's pid 1, but {} boots unchanged; give COMMAND or --run",
        path.display()
    )]
    ForeignInitrd {
        /// The file.
        path: PathBuf,
    },
    /// The kernel's configuration lacks options that the run needs.
    #[error("kernel {origin} cannot run this guest: {configuration} lacks {}", lacks.join("; and "))]
    Preflight {
        /// Origin of the kernel.
        origin: String,
        /// File that the configuration was read from.
        configuration: String,
        /// The missing settings, and what happens without them.
        lacks: Vec<String>,
    },
    /// A bzImage that UEFI cannot start.
    #[error("UEFI cannot start {origin}: not an EFI program (CONFIG_EFI_STUB is off)")]
    NoEfiStub {
        /// Origin of the kernel.
        origin: String,
    },
    /// A kernel that no firmware can start.
    #[error("firmware cannot start {origin}: a vmlinux")]
    VmlinuxByFirmware {
        /// Origin of the kernel.
        origin: String,
    },
    /// `--env` without a variable name.
    #[error("invalid --env {}: missing variable name", .0.display())]
    Variable(OsString),
    /// An invalid variable name.
    #[error("invalid variable name {0:?}: empty, or contains '='")]
    Name(OsString),
    /// An empty command.
    #[error("empty command")]
    NoCommand,
    /// The kernel or the machine cannot keep a guest for several commands.
    #[error("this guest cannot run several commands: {0}")]
    NotKept(String),
    /// The guest ended before its first command.
    #[error("failed to boot the guest: {}", outcome.sentence().unwrap_or_else(|| "it ended before its first command".to_owned()))]
    NotBooted {
        /// Outcome of the guest.
        outcome: Box<Outcome>,
        /// The console's last lines.
        console: Vec<String>,
    },
    /// The guest has ended.
    #[error("the guest has ended: {0}")]
    Gone(String),
    /// No pid 1 for an image of this architecture.
    #[error("no pid 1 for architecture {0}")]
    NoPid1(Arch),
    /// The image's architecture is unknown.
    #[error("unknown host architecture; give --kernel")]
    UnknownArch,
}

impl From<DeviceError> for VmError {
    fn from(error: DeviceError) -> Self {
        Self::Device(Box::new(error))
    }
}

/// Returns an error and its causes as one line. A cause that the text already ends with is not repeated.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        source = error.source();
    }
    text
}

impl VmError {
    /// Adds context to an [`io::Error`]: "failed to `action` `object`".
    pub(crate) fn io(action: &'static str, object: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let object = object.into();
        move |source| Self::Io { action, object, source }
    }

    /// Returns the file or directory that the error is about, if it may be in the cache.
    pub fn file(&self) -> Option<&Path> {
        if let Self::Kernel(error) = self {
            error.file()
        } else if let Self::Module(error) = self {
            error.file()
        } else if let Self::Write(error) = self {
            error.file()
        } else {
            None
        }
    }

    /// Returns the signal that interrupted the preparation, if one did.
    pub fn signal(&self) -> Option<i32> {
        if let Self::Fetch(error) = self {
            error.signal()
        } else if let Self::Kernel(error) = self {
            error.signal()
        } else {
            None
        }
    }

    /// One line of advice, if there is some.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Fetch(error) | Self::Kernel(KernelError::Fetch(error)) => error.advice(),
            // Its text names both remedies, in verbs without a guest as well.
            Self::Kernel(KernelError::CacheFull { .. }) => None,
            // These errors are about files in the cache.
            Self::Cache(_) | Self::Kernel(_) | Self::Module(_) if is_full(self) => {
                Some("make room there, or set BOOTLING_CACHE_DIR to a directory on another file system")
            }
            Self::Cache(_) => Some("set BOOTLING_CACHE_DIR to a directory that you own"),
            Self::VmlinuxByFirmware { .. } => Some("use the bzImage of the same build (arch/x86/boot/bzImage)"),
            Self::Preflight { .. } => Some(
                "set them and build the kernel again; if it has another configuration, boot it with --no-preflight",
            ),
            Self::Window { .. } => Some("name large files when the guest is started: its window is then larger"),
            Self::NoCommand => Some("give a program and its arguments, or a line for the shell"),
            Self::NotKept(_) => Some("`Builder::run` boots a guest for a single command"),
            Self::Gone(_) => Some("`Vm::restart` starts it again"),
            Self::Disk(error) => error.advice(),
            Self::Device(error) => error.advice(),
            Self::Files(error) => error.advice(),
            Self::Userland(UserlandError::WrongArch { .. }) => Some(
                "use --sysroot debian: (or debian:PACKAGE,...), or a directory with a root of the guest's architecture",
            ),
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
            | Self::User { .. }
            | Self::Value { .. }
            | Self::Hostname(_)
            | Self::Variable(_)
            | Self::Name(_)
            | Self::NotBooted { .. }
            | Self::NoPid1(_)
            | Self::UnknownArch => None,
        }
    }
}

/// Returns true if the error, or one of its causes, is a full disk or an exhausted quota.
pub(crate) fn is_full(error: &(dyn Error + 'static)) -> bool {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
        || error.source().is_some_and(is_full)
}

#[cfg(test)]
mod tests {
    use super::VmError;
    use crate::cache::CacheError;
    use rustix::io::Errno;
    use std::io;

    #[test]
    fn a_full_cache_is_advised_to_move() {
        let failed = |errno| {
            let source = io::Error::from_raw_os_error(errno);
            VmError::from(CacheError::Io { doing: "write", path: "/cache/x".into(), source })
        };
        let advice = |errno: Errno| failed(errno.raw_os_error()).advice().unwrap_or_default();
        assert!(advice(Errno::NOSPC).contains("another file system"), "{}", advice(Errno::NOSPC));
        assert!(advice(Errno::DQUOT).contains("another file system"));
        assert!(advice(Errno::ACCESS).contains("that you own"));
    }
}
