//! The footer of a VHD (Virtual Hard Disk Image Format Specification, Microsoft, 2006): the last 512 bytes of the file.
//!
//! Fixed disks alone, whose bytes are the file's up to the footer. Dynamic and differencing ones have a block table that
//! nobody here reads, and are refused by their kind.

use super::Guid;

/// Bytes of a footer.
pub const FOOTER: usize = 512;
/// What it begins with.
pub const COOKIE: &[u8; 8] = b"conectix";
/// The time that footers count from, 2000-01-01 00:00 UTC, in seconds since 1970.
pub const EPOCH: u32 = 946_684_800;

/// "No features": the bit that is set is reserved, and always set.
const FEATURES: u32 = 2;
const VERSION: u32 = 0x0001_0000;
/// Fixed disks have nothing but data.
const NO_OFFSET: u64 = u64::MAX;
/// Who wrote it. QEMU believes the size of a few creators only, and takes what the geometry gives for the others, which
/// would cut the disk before its backup GPT (`block/vpc.c`). By this word, its own, `qemu-img -o force_size` says that
/// the size counts, and Azure takes such disks.
const CREATOR: &[u8; 4] = b"qem2";
const CREATOR_VERSION: u32 = 0x0005_0003;
/// The host was a Windows: there is no word for others but the Macintosh's.
const CREATOR_HOST: &[u8; 4] = b"Wi2k";
const FIXED: u32 = 2;
/// Where the checksum stands.
const CHECKSUM: usize = 64;
/// 65,535 cylinders, 16 heads, 255 sectors: "more than this can say", for whoever still looks there.
const GEOMETRY: [u8; 4] = [0xff, 0xff, 16, 255];

/// A fixed disk's footer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footer {
    /// Bytes of the disk, a multiple of 512; the file has as many and the footer.
    pub disk_bytes: u64,
    /// The disk's own name; its bytes go out as they are.
    pub id: Guid,
    /// When it was made, in seconds since [`EPOCH`].
    pub time: u32,
}

/// Why 512 bytes are no footer of a fixed disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FooterFault {
    /// Something else is there.
    #[error("no \"conectix\" at the begin of a VHD's footer")]
    Cookie,
    /// It was changed, or badly written.
    #[error("checksum of the VHD's footer {found:08x}, but its bytes have {computed:08x}")]
    Checksum {
        /// What it says.
        found: u32,
        /// What its bytes give.
        computed: u32,
    },
    /// A format that nobody has written yet.
    #[error("a VHD of format version {0:#x}, but there is 0x10000 alone")]
    Version(u32),
    /// Its data is scattered over the file.
    #[error("a {0} VHD, but only fixed ones can be read and written")]
    Kind(&'static str),
}

impl Footer {
    /// Reads the last 512 bytes of a file.
    pub fn decode(bytes: &[u8; FOOTER]) -> Result<Self, FooterFault> {
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
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
            _ => return Err(FooterFault::Kind("strange")),
        }
        let mut id = Guid::ZERO;
        id.0.copy_from_slice(&bytes[68..84]);
        Ok(Self { disk_bytes: u64::from(word(48)) << 32 | u64::from(word(52)), id, time: word(24) })
    }

    /// As 512 bytes, checksum included.
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

/// One's complement of the sum of all bytes, the checksum's own left out.
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
    fn what_is_damaged_or_no_fixed_disk_is_refused() {
        let good = sample().encode();
        let mut bad = good;
        bad[50] ^= 1;
        assert!(matches!(Footer::decode(&bad), Err(FooterFault::Checksum { .. })));
        bad = good;
        bad[0] = b'k';
        assert_eq!(Footer::decode(&bad), Err(FooterFault::Cookie));
        // Two bytes at once, so that their sum stays.
        for (kind, name) in [(3, "dynamic"), (4, "differencing"), (0, "strange")] {
            bad = good;
            bad[100] = good[63];
            bad[63] = kind;
            let sum = super::checksum(&bad);
            bad[64..68].copy_from_slice(&sum.to_be_bytes());
            assert_eq!(Footer::decode(&bad), Err(FooterFault::Kind(name)));
        }
    }

    /// The begin of the footer that qemu-img 7.2 writes for a disk of 64 MiB, with the time and the name of ours
    /// (`qemu-img create -f vpc -o subformat=fixed,force_size=on x.vhd 64M; tail -c 512 x.vhd`).
    #[test]
    fn it_is_the_footer_of_qemu_img() {
        let footer = Footer { time: 0x3295_c5c7, ..sample() }.encode();
        let head = b"conectix\0\0\0\x02\0\x01\0\0\xff\xff\xff\xff\xff\xff\xff\xff\x32\x95\xc5\xc7qem2\0\x05\0\x03Wi2k\
            \0\0\0\0\x04\0\0\0\0\0\0\0\x04\0\0\0\xff\xff\x10\xff\0\0\0\x02";
        assert_eq!(footer[..64], head[..]);
        assert!(footer[84..].iter().all(|byte| *byte == 0));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(sectors in 0_u64..1 << 55, id in any::<[u8; 16]>(), time in any::<u32>()) {
            let footer = Footer { disk_bytes: sectors * 512, id: Guid(id), time };
            assert_eq!(Footer::decode(&footer.encode()), Ok(footer));
        }

        #[test]
        fn noise_is_no_footer(bytes in vec(any::<u8>(), FOOTER)) {
            let mut bytes: [u8; FOOTER] = bytes.try_into().expect("512 bytes");
            assert_eq!(Footer::decode(&bytes), Err(FooterFault::Cookie));
            bytes[..8].copy_from_slice(super::COOKIE);
            assert!(Footer::decode(&bytes).is_err());
        }
    }
}
