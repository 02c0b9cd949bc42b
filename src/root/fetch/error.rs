//! Errors of fetching packages.

use std::io;
use std::path::PathBuf;

use crate::arch::Arch;
use crate::cache::CacheError;

/// Failure to fetch packages.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The name of a package is invalid.
    #[error("invalid package name {0:?}: expected lowercase letters, digits, and any of +-.")]
    Name(String),
    /// The version of a package is invalid, or the package is not named completely.
    #[error("invalid package {0:?}: expected linux-image-NAME=VERSION")]
    Version(String),
    /// apt is not installed.
    #[error("failed to run {program}: packages are fetched with Debian's apt")]
    NoApt {
        /// The program.
        program: &'static str,
        /// Cause.
        source: io::Error,
    },
    /// Debian does not support the architecture.
    #[error("no Debian packages for {0}")]
    Arch(Arch),
    /// apt failed.
    #[error("failed to {doing}: {output}")]
    Apt {
        /// Failed action, in the infinitive.
        doing: String,
        /// The last lines of its output.
        output: String,
    },
    /// The package sources do not have a version of a package.
    #[error("{package} {version} is neither in the cache nor in the package sources, which have {}", available(found))]
    NoVersion {
        /// The package.
        package: String,
        /// The requested version.
        version: String,
        /// Versions in the package sources, or packages with versions.
        found: Vec<String>,
    },
    /// A package has another content than the one that was recorded.
    #[error("{package} {version} has SHA-256 {found}, expected {expected}")]
    Digest {
        /// The package.
        package: String,
        /// Its version.
        version: String,
        /// The recorded digest.
        expected: String,
        /// The digest of the file.
        found: String,
    },
    /// Neither a kernel, nor a meta-package that depends on one.
    #[error("{package} is not a kernel: it neither starts with linux-image- nor depends on such a package")]
    NoKernel {
        /// The package.
        package: String,
    },
    /// Interrupted by a signal to bootling.
    #[error("interrupted by signal {0}")]
    Interrupted(i32),
    /// A package is damaged, or contains unsafe names.
    #[error("failed to unpack {}", path.display())]
    Unpack {
        /// The package.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// An I/O error.
    #[error("failed to {doing} {}", path.display())]
    Io {
        /// Verb, in the infinitive.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The cache is not usable.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl FetchError {
    /// Returns the signal that interrupted apt, if one did.
    pub fn signal(&self) -> Option<i32> {
        if let Self::Interrupted(signal) = self { Some(*signal) } else { None }
    }

    /// One line of advice, if there is some.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::NoApt { .. } => Some("pass a kernel file or a directory instead of a package"),
            Self::Apt { .. } => Some("packages are fetched once; without a network, pass a file or a directory"),
            Self::NoVersion { .. } => Some("request another version, or (bootling test) use --update-lock"),
            Self::Cache(_) => Some("set BOOTLING_CACHE_DIR to a directory that you own"),
            Self::Name(_)
            | Self::Version(_)
            | Self::Arch(_)
            | Self::Digest { .. }
            | Self::NoKernel { .. }
            | Self::Interrupted(_)
            | Self::Unpack { .. }
            | Self::Io { .. } => None,
        }
    }
}

fn available(found: &[String]) -> String {
    if found.is_empty() { "no such package".to_owned() } else { found.join(", ") }
}
