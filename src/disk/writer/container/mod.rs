//! Containers: an image's pieces moved to where a format wants them, with its tables around them.
//!
//! Nothing is copied here: a container is a list of pieces, too, and the same image gives the same container.

pub mod vhd;

use crate::disk::spec::Format;
use crate::format::Guid;
use crate::format::{qcow2_writer, vmdk};
use crate::output::extents::Extents;

/// Why an image cannot go into a container.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("making a {}: the disk has {size} bytes, and {most} are the most", format.name())]
pub struct TooLarge {
    /// The container.
    pub format: Format,
    /// Bytes of the disk.
    pub size: u64,
    /// What fits.
    pub most: u64,
}

/// Puts an image in its container. `id` names the disk where the format has a name for it, `time` is its time in
/// seconds since 1970.
pub fn contain(format: Format, image: Extents, id: Guid, time: u64) -> Result<Extents, TooLarge> {
    let most = match format {
        Format::Raw | Format::Uki | Format::Qcow2 => u64::MAX,
        Format::Vhd => vhd::LARGEST,
        Format::Vmdk => vmdk::LARGEST,
    };
    let size = image.size();
    if size > most {
        return Err(TooLarge { format, size, most });
    }
    Ok(match format {
        Format::Raw | Format::Uki => image,
        Format::Qcow2 => qcow2_writer::contain(&image),
        Format::Vhd => vhd::contain(image, id, time),
        Format::Vmdk => vmdk::contain(&image, id),
    })
}
