//! Fixed-size VHD: the bytes of the disk, followed by a footer.

use std::sync::Arc;

use crate::format::Guid;
use crate::format::vhd::{EPOCH, FOOTER, Footer};
use crate::output::extents::{Extents, Source};

/// Maximum disk size in bytes: the limit of Hyper-V.
pub(crate) const LARGEST: u64 = 2040 << 30;

/// Appends the footer to an image.
pub(crate) fn contain(mut image: Extents, id: Guid, time: u64) -> Extents {
    let time = u32::try_from(time.saturating_sub(u64::from(EPOCH))).unwrap_or(u32::MAX);
    let size = image.size();
    let footer: Arc<[u8]> = Arc::new(Footer { disk_bytes: size, id, time }.encode());
    image.add(size, FOOTER as u64, Source::Bytes(footer), 0);
    image
}
