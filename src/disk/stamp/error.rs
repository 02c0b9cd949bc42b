//! Errors of the stamping operation.

use std::io;
use std::path::PathBuf;

use super::Objection;
use crate::disk::container::stream::StreamError;
use crate::disk::container::{Container, ImageError};
use crate::output::WriteError;

/// Error from stamping an image.
#[derive(Debug, thiserror::Error)]
pub enum StampError {
    /// The image cannot be opened, or is in use.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The compressed image cannot be read or rewritten.
    #[error(transparent)]
    Stream(StreamError),
    /// An output file is set, but the image is not compressed.
    #[error("failed to stamp {name}: --output requires a compressed image; {container} is stamped in place")]
    NotCompressed {
        /// Image file.
        name: String,
        /// Format of the image.
        container: Container,
    },
    /// The disk is smaller than a boot sector.
    #[error("failed to stamp {name}: {size} bytes are too few for a boot sector")]
    TooSmall {
        /// Image file.
        name: String,
        /// Size of the disk in bytes.
        size: u64,
    },
    /// The disk in a compressed image is smaller than a boot sector.
    #[error("failed to stamp {0}: the decompressed image is too small for a boot sector")]
    TooSmallInside(String),
    /// The disk must not be stamped.
    #[error("failed to stamp {name}")]
    Refused {
        /// Image file.
        name: String,
        /// The reason.
        #[source]
        objection: Objection,
    },
    /// The old boot code cannot be saved.
    #[error("failed to save the boot code to {}", file.display())]
    Save {
        /// File for the boot code.
        file: PathBuf,
        /// Error from the operating system.
        source: io::Error,
    },
    /// The file for the old boot code contains something else.
    #[error("failed to save the boot code to {}: file exists with different contents", .0.display())]
    SaveExists(PathBuf),
    /// The file for the old boot code cannot be created or renamed.
    #[error(transparent)]
    Output(#[from] WriteError),
    /// The sector could not be read.
    #[error("failed to read the first sector of {name}")]
    Read {
        /// Image file.
        name: String,
        /// Error from the operating system.
        source: io::Error,
    },
    /// The sector differs from the one that the decision was based on.
    #[error("failed to write the first sector of {name}: it changed meanwhile")]
    Changed {
        /// Image file.
        name: String,
    },
    /// The sector could not be written.
    #[error("failed to write the first sector of {name}")]
    Write {
        /// Image file.
        name: String,
        /// Error from the operating system.
        source: io::Error,
    },
    /// The sector was written, but reads back differently.
    #[error("failed to verify the first sector of {name}: bytes read back differ from bytes written")]
    Lost {
        /// Image file.
        name: String,
    },
}

impl From<StreamError> for StampError {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Image(error) => Self::Image(error),
            error @ (StreamError::Unpack { .. } | StreamError::Write(_)) => Self::Stream(error),
        }
    }
}

impl StampError {
    /// Returns one line of advice, if there is any.
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::Image(error) => error.advice(),
            Self::Refused { objection, .. } => Some(objection.advice().into()),
            Self::SaveExists(_) => {
                Some("it may contain the original boot code: choose another file, or remove it".into())
            }
            Self::Stream(_)
            | Self::NotCompressed { .. }
            | Self::TooSmall { .. }
            | Self::TooSmallInside(_)
            | Self::Save { .. }
            | Self::Output(_)
            | Self::Read { .. }
            | Self::Changed { .. }
            | Self::Write { .. }
            | Self::Lost { .. } => None,
        }
    }
}
