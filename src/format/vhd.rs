//! VHD footer (Virtual Hard Disk Image Format Specification, Microsoft, 2006): the last 512 bytes of the file.
//!
//! Supports only fixed disks, where the disk content precedes the footer. Refuses dynamic and differencing disks, whose
//! block table is not supported.

use super::Guid;
use super::bytes::{be32, be64};

/// Length of a footer in bytes.
pub(crate) const FOOTER: usize = 512;
/// Cookie at the start of a footer.
pub(crate) const COOKIE: &[u8; 8] = b"conectix";
/// Epoch of footer times, 2000-01-01 00:00 UTC, in seconds since 1970.
pub(crate) const EPOCH: u32 = 946_684_800;

/// No features; bit 1 is reserved and always set.
const FEATURES: u32 = 2;
const VERSION: u32 = 0x0001_0000;
/// Data offset of a fixed disk, which has no header.
const NO_OFFSET: u64 = u64::MAX;
/// Creator application. QEMU uses the size field only for a few creators, and otherwise computes the size from the
/// geometry, which would cut off the backup GPT (`block/vpc.c`). `qemu-img -o force_size` writes this creator to make
/// the size field count; Azure accepts such disks.
const CREATOR: &[u8; 4] = b"qem2";
const CREATOR_VERSION: u32 = 0x0005_0003;
/// Creator host system: Windows. The specification defines only Windows and Macintosh.
const CREATOR_HOST: &[u8; 4] = b"Wi2k";
const FIXED: u32 = 2;
/// Byte offset of the checksum.
const CHECKSUM: usize = 64;
/// 65,535 cylinders, 16 heads, 255 sectors: the maximum, because the real size may exceed CHS.
const GEOMETRY: [u8; 4] = [0xff, 0xff, 16, 255];

/// Footer of a fixed disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footer {
    /// Disk size in bytes, a multiple of 512; the footer follows.
    pub disk_bytes: u64,
    /// Unique ID of the disk, written in its stored byte order.
    pub id: Guid,
    /// Creation time, in seconds since `EPOCH`.
    pub time: u32,
}

/// Reason why 512 bytes are not a footer of a fixed disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FooterFault {
    /// The cookie is missing.
    #[error("VHD footer cookie missing")]
    Cookie,
    /// The checksum does not match.
    #[error("VHD footer checksum is {found:08x}, expected {computed:08x}")]
    Checksum {
        /// Checksum in the footer.
        found: u32,
        /// Checksum computed from the footer.
        computed: u32,
    },
    /// The format version is not 1.0.
    #[error("unsupported VHD version {0:#x} (only 0x10000)")]
    Version(u32),
    /// The disk is not a fixed one.
    #[error("unsupported VHD type: {0} (only fixed)")]
    Kind(&'static str),
}

impl Footer {
    /// Parses the last 512 bytes of a file.
    pub fn decode(bytes: &[u8; FOOTER]) -> Result<Self, FooterFault> {
        let word = |at| be32(bytes, at);
        if !bytes.starts_with(COOKIE) {
            return Err(FooterFault::Cookie);
        }
        let (found, computed) = (word(CHECKSUM), checksum(bytes));
        if found != computed {
            return Err(FooterFault::Checksum { found, computed });
        }
        if word(12) != VERSION {
            return Err(FooterFault::Version(word(12)));
        }
        match word(60) {
            FIXED => {}
            3 => return Err(FooterFault::Kind("dynamic")),
            4 => return Err(FooterFault::Kind("differencing")),
            _ => return Err(FooterFault::Kind("unknown")),
        }
        Ok(Self { disk_bytes: be64(bytes, 48), id: Guid::at(bytes, 68), time: word(24) })
    }

    /// Encodes the footer as 512 bytes, including the checksum.
    pub fn encode(&self) -> [u8; FOOTER] {
        let mut bytes = [0; FOOTER];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, COOKIE);
        put(8, &FEATURES.to_be_bytes());
        put(12, &VERSION.to_be_bytes());
        put(16, &NO_OFFSET.to_be_bytes());
        put(24, &self.time.to_be_bytes());
        put(28, CREATOR);
        put(32, &CREATOR_VERSION.to_be_bytes());
        put(36, CREATOR_HOST);
        put(40, &self.disk_bytes.to_be_bytes());
        put(48, &self.disk_bytes.to_be_bytes());
        put(56, &GEOMETRY);
        put(60, &FIXED.to_be_bytes());
        put(68, &self.id.0);
        let sum = checksum(&bytes);
        bytes[CHECKSUM..CHECKSUM + 4].copy_from_slice(&sum.to_be_bytes());
        bytes
    }
}

/// Returns the one's complement of the sum of all bytes except the checksum field.
fn checksum(bytes: &[u8; FOOTER]) -> u32 {
    let own = CHECKSUM..CHECKSUM + 4;
    let others = bytes.iter().enumerate().filter(|(at, _)| !own.contains(at));
    !others.fold(0, |sum: u32, (_, byte)| sum.wrapping_add(u32::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::{FOOTER, Footer, FooterFault};
    use crate::format::Guid;
    use proptest::collection::vec;
    use proptest::prelude::{any, proptest};

    fn sample() -> Footer {
        Footer { disk_bytes: 64 << 20, id: Guid::derived(b"x", "vhd"), time: 0x1234_5678 }
    }

    #[test]
    fn a_damaged_footer_and_a_disk_that_is_not_fixed_are_refused() {
        let good = sample().encode();
        let mut bad = good;
        bad[50] ^= 1;
        assert!(matches!(Footer::decode(&bad), Err(FooterFault::Checksum { .. })));
        bad = good;
        bad[0] = b'k';
        assert_eq!(Footer::decode(&bad), Err(FooterFault::Cookie));
        // A valid checksum, so that only the disk type is refused.
        for (kind, name) in [(3, "dynamic"), (4, "differencing"), (0, "unknown")] {
            bad = good;
            bad[100] = good[63];
            bad[63] = kind;
            let sum = super::checksum(&bad);
            bad[64..68].copy_from_slice(&sum.to_be_bytes());
            assert_eq!(Footer::decode(&bad), Err(FooterFault::Kind(name)));
        }
    }

    /// Start of the footer that qemu-img 7.2 writes for a 64 MiB disk, with the time and the ID of the sample
    /// (`qemu-img create -f vpc -o subformat=fixed,force_size=on x.vhd 64M; tail -c 512 x.vhd`).
    #[test]
    fn the_footer_equals_that_of_qemu_img() {
        let footer = Footer { time: 0x3295_c5c7, ..sample() }.encode();
        let head = b"conectix\0\0\0\x02\0\x01\0\0\xff\xff\xff\xff\xff\xff\xff\xff\x32\x95\xc5\xc7qem2\0\x05\0\x03Wi2k\
            \0\0\0\0\x04\0\0\0\0\0\0\0\x04\0\0\0\xff\xff\x10\xff\0\0\0\x02";
        assert_eq!(footer[..64], head[..]);
        assert!(footer[84..].iter().all(|byte| *byte == 0));
    }

    proptest! {
        #[test]
        fn footers_decode_as_encoded(sectors in 0_u64..1 << 55, id in any::<[u8; 16]>(), time in any::<u32>()) {
            let footer = Footer { disk_bytes: sectors * 512, id: Guid(id), time };
            assert_eq!(Footer::decode(&footer.encode()), Ok(footer));
        }

        #[test]
        fn random_bytes_are_not_a_footer(bytes in vec(any::<u8>(), FOOTER)) {
            let mut bytes: [u8; FOOTER] = bytes.try_into().expect("512 bytes");
            assert_eq!(Footer::decode(&bytes), Err(FooterFault::Cookie));
            bytes[..8].copy_from_slice(super::COOKIE);
            assert!(Footer::decode(&bytes).is_err());
        }
    }
}
