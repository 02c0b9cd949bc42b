//! GUIDs in UEFI byte order (UEFI 2.11, appendix A): the first three fields are little endian.

use std::fmt;

use sha2::{Digest, Sha256};

/// A GUID, in its byte order on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// The zero GUID, the type of an unused partition entry.
    pub const ZERO: Self = Self([0; 16]);
    /// EFI system partition (UEFI 2.11, table 5.7).
    pub const ESP: Self = Self::from_fields(0xC12A_7328, 0xF81F, 0x11D2, [0xBA, 0x4B], 0x00A0_C93E_C93B);
    /// BIOS boot partition, which contains GRUB's core image.
    pub const BIOS_BOOT: Self = Self::from_fields(0x2168_6148, 0x6449, 0x6E6F, [0x74, 0x4E], 0x6565_6445_4649);
    /// FreeBSD boot partition, which contains FreeBSD's BIOS boot loader.
    pub const FREEBSD_BOOT: Self = Self::from_fields(0x83BD_6B9D, 0x7F41, 0x11DC, [0xBE, 0x0B], 0x0015_60B8_4F0F);
    /// Root file system for x86-64 (UAPI.2, Discoverable Partitions Specification).
    pub const ROOT_X86_64: Self = Self::from_fields(0x4F68_BCE3, 0xE8CD, 0x4DB1, [0x96, 0xE7], 0xFBCA_F984_B709);
    /// Linux file system data.
    pub const LINUX_DATA: Self = Self::from_fields(0x0FC6_3DAF, 0x8483, 0x4772, [0x8E, 0x79], 0x3D69_D847_7DE4);

    /// Builds a GUID from its digit groups: `C12A7328-F81F-11D2-BA4B-00A0C93EC93B`.
    pub const fn from_fields(low: u32, mid: u16, high: u16, clock: [u8; 2], node: u64) -> Self {
        let (a, b, c, n) = (low.to_le_bytes(), mid.to_le_bytes(), high.to_le_bytes(), node.to_be_bytes());
        Self([a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], clock[0], clock[1], n[2], n[3], n[4], n[5], n[6], n[7]])
    }

    /// Returns the GUID at byte `at`; the zero GUID if it is past the end.
    pub(crate) fn at(bytes: &[u8], at: usize) -> Self {
        Self(bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default())
    }

    /// Derives a GUID from `seed` and `purpose` (RFC 9562, version 8). Equal inputs result in equal GUIDs.
    pub fn derived(seed: &[u8], purpose: &str) -> Self {
        let digest = Sha256::new().chain_update(purpose).chain_update([0]).chain_update(seed).finalize();
        let mut bytes = Self::at(&digest, 0).0;
        // Version and variant in disk order: byte 7 is the high byte of the third field, which is little endian.
        bytes[7] = bytes[7] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Self(bytes)
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let b = self.0;
        write!(
            f,
            "{:02X}{:02X}{:02X}{:02X}-{:02X}{:02X}-{:02X}{:02X}-",
            b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6]
        )?;
        write!(f, "{:02X}{:02X}-", b[8], b[9])?;
        b[10..].iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

#[cfg(test)]
mod tests {
    use super::Guid;

    #[test]
    fn a_guid_is_displayed_in_the_standard_form() {
        assert_eq!(Guid::ESP.to_string(), "C12A7328-F81F-11D2-BA4B-00A0C93EC93B");
        // The GUID spells a text, by choice of GRUB's authors.
        assert_eq!(&Guid::BIOS_BOOT.0, b"Hah!IdontNeedEFI");
        assert_eq!(Guid::ROOT_X86_64.to_string(), "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709");
    }

    #[test]
    fn a_derived_guid_depends_on_seed_and_purpose_and_is_version_8() {
        let one = Guid::derived(b"seed", "disk");
        assert_eq!(one, Guid::derived(b"seed", "disk"));
        assert_ne!(one, Guid::derived(b"seed", "esp"));
        assert_ne!(one, Guid::derived(b"other", "disk"));
        let text = one.to_string();
        assert_eq!(&text[14..15], "8", "{text}");
        assert!("89AB".contains(&text[19..20]), "{text}");
    }
}
