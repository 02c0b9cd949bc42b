//! Messages between the host's file server and its relay in the guest, over the port [`PORT_NAME`].
//!
//! Each carries one whole FUSE message (`include/uapi/linux/fuse.h`) of one share: a request of the guest's kernel, or the
//! host's reply. A header precedes it.
//!
//! Each command has a relay of its own, whose first bytes are [`MAGIC`] and a number. The host skips what precedes them, which
//! an earlier relay may have left, and sends them back. The relay skips what precedes those.

/// Name of the virtio-serial port.
pub const PORT_NAME: &str = "bootling.files";

/// First bytes of a relay.
pub const MAGIC: &[u8; 16] = b"\xffbootling files\n";

/// Length of the first bytes with the relay's number.
pub const GREETING: usize = MAGIC.len() + 8;

/// Maximum number of shares, including the root.
pub const MAX_SHARES: usize = 16;

/// Length of a header.
pub const HEADER: usize = 8;

/// Maximum length of a FUSE message: 256 pages, and its headers.
pub const MAX_MESSAGE: usize = (1 << 20) + 4096;

/// Minimum length of a FUSE message: the shorter of the two headers (`struct fuse_out_header`).
pub const MIN_MESSAGE: usize = 16;

/// Returns the first bytes of a relay.
pub fn greeting(number: u64) -> [u8; GREETING] {
    let mut bytes = [0; GREETING];
    for (to, from) in bytes.iter_mut().zip(MAGIC.iter().copied().chain(number.to_le_bytes())) {
        *to = from;
    }
    bytes
}

/// Header of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Number of the share in the job's order; the root is the first.
    pub share: u8,
    /// Length of the FUSE message.
    pub len: u32,
}

impl Header {
    /// Encodes the header.
    pub const fn encode(self) -> [u8; HEADER] {
        let [a, b, c, d] = self.len.to_le_bytes();
        [self.share, 0, 0, 0, a, b, c, d]
    }

    /// Decodes a header; `None` if it is invalid.
    pub const fn decode(bytes: [u8; HEADER]) -> Option<Self> {
        let [share, 0, 0, 0, a, b, c, d] = bytes else { return None };
        let len = u32::from_le_bytes([a, b, c, d]);
        let is_valid = (share as usize) < MAX_SHARES && len as usize >= MIN_MESSAGE && len as usize <= MAX_MESSAGE;
        if is_valid { Some(Self { share, len }) } else { None }
    }
}
