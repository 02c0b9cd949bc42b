//! EFI zboot images (`vmlinuz.efi`, `drivers/firmware/efi/libstub/zboot-header.S`): an EFI program that decompresses the
//! kernel's image in its payload.
//!
//! Refuses payloads outside the file. Detects the compression of the payload by its first bytes, not by the name in the
//! header, which differs between versions (`xzkern`, `zstd22`).

/// Size of the part of the header that is read, in bytes.
const HEADER: usize = 64;

/// Position of the payload of an image with this head and length; `None` if it is not an EFI zboot image. An error states
/// the fault.
pub(crate) fn payload(head: &[u8], len: u64) -> Option<Result<(u64, u64), String>> {
    if !head.starts_with(b"MZ") || head.get(4..8)? != b"zimg" {
        return None;
    }
    let field = |at: usize| Some(u64::from(u32::from_le_bytes(*head.get(at..)?.first_chunk()?)));
    let (Some(offset), Some(size)) = (field(8), field(12)) else { return Some(Err("truncated header".to_owned())) };
    if size == 0 || offset < HEADER as u64 || offset.checked_add(size).is_none_or(|end| end > len) {
        return Some(Err(format!("payload of {size} bytes at offset {offset}, file size {len}")));
    }
    Some(Ok((offset, size)))
}

/// Returns the name of the compression in the header.
pub(crate) fn compression(head: &[u8]) -> Option<&str> {
    let field = head.get(24..56)?;
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    let name = std::str::from_utf8(field.get(..end)?).ok()?;
    (!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic())).then_some(name)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{compression, payload};
    use proptest::prelude::{ProptestConfig, any, prop_assert, proptest};

    /// Builds an EFI zboot image with this payload.
    pub(crate) fn zboot(name: &str, packed: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 512];
        image[..8].copy_from_slice(b"MZ\0\0zimg");
        image[8..12].copy_from_slice(&512_u32.to_le_bytes());
        image[12..16].copy_from_slice(&(packed.len() as u32).to_le_bytes());
        image[24..24 + name.len()].copy_from_slice(name.as_bytes());
        image[56..60].copy_from_slice(&[0xcd, 0x23, 0x82, 0x81]);
        image.extend(packed);
        image
    }

    #[test]
    fn the_payload_is_found_and_one_outside_the_file_is_refused() {
        let image = zboot("zstd22", b"packed");
        let len = image.len() as u64;
        assert_eq!(payload(&image, len), Some(Ok((512, 6))));
        assert_eq!(compression(&image), Some("zstd22"));
        assert!(payload(&image, len - 1).expect("zboot").is_err());
        for short in 8..16 {
            assert!(payload(&image[..short], short as u64).expect("zboot").is_err());
        }
        assert_eq!(payload(b"MZ", 2), None);
        assert_eq!(payload(&[0; 64], 64), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_header_yields_a_range_inside_the_file_or_an_error(
            changes in proptest::collection::vec((0_usize..64, any::<u8>()), 0..8),
            len in 0_u64..2048,
        ) {
            let mut image = zboot("gzip", b"packed");
            for (at, byte) in changes {
                image[at] = byte;
            }
            let _ = compression(&image);
            if let Some(Ok((offset, size))) = payload(&image, len) {
                prop_assert!(size > 0 && offset + size <= len);
            }
        }
    }
}
