//! Parser of the x86 boot protocol header (`Documentation/arch/x86/boot.rst`).
//!
//! Refuses images other than a `bzImage`, and files shorter than the header declares.

/// The setup header is invalid or unsupported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// The file is shorter than the image.
    #[error("expected {needed} bytes, found {found}")]
    Truncated {
        /// File size that the header requires, in bytes.
        needed: u64,
        /// Actual file size, in bytes.
        found: u64,
    },
    /// Protocol older than 2.08 (Linux 2.6.26), which introduced the payload fields.
    #[error("boot protocol {0:#x}, expected 0x208 or newer")]
    Old(u16),
    /// A zImage, which is loaded below 1 MiB.
    #[error("a zImage")]
    Low,
    /// The header is truncated or has no magic.
    #[error("truncated setup header")]
    Short,
}

/// Fields of the setup header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BzImage {
    /// True if the kernel has a 64-bit entry point (`XLF_KERNEL_64`).
    pub(crate) is_64: bool,
    /// File offset of the compressed kernel.
    pub payload_offset: u64,
    /// Length of the compressed kernel in bytes, including the size field at its end.
    pub payload_len: u64,
    /// File offset of the version string, if there is one.
    version_at: Option<usize>,
}

impl BzImage {
    /// Returns true if a file with this head is a Linux/x86 boot image.
    pub(crate) fn is(head: &[u8]) -> bool {
        head.get(0x1fe..0x200) == Some(&[0x55, 0xaa]) && head.get(0x202..0x206) == Some(b"HdrS")
    }

    /// Parses the header of a file of `len` bytes.
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

    /// Returns `uname -r`: the first word of the version string.
    pub fn release(&self, head: &[u8]) -> Option<String> {
        super::release::first_word(head.get(self.version_at?..)?)
    }

    /// Returns the version string: `6.1.0 (user@host) #1 SMP ...`.
    pub(crate) fn version(&self, head: &[u8]) -> Option<String> {
        Some(super::release::line(head.get(self.version_at?..)?))
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

    /// Builds a bzImage with one setup sector and this payload, which includes the size field.
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
    fn release_word_size_and_payload_are_parsed() {
        let bytes = image(b"payload");
        let header = BzImage::parse(&bytes, bytes.len() as u64).expect("parses");
        assert!(header.is_64);
        assert_eq!(header.release(&bytes).as_deref(), Some("6.9.0-test"));
        assert_eq!((header.payload_offset, header.payload_len), (1040, 7));
    }

    #[test]
    fn a_truncated_file_and_wrong_offsets_are_refused() {
        let bytes = image(b"payload");
        let truncated = BzImage::parse(&bytes, bytes.len() as u64 - 1);
        assert!(matches!(truncated, Err(SetupError::Truncated { .. })), "{truncated:?}");
        for at in [0x248, 0x24c, 0x1f4] {
            let mut corrupt = bytes.clone();
            corrupt[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
            let refused = BzImage::parse(&corrupt, corrupt.len() as u64);
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
