//! Finds the kernel to boot: its image, release, modules and configuration.
//!
//! Sources are image files, build trees, Debian packages and the kernels installed below a root. Writes only to the
//! cache. Refuses images that cannot be booted here and reports their type.

mod bzimage;
pub(crate) mod config;
mod container;
pub(crate) mod deb;
pub(crate) mod error;
pub mod find;
mod ikconfig;
pub(crate) mod image;
pub(crate) mod place;
pub mod symbols;
pub(crate) mod tree;
pub mod unpack;
pub(crate) mod vmlinux;

use std::path::PathBuf;

use crate::arch::Arch;

pub(crate) use self::config::Config;
pub use self::container::unused_sections;
pub use self::error::KernelError;
pub use self::find::{find, find_to_build};
pub(crate) use self::tree::paths as tree_paths;
pub(crate) use self::vmlinux::vmlinux;

/// Parsers of untrusted bytes, for the fuzz targets.
#[doc(hidden)]
pub mod fuzzed {
    pub use super::symbols::Symbols;
    pub use super::unpack::unpack;
    pub use crate::format::kernel::bzimage::BzImage;
    pub use crate::format::kernel::package::{data_member, tar_of};
}

/// A kernel and the files that belong to it.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// Image file that QEMU can open, on the host or in the cache. For [`ImageKind::Absent`], the directory of modules.
    pub image: PathBuf,
    /// Format of the image.
    pub kind: ImageKind,
    /// Architecture of the image.
    pub arch: Arch,
    /// `uname -r`, read from the image; `None` if the image does not contain it.
    pub release: Option<String>,
    /// Directory of its modules, if there is one.
    pub modules: Option<ModuleDir>,
    /// Its configuration, if found.
    pub config: Option<Config>,
    /// Source of the image as the user knows it, for messages: `/boot/vmlinuz-6.1.0-56-amd64`.
    pub origin: String,
}

/// Format of a kernel image file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageKind {
    /// bzImage for the x86 boot protocol (`Documentation/arch/x86/boot.rst`).
    BzImage,
    /// ELF file with a Xen PVH entry note, which QEMU boots without decompression.
    VmlinuxPvh,
    /// arm64 `Image` (`Documentation/arch/arm64/booting.rst`), which is also an EFI program if the kernel has a stub.
    Arm64,
    /// No image: only the modules are installed. `find_to_build` returns such a kernel, `find` does not.
    Absent,
}

/// A directory of modules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleDir {
    /// Directory on the host: `/lib/modules/RELEASE`, a build tree, or a directory in the cache.
    pub host: PathBuf,
    /// Kernel release that the modules are for. Their directory in the guest is `/lib/modules/RELEASE`.
    pub release: String,
    /// Layout of the directory.
    pub layout: ModuleLayout,
}

/// Layout of a directory of modules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModuleLayout {
    /// As written by `make modules_install`: `kernel/`, `updates/`, `modules.builtin`, and `modules.dep` if depmod ran.
    Installed,
    /// Kernel build tree: `.ko` files where they were built, `modules.order` and `modules.builtin` at the top.
    BuildTree,
}
