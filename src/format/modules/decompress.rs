//! Decompresses modules: gzip, xz or zstd, detected by magic, not by file name.
//!
//! Modules are decompressed on the host because a kernel reads only the format it is configured for
//! (`CONFIG_MODULE_COMPRESS_*`), and only with `CONFIG_MODULE_DECOMPRESS`. Signatures stay valid.
//! Refuses output beyond a limit and damaged data (all three formats have checksums).

use std::io::{self, Read};

/// Size limit of a module, in bytes.
pub const MODULE_LIMIT: u64 = 512 << 20;
/// Memory limit of the xz decoder, in KiB. `xz -9` needs 65 MiB.
const XZ_MEMORY: u32 = 256 << 10;

/// Compression format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Not compressed.
    Plain,
    /// gzip (RFC 1952).
    Gzip,
    /// The xz container format.
    Xz,
    /// Zstandard (RFC 8878).
    Zstd,
}

impl Packing {
    /// Detects the format by the first bytes.
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

    /// Returns a reader of the decompressed data.
    pub fn reader<'a>(self, packed: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::Plain => Box::new(packed),
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(packed)),
            Self::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(packed, true, XZ_MEMORY)),
            Self::Zstd => Box::new(zstd::Decoder::new(packed)?),
        })
    }
}

/// Decompresses a module, if it is compressed. Limit of the decompressed size: `limit` bytes.
pub fn unpack(bytes: Vec<u8>, limit: u64) -> io::Result<Vec<u8>> {
    let packing = Packing::of(&bytes);
    if packing == Packing::Plain {
        return Ok(bytes);
    }
    // The compression ratio of modules is about 4. Reserving too much costs less than growing the vector.
    let guess = (bytes.len() as u64).saturating_mul(5).min(limit);
    let mut plain = Vec::with_capacity(usize::try_from(guess).unwrap_or(0));
    packing.reader(bytes.as_slice())?.take(limit.saturating_add(1)).read_to_end(&mut plain)?;
    if plain.len() as u64 > limit {
        return Err(io::Error::other(format!("decompressed size exceeds the limit of {limit} bytes")));
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
    fn each_format_is_decompressed_and_plain_data_is_unchanged() {
        let bytes: Vec<u8> = (0..100_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        for (name, packed) in packed(&bytes) {
            assert_eq!(unpack(packed, MODULE_LIMIT).expect(name), bytes, "{name}");
        }
        assert_eq!(unpack(bytes.clone(), 1).expect("plain"), bytes);
    }

    #[test]
    fn oversized_damaged_and_truncated_data_is_refused() {
        let bytes: Vec<u8> = (0..100_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        for (name, packed) in packed(&bytes) {
            assert!(unpack(packed.clone(), 399_999).is_err(), "{name}: too large");
            assert!(unpack(packed[..packed.len() / 2].to_vec(), MODULE_LIMIT).is_err(), "{name}: truncated");
            let mut damaged = packed;
            let middle = damaged.len() / 2;
            damaged[middle] ^= 0x55;
            assert!(unpack(damaged, MODULE_LIMIT).is_err(), "{name}: damaged");
        }
    }
}
