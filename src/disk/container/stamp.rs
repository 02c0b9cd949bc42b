//! Writing a disk's first sector in place: once, whole, synced, and read back.

use std::io;

use super::Image;
use crate::disk::stamp::Stamp;
use crate::format::{Medium, SectorSize};

/// Why a sector was not written, or not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum StampError {
    /// It could not be read once more.
    #[error("reading the first sector of {name}")]
    Read {
        /// The image.
        name: String,
        /// What the host said.
        source: io::Error,
    },
    /// It is not what the decision was made about.
    #[error("writing the first sector of {name}: it changed while it was looked at")]
    Changed {
        /// The image.
        name: String,
    },
    /// It could not be written.
    #[error("writing the first sector of {name}")]
    Write {
        /// The image.
        name: String,
        /// What the host said.
        source: io::Error,
    },
    /// It was written, and is not there.
    #[error("reading back the first sector of {name}: other bytes are there than were written")]
    Lost {
        /// The image.
        name: String,
    },
}

/// Writes what was decided, where that is anything. One write of one logical sector: so a power cut leaves the old one or
/// the new one. What stands behind byte 512 of a larger sector is written as it was read.
pub fn apply(image: &mut Image, stamp: &Stamp) -> Result<(), StampError> {
    if !stamp.changes() {
        return Ok(());
    }
    let name = image.name().to_owned();
    let length = image.sector().unwrap_or(SectorSize::S512).length();
    let mut sector = vec![0; length];
    image.read_at(&mut sector, 0).map_err(|source| StampError::Read { name: name.clone(), source })?;
    let (first, _) = sector.split_at_mut(stamp.before.len());
    if first != stamp.before {
        return Err(StampError::Changed { name });
    }
    first.copy_from_slice(&stamp.after);
    let written = image.write_at(&sector, 0).and_then(|()| image.sync());
    written.map_err(|source| StampError::Write { name: name.clone(), source })?;
    let mut there = vec![0; length];
    image.read_back(&mut there, 0).map_err(|source| StampError::Read { name: name.clone(), source })?;
    if there == sector { Ok(()) } else { Err(StampError::Lost { name }) }
}
