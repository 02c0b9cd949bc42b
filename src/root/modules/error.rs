//! Errors of the module resolution, and helpers that read small files and put the path into the error.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::cache::CacheError;
use crate::format::modules::modinfo::ModinfoError;
use crate::root::directory::read_at_most;
use crate::root::fact::Why;

/// Modules could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// The module does not exist.
    #[error("module {name} ({why}): {place}{}", similar(near))]
    Missing {
        /// Requested name.
        name: String,
        /// Requester.
        why: Box<Why>,
        /// The kernel, and the files searched.
        place: String,
        /// Similar names.
        near: Vec<String>,
    },
    /// `modules.dep` lists a missing file.
    #[error("module {name} ({why}): {} is listed in modules.dep but missing; run depmod", path.display())]
    Dangling {
        /// Module name.
        name: String,
        /// Requester.
        why: Box<Why>,
        /// The file.
        path: PathBuf,
    },
    /// The module is for another kernel release.
    #[error("module {}: built for kernel {module}, but {origin} is {kernel}", path.display())]
    OtherKernel {
        /// File of the module.
        path: PathBuf,
        /// Release that the module was built for.
        module: String,
        /// Source of the kernel.
        origin: String,
        /// Release of the kernel.
        kernel: String,
    },
    /// A dependency cycle, or a chain longer than the limit.
    #[error("circular or too deep module dependencies: {chain}")]
    Circle {
        /// `a -> b -> a`.
        chain: String,
    },
    /// A depmod table with invalid content.
    #[error("invalid {table}: {why}")]
    BadTable {
        /// File name of the table.
        table: &'static str,
        /// The fault.
        why: String,
    },
    /// The file is not a module.
    #[error("failed to read module {}", path.display())]
    NotAModule {
        /// The file.
        path: PathBuf,
        /// The fault.
        source: ModinfoError,
    },
    /// The modules of a directory cannot be read.
    #[error("failed to read modules in {}: {why}", path.display())]
    Unreadable {
        /// The directory.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// A module in the cache differs from the one that was stored.
    #[error("module {}: changed since it was cached", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// An I/O error, or damaged compressed data.
    #[error("failed to {doing} {}", path.display())]
    Io {
        /// The failed action, as an infinitive ("read").
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's or the decoder's error.
        source: io::Error,
    },
    /// Unpacking a package again after damage in the cache failed.
    #[error("failed to unpack the kernel package again")]
    Renew(#[from] Box<crate::root::kernel::error::KernelError>),
    /// The cache is unusable.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl ModuleError {
    /// Wraps an I/O error with the failed action (an infinitive) and the path.
    pub(super) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { doing, path: path.to_owned(), source }
    }

    /// Returns the file or directory that the error is about, if it is a single one. A name that no table contains is
    /// not about a file.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Dangling { path, .. }
            | Self::OtherKernel { path, .. }
            | Self::NotAModule { path, .. }
            | Self::Unreadable { path, .. }
            | Self::Damaged { path }
            | Self::Io { path, .. } => Some(path),
            Self::Renew(error) => error.file(),
            Self::Missing { .. } | Self::Circle { .. } | Self::BadTable { .. } | Self::Cache(_) => None,
        }
    }
}

/// Formats similar names: `; similar: a, b`.
fn similar(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!("; similar: {}", near.join(", ")) }
}

/// Reads a file. Limit: `limit` bytes.
pub(crate) fn read_bytes(path: &Path, limit: u64) -> Result<Vec<u8>, ModuleError> {
    let read = File::open(path).and_then(|file| read_at_most(file, limit));
    read.map_err(|error| ModuleError::io("read", path, error))
}

/// Reads a text file. Limit: `limit` bytes. Bytes that are not UTF-8 become U+FFFD, which matches nothing.
pub(crate) fn read_text(path: &Path, limit: u64) -> Result<String, ModuleError> {
    let bytes = read_bytes(path, limit)?;
    Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}
