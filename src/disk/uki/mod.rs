//! The parts of a unified kernel image that lie about: systemd's stub, a kernel that is an EFI program, `os-release`.
//!
//! The stub is the root's own (`/usr/lib/systemd/boot/efi/linuxx64.efi.stub`), or one that is given. Refuses a kernel that
//! firmware cannot start (an ELF vmlinux, one built without its EFI stub), parts for different machines, and what is a
//! stub by its name alone: addon stubs, ELF files, stubs that have a kernel already.

pub mod image;

pub mod error;
pub mod stub;

use std::fs::File;
use std::path::PathBuf;

use self::stub::FileMedium;
use crate::format::archive_path::ArchivePath;
use crate::format::pe::{Machine, Pe};
use crate::root::kernel::{ImageKind, Kernel};
use crate::root::root::Root;

pub use self::error::UkiError;
pub use self::stub::Stub;

/// `os-release(5)`: the first that is there counts.
const OS_RELEASE: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];
/// Far more than any of them has; systemd reads no more either.
const MOST_OS_RELEASE: u64 = 64 << 10;

/// Everything but the command line and the initrd.
#[derive(Debug, Clone)]
pub struct UkiParts {
    /// What firmware starts.
    pub stub: Stub,
    /// What that starts.
    pub kernel: KernelImage,
    /// `os-release` of the root; one made up from the kernel's release where it has none.
    pub os_release: Vec<u8>,
    /// `uname -r` of the kernel, if it says.
    pub uname: Option<String>,
}

/// A kernel that is an EFI program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelImage {
    /// The file.
    pub path: PathBuf,
    /// In the user's words where it came from.
    pub origin: String,
    /// Bytes of the file.
    pub size: u64,
    /// What it runs on.
    pub machine: Machine,
    /// True where it takes its initrd by the `LoadFile2` protocol; older ones are started by the EFI handover protocol, which
    /// newer stubs and Secure Boot do not like (systemd `src/boot/pe.c`, `pe_kernel_info`).
    pub load_file2: bool,
}

/// Finds the parts for `kernel` under `root`, with the stub in the file `stub` if one is given.
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

/// Makes sure that firmware can start the kernel.
fn efi_kernel(kernel: &Kernel) -> Result<KernelImage, UkiError> {
    let (path, origin) = (kernel.image.clone(), kernel.origin.clone());
    match kernel.kind {
        ImageKind::BzImage => {}
        ImageKind::VmlinuxPvh => return Err(UkiError::Elf { origin }),
    }
    let failed = |source| UkiError::Io { doing: "reading kernel", path: path.clone(), source };
    let file = File::open(&path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    let pe =
        Pe::read(&FileMedium { file: &file, size }).map_err(|why| UkiError::NoEfi { origin: origin.clone(), why })?;
    let load_file2 = pe.image_version >= 1;
    Ok(KernelImage { path, origin, size, machine: pe.machine, load_file2 })
}

fn os_release(root: &Root, kernel: &Kernel) -> Result<Vec<u8>, UkiError> {
    for path in OS_RELEASE {
        match root.read(&ArchivePath::new(path), MOST_OS_RELEASE) {
            // An empty section is measured by some stubs and not by others.
            Ok(bytes) if !bytes.is_empty() => return Ok(bytes),
            Ok(_) => {}
            Err(error) if error.is_missing() => {}
            Err(error) => return Err(error.into()),
        }
    }
    // The defaults that os-release(5) gives; boot menus want a name, an ID and a version.
    let release = kernel.release.as_deref().unwrap_or("unknown");
    let release: String = release.chars().filter(|c| c.is_ascii_alphanumeric() || "._-+~".contains(*c)).collect();
    Ok(format!("ID=linux\nNAME=Linux\nPRETTY_NAME=\"Linux {release}\"\nVERSION_ID={release}\n").into_bytes())
}

#[cfg(test)]
mod tests;
