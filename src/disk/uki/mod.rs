//! Finds the parts of a unified kernel image (UKI) on disk: systemd's stub, a kernel with an EFI stub, `os-release`.
//!
//! The systemd stub is either passed by the caller or the one installed below the root
//! (`/usr/lib/systemd/boot/efi/linuxx64.efi.stub`). Refuses a kernel that firmware cannot start (an ELF vmlinux, or one
//! built without `CONFIG_EFI_STUB`), parts for different machines, and unusable stubs: addon stubs, ELF files, stubs
//! that already contain a kernel.

pub mod image;

pub(crate) mod error;
pub(crate) mod stub;

use std::fs::File;
use std::path::PathBuf;

use crate::format::archive_path::ArchivePath;
use crate::format::pe::{Machine, Pe};
use crate::root::directory::Root;
use crate::root::kernel::{ImageKind, Kernel};

pub use self::error::UkiError;
pub(crate) use self::stub::Stub;

/// Paths of os-release(5). The first one that exists and is not empty is used.
const OS_RELEASE: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];
/// Size limit of `os-release`, far above real files. systemd reads no more, either.
const MOST_OS_RELEASE: u64 = 64 << 10;

/// All parts of a UKI except the command line and the initrd.
#[derive(Debug, Clone)]
pub struct UkiParts {
    /// Stub, which firmware starts.
    pub(crate) stub: Stub,
    /// Kernel, which the stub starts.
    pub(crate) kernel: KernelImage,
    /// `os-release` of the root, or a generated one with the kernel's release if the root has none.
    pub(crate) os_release: Vec<u8>,
    /// `uname -r` of the kernel, if known.
    pub(crate) uname: Option<String>,
}

/// A kernel image with an EFI stub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KernelImage {
    /// Image file.
    pub(crate) path: PathBuf,
    /// Source of the image, as shown to the user.
    pub(crate) origin: String,
    /// File size in bytes.
    pub(crate) size: u64,
    /// Machine type.
    pub(crate) machine: Machine,
    /// True if the kernel loads its initrd with the `LoadFile2` protocol. Older kernels need the EFI handover protocol,
    /// which newer stubs and Secure Boot do not support (systemd `src/boot/pe.c`, `pe_kernel_info`).
    pub(crate) load_file2: bool,
}

/// Finds the parts for `kernel` below `root`. Uses the stub in the file `stub` if it is `Some`.
pub fn resolve(root: &Root, kernel: &Kernel, stub: Option<&std::path::Path>) -> Result<UkiParts, UkiError> {
    let image = efi_kernel(kernel)?;
    let stub = match stub {
        Some(path) => Stub::read(path.to_owned())?,
        None => Stub::find(root, kernel.arch)?,
    };
    if stub.pe.machine != image.machine {
        return Err(UkiError::Machines {
            stub: stub.path,
            stub_machine: stub.pe.machine,
            kernel: image.origin,
            kernel_machine: image.machine,
        });
    }
    let os_release = os_release(root, kernel)?;
    Ok(UkiParts { stub, kernel: image, os_release, uname: kernel.release.clone() })
}

/// Checks that firmware can start the kernel.
fn efi_kernel(kernel: &Kernel) -> Result<KernelImage, UkiError> {
    let Kernel { image: path, kind, origin, .. } = kernel.clone().for_firmware()?;
    match kind {
        // An absent image cannot be opened below.
        ImageKind::BzImage | ImageKind::Arm64 | ImageKind::Absent => {}
        ImageKind::VmlinuxPvh => return Err(UkiError::Elf { origin }),
    }
    let failed = |source| UkiError::Io { doing: "read kernel", path: path.clone(), source };
    let file = File::open(&path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    let pe = Pe::read(&file).map_err(|why| UkiError::NoEfi { origin: origin.clone(), why })?;
    let load_file2 = pe.image_version >= 1;
    Ok(KernelImage { path, origin, size, machine: pe.machine, load_file2 })
}

fn os_release(root: &Root, kernel: &Kernel) -> Result<Vec<u8>, UkiError> {
    for path in OS_RELEASE {
        match root.read(&ArchivePath::new(path), MOST_OS_RELEASE) {
            // Skip an empty file: some stubs measure an empty section, others do not.
            Ok(bytes) if !bytes.is_empty() => return Ok(bytes),
            Ok(_) => {}
            Err(error) if error.is_missing() => {}
            Err(error) => return Err(error.into()),
        }
    }
    // The defaults of os-release(5). Boot menus require a name, an ID and a version.
    let release = kernel.release.as_deref().unwrap_or("unknown");
    let release: String = release.chars().filter(|c| c.is_ascii_alphanumeric() || "._-+~".contains(*c)).collect();
    Ok(format!("ID=linux\nNAME=Linux\nPRETTY_NAME=\"Linux {release}\"\nVERSION_ID={release}\n").into_bytes())
}

#[cfg(test)]
mod tests;
