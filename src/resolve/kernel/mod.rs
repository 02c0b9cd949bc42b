//! The kernel to boot: its image, its release, its modules, its configuration, wherever they come from.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::arch::Arch;

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

/// A kernel's configuration: `CONFIG_X` without its prefix, and its value as written (`y`, `m`, `"text"`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config(pub BTreeMap<String, String>);

impl Config {
    /// True where `CONFIG_name=y`.
    pub fn is_builtin(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|value| value == "y")
    }
}
