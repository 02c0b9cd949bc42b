//! Why there is no kernel to boot.

use std::io;
use std::path::PathBuf;

use crate::cache::CacheError;
use crate::root::root::RootError;

/// How to get a kernel where there is none.
const GET_ONE: &str = "download one, no root needed: \
    apt-get download $(apt-cache depends linux-image-cloud-amd64 | grep -o 'linux-image-[0-9].*') \
    and give it by --kernel ./linux-image-*.deb; or give a bzImage, a vmlinux or a kernel build tree by --kernel";

/// No kernel to boot.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// Nothing under the root.
    #[error("finding a kernel: none that can be read in {}{}; {GET_ONE}", tried.join(", "), skipped_text(skipped))]
    None {
        /// The patterns that were tried.
        tried: Vec<String>,
        /// Kernels that are there, and why each will not do.
        skipped: Vec<String>,
    },
    /// What `--kernel` names is not there.
    #[error("finding kernel {wanted}: no such file or release; tried {}", tried.join(", "))]
    NotFound {
        /// As typed.
        wanted: String,
        /// Everywhere that was tried.
        tried: Vec<String>,
    },
    /// A file of the wrong kind.
    #[error("booting {}: it is {what}; {advice}", path.display())]
    NotBootable {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: String,
        /// One line of advice.
        advice: &'static str,
    },
    /// A directory without a kernel.
    #[error("finding a kernel in {}: no build tree with an image in it ({}); run make there", path.display(), tried.join(", "))]
    NotBuilt {
        /// The directory.
        path: PathBuf,
        /// What was looked for, and what was wrong with it.
        tried: Vec<String>,
    },
    /// A package without a kernel image.
    #[error("finding a kernel in package {}: {}", path.display(), no_image(refused, *modules))]
    NoImage {
        /// The package.
        path: PathBuf,
        /// Images that will not do, and why.
        refused: Vec<String>,
        /// How many modules it has.
        modules: usize,
    },
    /// A package that cannot be unpacked.
    #[error("unpacking package {}", path.display())]
    Package {
        /// The package.
        path: PathBuf,
        /// What is wrong with it, or with the disk.
        source: io::Error,
    },
    /// An image whose parts do not fit together.
    #[error("unpacking kernel {}: {why}", path.display())]
    Damaged {
        /// The image.
        path: PathBuf,
        /// What does not fit.
        why: String,
    },
    /// The unpacked kernel has no PVH entry. Never leaves this stage.
    #[error("no PVH entry note")]
    NoPvh,
    /// The file system said no.
    #[error("{doing} {}", path.display())]
    Io {
        /// A gerund.
        doing: &'static str,
        /// The object.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// A path could not be looked up under the root.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The cache could not be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

fn skipped_text(skipped: &[String]) -> String {
    if skipped.is_empty() { String::new() } else { format!(" (passed over: {})", skipped.join("; ")) }
}

fn no_image(refused: &[String], modules: usize) -> String {
    if !refused.is_empty() {
        return refused.join("; ");
    }
    match modules {
        0 => {
            "it has no /boot/vmlinuz-RELEASE and no modules; a meta-package only names the real one (apt-cache depends)"
                .to_owned()
        }
        modules => format!("it has {modules} modules but no image; give the package with /boot/vmlinuz-RELEASE"),
    }
}
