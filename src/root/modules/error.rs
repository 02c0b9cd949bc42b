//! What can go wrong with modules, and reading small files with a path in the error.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::builtin::Builtin;
use super::order::{Order, near};
use crate::cache::CacheError;
use crate::format::modules::modinfo::ModinfoError;
use crate::root::fact::Why;
use crate::root::kernel::Kernel;
use crate::root::root::read_at_most;

/// Modules could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// No such module.
    #[error("finding module {name} ({why}): {place}{}", similar(near))]
    Missing {
        /// The name that was wanted.
        name: String,
        /// Who wanted it.
        why: Box<Why>,
        /// The kernel, and where it was looked for.
        place: String,
        /// Names that may have been meant.
        near: Vec<String>,
    },
    /// `modules.dep` lists a file that is not there.
    #[error("opening module {name} ({why}): {} is listed in modules.dep but not there; run depmod", path.display())]
    Dangling {
        /// The module.
        name: String,
        /// Who wanted it.
        why: Box<Why>,
        /// The file.
        path: PathBuf,
    },
    /// A module for another kernel.
    #[error("using module {}: it was built for kernel {module}, but {origin} is {kernel}", path.display())]
    OtherKernel {
        /// The module's file.
        path: PathBuf,
        /// The release it was built for.
        module: String,
        /// Where the kernel comes from.
        origin: String,
        /// The kernel's release.
        kernel: String,
    },
    /// Modules that need each other.
    #[error("ordering modules: they need each other, or too many: {chain}")]
    Circle {
        /// `a -> b -> a`.
        chain: String,
    },
    /// A table says something impossible.
    #[error("reading {table}: {why}")]
    BadTable {
        /// Which one.
        table: &'static str,
        /// What it says.
        why: String,
    },
    /// A file that should be a module is not one.
    #[error("reading module {}", path.display())]
    NotAModule {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ModinfoError,
    },
    /// A directory of modules cannot be taken in.
    #[error("reading modules in {}: {why}", path.display())]
    Unreadable {
        /// The directory.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// A module in our cache is not what was put there.
    #[error("reading module {}: changed since it was put into the cache", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The file system said no, or compressed data is damaged.
    #[error("{doing} {}", path.display())]
    Io {
        /// A gerund.
        doing: &'static str,
        /// The object.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// A damaged package could not be unpacked again.
    #[error("unpacking a damaged kernel again")]
    Renew(#[from] Box<crate::root::kernel::error::KernelError>),
    /// The cache could not be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl ModuleError {
    /// An IO error with what was being done.
    pub(super) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { doing, path: path.to_owned(), source }
    }

    /// Says of a missing dependency which kernel it is missing for.
    pub(super) fn placed(self, kernel: &Kernel) -> Self {
        match self {
            Self::Missing { name, why, place, near } if place.is_empty() => {
                Self::Missing { name, why, place: place_of(kernel, false), near }
            }
            other => other,
        }
    }
}

/// `; similar: a, b`.
fn similar(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!("; similar: {}", near.join(", ")) }
}

/// The kernel and where its modules were looked for.
fn place_of(kernel: &Kernel, builtin_known: bool) -> String {
    let release = kernel.release.as_deref().unwrap_or("of unknown release");
    match &kernel.modules {
        Some(dir) => format!(
            "kernel {release} has none of that name or alias; looked in {}/modules.dep, modules.alias and {}",
            dir.host.display(),
            if builtin_known { "modules.builtin" } else { "(not there) modules.builtin" },
        ),
        None => format!(
            "kernel {release} ({}) came without modules; give a package, a build tree or an installed release by --kernel",
            kernel.origin
        ),
    }
}

/// The error for a request that leads nowhere.
pub(super) fn not_found(name: &str, kernel: &Kernel, order: &Order<'_>, builtin: &Builtin, why: Why) -> ModuleError {
    let near = near(name, &order.names());
    ModuleError::Missing { name: name.to_owned(), why: Box::new(why), place: place_of(kernel, builtin.known), near }
}

/// Reads a file of at most `limit` bytes.
pub(crate) fn read_bytes(path: &Path, limit: u64) -> Result<Vec<u8>, ModuleError> {
    let read = File::open(path).and_then(|file| read_at_most(file, limit));
    read.map_err(|error| ModuleError::io("reading", path, error))
}

/// Reads a text of at most `limit` bytes; what is not UTF-8 in it becomes U+FFFD and matches nothing.
pub(crate) fn read_text(path: &Path, limit: u64) -> Result<String, ModuleError> {
    let bytes = read_bytes(path, limit)?;
    Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}
