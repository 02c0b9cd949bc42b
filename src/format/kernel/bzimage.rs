//! The x86 boot protocol's header (`Documentation/arch/x86/boot.rst`).
//!
//! Refuses headers that are no `bzImage`'s, and files shorter than the header says.

/// The header could not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// The file ends before the image does.
    #[error("{needed} bytes by its header, {found} in the file")]
    Truncated {
        /// Where the image should end.
        needed: u64,
        /// Where the file ends.
        found: u64,
    },
    /// Before protocol 2.08 (Linux 2.6.26), which first told where the payload is.
    #[error("boot protocol {0:#x}, older than 0x208")]
    Old(u16),
    /// A zImage, loaded low.
    #[error("a zImage, loaded low")]
    Low,
    /// The header itself is cut.
    #[error("no whole setup header")]
    Short,
}

/// What the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BzImage {
    /// Whether the 64-bit entry point exists (`XLF_KERNEL_64`).
    pub is_64: bool,
    /// Where in the file the compressed kernel starts.
    pub payload_offset: u64,
    /// How long it is, its size field included.
    pub payload_len: u64,
    /// Where the release's text starts, if there is one.
    version_at: Option<usize>,
}

impl BzImage {
    /// Whether a file starts like one.
    pub fn is(head: &[u8]) -> bool {
        head.get(0x1fe..0x200) == Some(&[0x55, 0xaa]) && head.get(0x202..0x206) == Some(b"HdrS")
    }

    /// Reads the header of a file of `len` bytes.
    pub fn parse(head: &[u8], len: u64) -> Result<Self, SetupError> {
        if !Self::is(head) {
            return Err(SetupError::Short);
        }
        let version = u16_at(head, 0x206).ok_or(SetupError::Short)?;
        if version < 0x208 {
            return Err(SetupError::Old(version));
        }
        // LOADED_HIGH
        if head.get(0x211).ok_or(SetupError::Short)? & 1 == 0 {
            return Err(SetupError::Low);
        }
        // "For backwards compatibility, if the setup_sects field contains 0, the real value is 4."
        let sectors = match *head.get(0x1f1).ok_or(SetupError::Short)? {
            0 => 4,
            sectors => u64::from(sectors),
        };
        let protected = (sectors + 1) * 512;
        let needed = protected + u64::from(u32_at(head, 0x1f4).ok_or(SetupError::Short)?) * 16;
        if needed > len {
            return Err(SetupError::Truncated { needed, found: len });
        }
        let payload_offset = protected + u64::from(u32_at(head, 0x248).ok_or(SetupError::Short)?);
        let payload_len = u64::from(u32_at(head, 0x24c).ok_or(SetupError::Short)?);
        let end = payload_offset + payload_len;
        if end > len {
            return Err(SetupError::Truncated { needed: end, found: len });
        }
        // XLF_KERNEL_64, since protocol 2.12.
        let is_64 = version >= 0x20c && u16_at(head, 0x236).ok_or(SetupError::Short)? & 1 != 0;
        let version_at = u16_at(head, 0x20e).filter(|at| *at != 0).map(|at| usize::from(at) + 0x200);
        Ok(Self { is_64, payload_offset, payload_len, version_at })
    }

    /// `uname -r`: the first word of the version text.
    pub fn release(&self, head: &[u8]) -> Option<String> {
        super::release::first_word(head.get(self.version_at?..)?)
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{BzImage, SetupError};
    use proptest::prelude::{ProptestConfig, any, proptest};

    /// A bzImage of one setup sector beyond the first, with this payload (its size field included).
    pub(crate) fn image(payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 1024 + 16];
        bytes[0x1f1] = 1;
        bytes[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
        bytes[0x202..0x206].copy_from_slice(b"HdrS");
        bytes[0x206..0x208].copy_from_slice(&0x20f_u16.to_le_bytes());
        bytes[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
        bytes[0x211] = 1;
        bytes[0x236] = 1;
        bytes[0x248..0x24c].copy_from_slice(&16_u32.to_le_bytes());
        bytes[0x24c..0x250].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        bytes[0x300..0x315].copy_from_slice(b"6.9.0-test (a@b) #1 S");
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(16), 0);
        let paragraphs = (bytes.len() as u32 - 1024) / 16;
        bytes[0x1f4..0x1f8].copy_from_slice(&paragraphs.to_le_bytes());
        bytes
    }

    #[test]
    fn the_header_tells_release_word_size_and_payload() {
        let bytes = image(b"payload");
        let header = BzImage::parse(&bytes, bytes.len() as u64).expect("parses");
        assert!(header.is_64);
        assert_eq!(header.release(&bytes).as_deref(), Some("6.9.0-test"));
        assert_eq!((header.payload_offset, header.payload_len), (1040, 7));
    }

    #[test]
    fn a_file_cut_short_and_offsets_that_lie_are_refused() {
        let bytes = image(b"payload");
        let cut = BzImage::parse(&bytes, bytes.len() as u64 - 1);
        assert!(matches!(cut, Err(SetupError::Truncated { .. })), "{cut:?}");
        for at in [0x248, 0x24c, 0x1f4] {
            let mut lying = bytes.clone();
            lying[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
            let refused = BzImage::parse(&lying, lying.len() as u64);
            assert!(matches!(refused, Err(SetupError::Truncated { .. })), "{at:#x}: {refused:?}");
        }
        let mut outside = bytes;
        outside[0x20e..0x210].copy_from_slice(&u16::MAX.to_le_bytes());
        let header = BzImage::parse(&outside, outside.len() as u64).expect("parses");
        assert_eq!(header.release(&outside), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_header_is_parsed_or_refused(change in proptest::collection::vec((0x1f0_usize..0x260, any::<u8>()), 0..20), cut in 0_usize..1100) {
            let mut bytes = image(b"payload");
            for (at, byte) in change {
                bytes[at] = byte;
            }
            bytes.truncate(if cut % 3 == 0 { cut } else { bytes.len() });
            if let Ok(header) = BzImage::parse(&bytes, bytes.len() as u64) {
                let _ = header.release(&bytes);
            }
        }
    }
}
