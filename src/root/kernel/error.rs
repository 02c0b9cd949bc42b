//! Errors of the kernel lookup.

use std::io;
use std::path::{Path, PathBuf};

use crate::cache::CacheError;
use crate::root::directory::RootError;
use crate::root::fetch::FetchError;

/// Advice if no kernel is installed.
const GET_ONE: &str = "--kernel debian: fetches Debian's without root; \
    or pass a bzImage, a vmlinux, a package or a kernel build tree with --kernel";

/// No bootable kernel.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// No readable kernel below the root.
    #[error("no readable kernel in {}{}; {GET_ONE}", tried.join(", "), skipped_text(skipped))]
    None {
        /// Path patterns searched.
        tried: Vec<String>,
        /// Kernels found but skipped, each with the reason.
        skipped: Vec<String>,
    },
    /// The argument of `--kernel` is neither an existing path nor a known release.
    #[error("kernel {wanted}: no such file or release (tried {})", tried.join(", "))]
    NotFound {
        /// The argument, as typed.
        wanted: String,
        /// Paths tried.
        tried: Vec<String>,
    },
    /// A file that is not a bootable kernel image.
    #[error("{}: not a bootable kernel: {what}; {advice}", path.display())]
    NotBootable {
        /// The file.
        path: PathBuf,
        /// Detected file type.
        what: String,
        /// One line of advice.
        advice: &'static str,
    },
    /// A directory without a kernel image.
    #[error("no kernel image in directory {}: {}; run make there, or pass the directory of make O=", path.display(), tried.join(", "))]
    NotBuilt {
        /// The directory.
        path: PathBuf,
        /// Images tried, each with the reason why it was rejected.
        tried: Vec<String>,
    },
    /// A package without a usable kernel image.
    #[error("no usable kernel image in package {}: {}", path.display(), no_image(refused, *modules))]
    NoImage {
        /// The package.
        path: PathBuf,
        /// Rejected images, each with the reason.
        refused: Vec<String>,
        /// Number of modules in the package.
        modules: usize,
    },
    /// The package cannot be unpacked.
    #[error("failed to unpack {}", path.display())]
    Package {
        /// The package.
        path: PathBuf,
        /// Format error in the package, or I/O error.
        source: io::Error,
    },
    /// The package does not fit where it is unpacked.
    #[error(
        "failed to unpack {}: no space left in {}; free space there (bootling warm rm --all removes snapshots), \
         or set BOOTLING_CACHE_DIR to a directory on another file system",
        path.display(),
        directory.display()
    )]
    CacheFull {
        /// The package.
        path: PathBuf,
        /// The cache.
        directory: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// A damaged or inconsistent image.
    #[error("failed to unpack kernel {}: {why}", path.display())]
    Damaged {
        /// The image.
        path: PathBuf,
        /// The inconsistency.
        why: String,
    },
    /// The bzImage of a build tree is older or newer than its vmlinux.
    #[error(
        "{} is from another build than vmlinux ({expected}): {found}; run make there, or pass the bzImage itself",
        bzimage.display()
    )]
    OtherBuild {
        /// The bzImage.
        bzimage: PathBuf,
        /// Banner of the bzImage.
        found: String,
        /// Banner of the vmlinux.
        expected: String,
    },
    /// Several directories with a build of one source tree.
    #[error("no kernel image in source tree {}, but several builds of it: {}; pass one of them", path.display(), found.join(", "))]
    SeveralBuilds {
        /// The source tree.
        path: PathBuf,
        /// The directories of the builds.
        found: Vec<String>,
    },
    /// The unpacked kernel has no PVH entry note. Internal: never returned by a public function.
    #[error("no PVH entry note")]
    NoPvh,
    /// An I/O error.
    #[error("failed to {doing} {}", path.display())]
    Io {
        /// The failed action, as an infinitive ("read").
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// A package could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A path lookup below the root failed.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The cache is unusable.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl KernelError {
    /// Returns the error for `path` that cannot be unpacked into the cache in `directory`.
    pub(super) fn unpacking(path: &Path, directory: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::CacheFull { path, directory: directory.to_owned(), source }
            }
            _ => Self::Package { path, source },
        }
    }

    /// Returns the signal that interrupted the lookup, if one did.
    pub fn signal(&self) -> Option<i32> {
        if let Self::Fetch(error) = self { error.signal() } else { None }
    }

    /// Returns the file or directory that the error is about, if it may be damaged.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::NotBootable { path, .. }
            | Self::OtherBuild { bzimage: path, .. }
            | Self::SeveralBuilds { path, .. }
            | Self::NotBuilt { path, .. }
            | Self::NoImage { path, .. }
            | Self::Damaged { path, .. }
            | Self::Io { path, .. }
            | Self::Root(RootError::Missing { path } | RootError::Loop { path } | RootError::Io { path, .. }) => {
                Some(path)
            }
            Self::None { .. }
            | Self::NotFound { .. }
            | Self::Package { .. }
            | Self::CacheFull { .. }
            | Self::NoPvh
            | Self::Fetch(_)
            | Self::Cache(_) => None,
        }
    }

    /// Returns true if the kernel may be installed without a readable image.
    pub(super) fn is_without_image(&self) -> bool {
        match self {
            Self::None { .. } | Self::NotFound { .. } => true,
            Self::Io { source, .. } | Self::Root(RootError::Io { source, .. }) => {
                source.kind() == io::ErrorKind::PermissionDenied
            }
            Self::NotBootable { .. }
            | Self::NotBuilt { .. }
            | Self::OtherBuild { .. }
            | Self::SeveralBuilds { .. }
            | Self::NoImage { .. }
            | Self::Package { .. }
            | Self::CacheFull { .. }
            | Self::Damaged { .. }
            | Self::NoPvh
            | Self::Fetch(_)
            | Self::Root(_)
            | Self::Cache(_) => false,
        }
    }
}

fn skipped_text(skipped: &[String]) -> String {
    if skipped.is_empty() { String::new() } else { format!(" (skipped: {})", skipped.join("; ")) }
}

fn no_image(refused: &[String], modules: usize) -> String {
    if !refused.is_empty() {
        return refused.join("; ");
    }
    match modules {
        0 => "no /boot/vmlinuz-RELEASE and no modules; a meta-package only depends on the real one (apt-cache depends)"
            .to_owned(),
        modules => format!(
            "{modules} modules but no image; pass the package that contains /boot/vmlinuz-RELEASE too \
             (Debian, Ubuntu: linux-image-RELEASE), as --kernel A.deb,B.deb"
        ),
    }
}
