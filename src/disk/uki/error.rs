//! Why there is nothing to make a unified kernel image of.

use std::io;
use std::path::PathBuf;

use crate::format::pe::{Machine, PeError};
use crate::root::root::RootError;

/// Parts that are missing, or that do not go together.
#[derive(Debug, thiserror::Error)]
pub enum UkiError {
    /// No stub under the root.
    #[error("finding the EFI stub: not at {}", tried.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "))]
    NoStub {
        /// Everywhere that was looked.
        tried: Vec<PathBuf>,
    },
    /// An architecture that UEFI is not for.
    #[error("finding the EFI stub: there is no UEFI for {arch}")]
    NoUefi {
        /// Which.
        arch: crate::arch::Arch,
    },
    /// A file that is no stub.
    #[error("using {} as the EFI stub: {why}", path.display())]
    NotAStub {
        /// The file.
        path: PathBuf,
        /// What it is.
        why: &'static str,
    },
    /// A stub that cannot be read as an EFI program.
    #[error("reading EFI stub {}", path.display())]
    Stub {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        why: PeError,
    },
    /// A kernel image of a kind that firmware does not start.
    #[error("putting kernel {origin} into an EFI program: it is an ELF vmlinux, and firmware starts only PE images")]
    Elf {
        /// In the user's words.
        origin: String,
    },
    /// A bzImage without an EFI stub.
    #[error("putting kernel {origin} into an EFI program: firmware cannot start it")]
    NoEfi {
        /// In the user's words.
        origin: String,
        /// What is missing.
        #[source]
        why: PeError,
    },
    /// Parts for different machines.
    #[error("joining kernel {kernel} and EFI stub {}: the kernel is for {kernel_machine} and the stub for {stub_machine}", stub.display())]
    Machines {
        /// The stub's file.
        stub: PathBuf,
        /// What it runs on.
        stub_machine: Machine,
        /// The kernel, in the user's words.
        kernel: String,
        /// What that runs on.
        kernel_machine: Machine,
    },
    /// The root would not be read.
    #[error(transparent)]
    Root(#[from] RootError),
    /// A file would not be read.
    #[error("{doing} {}", path.display())]
    Io {
        /// "reading kernel".
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
}

impl UkiError {
    /// One line of advice, where there is one.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::NoStub { .. } => Some(
                "it is in Debian's and Ubuntu's package systemd-boot-efi, Fedora's systemd-boot-unsigned, Arch's systemd; \
                 or give one by --stub FILE",
            ),
            Self::NotAStub { .. } | Self::Stub { .. } => Some(
                "systemd's are named linuxx64.efi.stub, linuxaa64.efi.stub and so on, in /usr/lib/systemd/boot/efi",
            ),
            Self::Elf { .. } => Some("give the bzImage of the same build (arch/x86/boot/bzImage)"),
            Self::NoEfi { .. } => Some("build it with CONFIG_EFI_STUB=y"),
            Self::Machines { .. } => Some("give the stub for the kernel's machine by --stub FILE"),
            Self::NoUefi { .. } | Self::Root(_) | Self::Io { .. } => None,
        }
    }
}
