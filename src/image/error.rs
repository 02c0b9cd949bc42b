//! Why an image cannot be opened.

use std::io;

/// Why an image cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// It is not there, or not for us.
    #[error("opening {name}")]
    Open {
        /// What the user called it.
        name: String,
        /// What the host said.
        source: io::Error,
    },
    /// A directory, a pipe, a terminal.
    #[error("opening {name}: it is neither a file nor a block device")]
    NotADisk {
        /// What the user called it.
        name: String,
    },
    /// It is a container that cannot be looked into.
    #[error("opening {name}: {what}")]
    Unknown {
        /// What the user called it.
        name: String,
        /// What it is, and what can be done about that.
        what: String,
    },
    /// Somebody else uses it.
    #[error("opening {name}: {what}")]
    InUse {
        /// What the user called it.
        name: String,
        /// Who, and how.
        what: String,
    },
    /// Whether somebody uses it cannot be told.
    #[error("locking {name}")]
    Lock {
        /// What the user called it.
        name: String,
        /// What the host said.
        source: io::Error,
    },
}
