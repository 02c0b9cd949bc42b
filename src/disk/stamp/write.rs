//! Writes the first sector of a disk in place: one write, synced and read back.

use super::{Stamp, StampError};
use crate::disk::container::Image;
use crate::format::{Medium, SectorSize};

/// Writes the new first sector, if it differs. Writes exactly one logical sector, so that a power failure leaves either
/// the old or the new one. In a larger sector, the bytes from 512 are unchanged.
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
