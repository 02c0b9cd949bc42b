//! Container formats for disk images: qcow2, VHD and VMDK.
//!
//! A container is a list of extents, so no data is copied. The output is reproducible.

use super::vhd;
use super::{qcow2, vmdk};
use crate::disk::spec::Format;
use crate::format::Guid;
use crate::output::extents::Extents;

/// Error for an image that is too large for a container format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("disk of {size} bytes is too large for {} (limit {most} bytes)", format.name())]
pub struct TooLarge {
    /// Container format.
    pub(crate) format: Format,
    /// Size of the disk in bytes.
    pub(crate) size: u64,
    /// Maximum size in bytes.
    pub(crate) most: u64,
}

/// Converts an image to a container format. `id` identifies the disk in formats that support it. `time` is the creation
/// time in seconds since 1970.
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
        Format::Qcow2 => qcow2::contain(&image),
        Format::Vhd => vhd::contain(image, id, time),
        Format::Vmdk => vmdk::contain(&image, id),
    })
}
