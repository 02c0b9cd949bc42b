//! The arm64 image header (`Documentation/arch/arm64/booting.rst`).

/// Endianness of an uncompressed `Image` with this head: true for little endian. `None` if the file has no such header.
pub(crate) fn is_little_endian(head: &[u8]) -> Option<bool> {
    let flags = u64::from_le_bytes(*head.get(24..)?.first_chunk()?);
    (head.get(56..60)? == b"ARM\x64").then_some(flags & 1 == 0)
}
