//! Copies runs of used blocks of an image, for containers that store only those.

use crate::output::extents::Extents;

/// Copies the pieces that lie in runs of blocks, one run after the other from `at` on. Returns the new offset of each
/// run.
pub(super) fn pack(into: &mut Extents, image: &Extents, runs: &[(u64, u64)], mut at: u64) -> u64 {
    let mut pieces = image.list().iter().peekable();
    for (start, end) in runs {
        while let Some(piece) = pieces.next_if(|piece| piece.at < *end) {
            into.add(at + (piece.at - start), piece.len, piece.source.clone(), piece.from);
        }
        at += end - start;
    }
    at
}
