//! The kernel to boot: its image, its release, its modules, its configuration, wherever they come from.
//!
//! Reads images, build trees, packages and what is installed under a root; writes only into the cache.
//! Refuses what cannot be booted here, and says what it is.

pub mod config;
pub mod deb;
pub mod error;
pub mod find;
pub mod image;
pub mod place;
pub mod symbols;
pub mod tree;
pub mod unpack;
pub mod vmlinux;

use std::path::PathBuf;

use crate::arch::Arch;

pub use self::config::Config;
pub use self::error::KernelError;
pub use self::find::find;
pub use self::tree::paths as tree_paths;
pub use self::vmlinux::vmlinux;

/// Parsers of untrusted bytes, for the fuzz targets.
#[doc(hidden)]
pub mod fuzzed {
    pub use super::symbols::Symbols;
    pub use super::unpack::unpack;
    pub use crate::format::kernel::bzimage::BzImage;
    pub use crate::format::kernel::package::{data_member, tar_of};
}

/// A kernel, found.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// The file QEMU can open: an image on the host or in our cache.
    pub image: PathBuf,
    /// What kind of file that is.
    pub kind: ImageKind,
    /// Architecture the image is for.
    pub arch: Arch,
    /// `uname -r` of it, from the image itself; `None` where the image does not say.
    pub release: Option<String>,
    /// Where its modules are, if anywhere.
    pub modules: Option<ModuleDir>,
    /// Its configuration, if it could be found.
    pub config: Option<Config>,
    /// In the user's words where it came from, for messages: `/boot/vmlinuz-6.1.0-56-amd64`.
    pub origin: String,
}

/// Kinds of kernel image files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageKind {
    /// x86 boot protocol (`Documentation/arch/x86/boot.rst`).
    BzImage,
    /// An ELF file with a Xen PVH entry note, which QEMU boots without decompression.
    VmlinuxPvh,
}

/// A directory of modules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleDir {
    /// The directory on the host: `/lib/modules/REL`, a build tree, or a directory of our cache.
    pub host: PathBuf,
    /// Release the modules are for; where they stand in the guest (`/lib/modules/RELEASE`).
    pub release: String,
    /// How the directory is arranged.
    pub layout: ModuleLayout,
}

/// Arrangements of a directory of modules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModuleLayout {
    /// As `make modules_install` leaves it: `kernel/`, `updates/`, `modules.builtin`, and `modules.dep` if depmod ran.
    Installed,
    /// A kernel build tree: `.ko` files where they were built, `modules.order` and `modules.builtin` at its top.
    BuildTree,
}
