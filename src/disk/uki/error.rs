//! Errors of the lookup of UKI parts.

use std::io;
use std::path::PathBuf;

use crate::format::pe::{Machine, PeError};
use crate::root::directory::RootError;
use crate::root::kernel::error::KernelError;

/// A part of the UKI is missing or unusable, or the parts do not match.
#[derive(Debug, thiserror::Error)]
pub enum UkiError {
    /// No stub below the root.
    #[error("EFI stub not found (tried {})", tried.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "))]
    NoStub {
        /// Paths tried.
        tried: Vec<PathBuf>,
    },
    /// UEFI does not support the architecture.
    #[error("no EFI stub: UEFI does not support {arch}")]
    NoUefi {
        /// The architecture.
        arch: crate::arch::Arch,
    },
    /// The file is not a usable stub.
    #[error("invalid EFI stub {}: {why}", path.display())]
    NotAStub {
        /// The file.
        path: PathBuf,
        /// The fault.
        why: &'static str,
    },
    /// The stub cannot be parsed as a PE file.
    #[error("failed to read EFI stub {}", path.display())]
    Stub {
        /// The file.
        path: PathBuf,
        /// The fault.
        #[source]
        why: PeError,
    },
    /// The kernel image is an ELF file, which firmware does not start.
    #[error("kernel {origin} is an ELF vmlinux, but firmware starts only PE images")]
    Elf {
        /// Source of the kernel, as shown to the user.
        origin: String,
    },
    /// The bzImage has no EFI stub.
    #[error("firmware cannot start kernel {origin}")]
    NoEfi {
        /// Source of the kernel, as shown to the user.
        origin: String,
        /// The fault.
        #[source]
        why: PeError,
    },
    /// Kernel and stub are for different machines.
    #[error("machine mismatch: kernel {kernel} is for {kernel_machine}, EFI stub {} is for {stub_machine}", stub.display())]
    Machines {
        /// File of the stub.
        stub: PathBuf,
        /// Machine type of the stub.
        stub_machine: Machine,
        /// Source of the kernel, as shown to the user.
        kernel: String,
        /// Machine type of the kernel.
        kernel_machine: Machine,
    },
    /// A lookup below the root failed.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The bzImage of a build tree is unusable.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// An I/O error.
    #[error("failed to {doing} {}", path.display())]
    Io {
        /// The failed action, as an infinitive ("read kernel").
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
}

impl UkiError {
    /// Returns one line of advice, if there is any.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::NoStub { .. } => Some(
                "install systemd-boot-efi (Debian, Ubuntu), systemd-boot-unsigned (Fedora) or systemd (Arch), \
                 or pass a stub with --stub FILE",
            ),
            Self::NotAStub { .. } | Self::Stub { .. } => Some(
                "systemd's stubs are named linuxx64.efi.stub, linuxaa64.efi.stub and so on, in /usr/lib/systemd/boot/efi",
            ),
            Self::Elf { .. } => Some("pass the bzImage of the same build (arch/x86/boot/bzImage)"),
            Self::NoEfi { .. } => Some("build the kernel with CONFIG_EFI_STUB=y"),
            Self::Machines { .. } => Some("pass the stub for the kernel's machine with --stub FILE"),
            Self::NoUefi { .. } | Self::Root(_) | Self::Kernel(_) | Self::Io { .. } => None,
        }
    }
}
