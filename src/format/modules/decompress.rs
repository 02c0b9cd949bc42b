//! Modules as they are compressed on disk: gzip, xz or zstd, told by their magic, not by their names.
//!
//! Decompressed on the host because a kernel reads at most the one format it was configured for
//! (`CONFIG_MODULE_COMPRESS_*`), and only if it has `CONFIG_MODULE_DECOMPRESS`. Signatures stay valid.
//! Refuses more output than a limit, damaged data (all three formats carry checksums) and other formats.

use std::io::{self, Read};

/// The largest module that is believed in.
pub const MODULE_LIMIT: u64 = 512 << 20;
/// Memory for xz dictionaries, in KiB: `xz -9` needs 65 MiB.
const XZ_MEMORY: u32 = 256 << 10;

/// How bytes are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// As they are.
    Plain,
    /// gzip (RFC 1952).
    Gzip,
    /// xz with its container.
    Xz,
    /// Zstandard (RFC 8878).
    Zstd,
}

impl Packing {
    /// What the first bytes say.
    pub fn of(start: &[u8]) -> Self {
        if start.starts_with(&[0x1f, 0x8b]) {
            Self::Gzip
        } else if start.starts_with(b"\xfd7zXZ\0") {
            Self::Xz
        } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            Self::Zstd
        } else {
            Self::Plain
        }
    }

    /// A reader of what was compressed.
    pub fn reader<'a>(self, packed: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::Plain => Box::new(packed),
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(packed)),
            Self::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(packed, true, XZ_MEMORY)),
            Self::Zstd => Box::new(zstd::Decoder::new(packed)?),
        })
    }
}

/// The bytes of a module, decompressed if they were compressed; at most `limit` of them.
pub fn unpack(bytes: Vec<u8>, limit: u64) -> io::Result<Vec<u8>> {
    let packing = Packing::of(&bytes);
    if packing == Packing::Plain {
        return Ok(bytes);
    }
    // Modules shrink to a quarter or so; growing the vector costs more than guessing.
    let guess = (bytes.len() as u64).saturating_mul(5).min(limit);
    let mut plain = Vec::with_capacity(usize::try_from(guess).unwrap_or(0));
    packing.reader(bytes.as_slice())?.take(limit.saturating_add(1)).read_to_end(&mut plain)?;
    if plain.len() as u64 > limit {
        return Err(io::Error::other(format!("more than {limit} bytes when decompressed")));
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::{MODULE_LIMIT, unpack};
    use std::io::Write as _;

    fn packed(bytes: &[u8]) -> [(&'static str, Vec<u8>); 3] {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(bytes).expect("compressed");
        let mut xz = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).expect("a writer");
        xz.write_all(bytes).expect("compressed");
        let mut zst = zstd::Encoder::new(Vec::new(), 1).expect("a writer");
        zst.include_checksum(true).expect("set");
        zst.write_all(bytes).expect("compressed");
        [
            ("gz", gz.finish().expect("finished")),
            ("xz", xz.finish().expect("finished")),
            ("zst", zst.finish().expect("finished")),
        ]
    }

    #[test]
    fn each_format_comes_back_and_plain_stays() {
        let bytes: Vec<u8> = (0..100_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        for (name, packed) in packed(&bytes) {
            assert_eq!(unpack(packed, MODULE_LIMIT).expect(name), bytes, "{name}");
        }
        assert_eq!(unpack(bytes.clone(), 1).expect("plain"), bytes);
    }

    #[test]
    fn bombs_damage_and_cuts_are_errors() {
        let bytes: Vec<u8> = (0..100_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        for (name, packed) in packed(&bytes) {
            assert!(unpack(packed.clone(), 399_999).is_err(), "{name}: too large");
            assert!(unpack(packed[..packed.len() / 2].to_vec(), MODULE_LIMIT).is_err(), "{name}: cut");
            let mut damaged = packed;
            let middle = damaged.len() / 2;
            damaged[middle] ^= 0x55;
            assert!(unpack(damaged, MODULE_LIMIT).is_err(), "{name}: damaged");
        }
    }
}
