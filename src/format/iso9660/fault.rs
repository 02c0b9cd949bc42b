//! Faults of an ISO 9660 volume.

use std::io;

/// Maximum length of a directory in bytes.
pub(super) const LONGEST_DIRECTORY: u64 = 4 << 20;

/// Error from reading a volume.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The medium is too short or cannot be read.
    #[error("failed to read byte {offset} of the ISO 9660 file system")]
    Read {
        /// Byte offset.
        offset: u64,
        /// Error from the medium.
        source: io::Error,
    },
    /// The primary volume descriptor is missing or invalid.
    #[error("no valid ISO 9660 volume descriptor at byte 32768")]
    Descriptor,
    /// A directory is too long.
    #[error("directory of {0} bytes at block {1} exceeds the limit of {LONGEST_DIRECTORY} bytes")]
    Long(u64, u32),
    /// A directory record is invalid.
    #[error("invalid directory record at byte {offset} of the directory: length {length}")]
    Record {
        /// Byte offset in the directory.
        offset: u64,
        /// Length of the record or of its name.
        length: usize,
    },
    /// The boot catalog is invalid.
    #[error("invalid boot catalog: {0}")]
    Catalog(&'static str),
    /// No entry with this name exists.
    #[error("no such file or directory: {0:?}")]
    Missing(String),
    /// The entry has another type.
    #[error("{0:?} is {1}")]
    WrongType(String, &'static str),
    /// The file is interleaved with others.
    #[error("{0:?} is interleaved with other files, which is not supported")]
    Interleaved(String),
}
