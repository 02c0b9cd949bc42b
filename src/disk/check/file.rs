//! Checks a file of any type.

use std::path::Path;

use super::{Report, disk, initrd, program};
use crate::disk::opened::{OpenError, Opened, open};
use crate::format::newc::ReadError;

/// Error from a check. Unreadable content of a disk or program is a finding, not an error.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The file cannot be opened.
    #[error("failed to check {name}")]
    Open {
        /// The file.
        name: String,
        /// The cause.
        source: OpenError,
    },
    /// The file is neither a disk image nor an EFI program nor an initrd.
    #[error("failed to check {name}")]
    Initrd {
        /// The file.
        name: String,
        /// The cause.
        source: ReadError,
    },
}

impl CheckError {
    /// Returns one line of advice, if there is any.
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::Open { source, .. } => source.advice(),
            Self::Initrd { .. } => Some("decompress a compressed disk image before the check".into()),
        }
    }
}

/// Checks a disk image, an EFI program or an initrd. `backing`: also open the backing files of an overlay. Calls `note`
/// before steps that take time.
pub fn check_file(path: &Path, backing: bool, note: &mut dyn FnMut(&str)) -> Result<Report, CheckError> {
    let name = path.display().to_string();
    match open(path, backing, note) {
        Ok(Opened::Disk(image)) => Ok(disk(&image, image.sector())),
        Ok(Opened::Program(image)) => Ok(program(&image, &name)),
        Ok(Opened::Initrd(file)) => initrd(file, &name).map_err(|source| CheckError::Initrd { name, source }),
        Err(source) => Err(CheckError::Open { name, source }),
    }
}
