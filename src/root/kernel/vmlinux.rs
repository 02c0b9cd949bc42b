//! Extracts the vmlinux from a bzImage into the cache, so that guests need not decompress their kernel.
//!
//! The last four bytes of the payload are its unpacked size (`scripts/Makefile.lib`, `size_append`; the gzip trailer
//! contains the same value). The result is an ELF file without symbols, followed by relocations, which QEMU ignores.
//! Refuses payloads that unpack to more than 1 GiB, or to a size other than the declared one. Unsupported compression
//! (bzip2, lzo) and kernels without a PVH note yield no vmlinux; the bzImage is then booted unchanged.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::{ImageKind, Kernel, error::KernelError};
use crate::cache::{Cache, CacheError, Key};
use crate::format::kernel::bzimage::BzImage;
use crate::format::kernel::elf::{ElfError, Vmlinux};

/// Size limit of an unpacked kernel, in bytes.
const KERNEL_LIMIT: u64 = 1 << 30;
/// Size limit of a payload, in bytes.
const PAYLOAD_LIMIT: u64 = 256 << 20;
/// Maximum unpacked size of a block in the legacy LZ4 format (`lz4 -l`; `lib/decompress_unlz4.c`).
const LZ4_BLOCK: usize = 8 << 20;
/// Memory limit of the xz and lzma decoders, in KiB. Kernels use dictionaries of up to 128 MiB
/// (`xz --lzma2=dict=128MiB`).
const DICTIONARY: u32 = 512 << 10;
/// Block size for holes: a block of zeros is not written.
const PIECE: usize = 64 << 10;

/// Cache content for an image that yields no vmlinux.
const NOTHING: &str = "nothing";

/// Supported compression formats of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Payload {
    Gzip,
    Xz,
    Zstd,
    Lz4,
    Lzma,
}

impl Payload {
    fn of(payload: &[u8]) -> Option<Self> {
        [
            (Self::Gzip, [0x1f, 0x8b, 0x08].as_slice()),
            (Self::Xz, b"\xfd7zXZ\0"),
            (Self::Zstd, &[0x28, 0xb5, 0x2f, 0xfd]),
            (Self::Lz4, &[0x02, 0x21, 0x4c, 0x18]),
            (Self::Lzma, &[0x5d, 0, 0]),
        ]
        .into_iter()
        .find(|(_, magic)| payload.starts_with(magic))
        .map(|(kind, _)| kind)
    }

    /// Returns a reader of the unpacked kernel.
    fn reader<'a>(self, packed: &'a [u8]) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::Gzip => Box::new(flate2::read::GzDecoder::new(packed)),
            Self::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(packed, false, DICTIONARY)),
            Self::Zstd => Box::new(zstd::Decoder::with_buffer(packed)?.single_frame()),
            Self::Lz4 => Box::new(Lz4Legacy { packed: packed.get(4..).unwrap_or_default(), block: Vec::new(), at: 0 }),
            Self::Lzma => Box::new(lzma_rust2::LzmaReader::new_mem_limit(packed, DICTIONARY, None)?),
        })
    }
}

/// Returns the kernel as an ELF file with a PVH entry note; `None` if the bzImage must be booted unchanged.
///
/// Extracts a bzImage into the cache. A repeated call needs only a few `stat` calls: the image's path and file stamp
/// map to the payload's digest, and the digest maps to the cache entry.
pub fn vmlinux(kernel: &Kernel, cache: &Cache, progress: &mut dyn FnMut(&str)) -> Result<Option<PathBuf>, KernelError> {
    match kernel.kind {
        ImageKind::VmlinuxPvh => Ok(Some(kernel.image.clone())),
        ImageKind::BzImage => from_bzimage(&kernel.image, &kernel.origin, cache, progress),
    }
}

/// Same as [`vmlinux`], for the bzImage at `image`.
pub(super) fn from_bzimage(
    image: &Path,
    origin: &str,
    cache: &Cache,
    progress: &mut dyn FnMut(&str),
) -> Result<Option<PathBuf>, KernelError> {
    let failed = |source| KernelError::Io { doing: "read", path: image.to_owned(), source };
    let file = File::open(image).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let link = Key::of_file("vmlinux of 1", image, &metadata);
    if let Some(known) = cache.get(&link)? {
        let text = std::fs::read_to_string(&known).map_err(failed)?;
        if text == NOTHING {
            return Ok(None);
        }
        if let Some(key) = Key::parse(&text)
            && let Some(found) = cache.get(&key)?
        {
            return Ok(Some(found));
        }
        // The extracted kernel was evicted from the cache.
        cache.discard(&link)?;
    }
    let payload = read_payload(&file, metadata.len(), image)?;
    let key = Key::of("vmlinux 1", &[&Sha256::digest(&payload)]);
    let found = match Payload::of(&payload) {
        None => None,
        Some(kind) => {
            let known = cache.get(&key)?;
            if known.is_none() {
                progress(&format!("extracting the vmlinux from {origin} (once)"));
            }
            known.map_or_else(|| unpack_once(kind, &payload, &key, image, cache), |found| Ok(Some(found)))?
        }
    };
    let text = if found.is_some() { key.as_str() } else { NOTHING };
    cache.file::<KernelError>(&link, |file| {
        let write = file.write_all(text.as_bytes());
        write.map_err(|source| CacheError::Io { doing: "write to", path: cache.directory().to_owned(), source }.into())
    })?;
    Ok(found)
}

/// Unpacks the payload into the cache; `None` if the result has no PVH entry note.
fn unpack_once(
    kind: Payload,
    payload: &[u8],
    key: &Key,
    image: &Path,
    cache: &Cache,
) -> Result<Option<PathBuf>, KernelError> {
    let made = cache.file::<KernelError>(key, |out| {
        let damaged = |why: String| KernelError::Damaged { path: image.to_owned(), why };
        unpack(kind, payload, out).map_err(|error| damaged(error.to_string()))?;
        let len = out.metadata().map_err(|error| damaged(error.to_string()))?.len();
        match Vmlinux::read(out, len) {
            Ok(found) if found.has_pvh => Ok(()),
            Ok(_) | Err(ElfError::Bad(_)) => Err(KernelError::NoPvh),
            Err(ElfError::Io(error)) => Err(damaged(error.to_string())),
        }
    });
    match made {
        Ok(path) => Ok(Some(path)),
        Err(KernelError::NoPvh) => Ok(None),
        Err(other) => Err(other),
    }
}

/// Reads the payload of a bzImage, including its size field.
fn read_payload(file: &File, len: u64, image: &Path) -> Result<Vec<u8>, KernelError> {
    let failed = |source| KernelError::Io { doing: "read", path: image.to_owned(), source };
    let damaged = |why: String| KernelError::Damaged { path: image.to_owned(), why };
    let mut head = vec![0; usize::try_from(len.min(4096)).unwrap_or(0)];
    file.read_exact_at(&mut head, 0).map_err(failed)?;
    let header = BzImage::parse(&head, len).map_err(|error| damaged(error.to_string()))?;
    if header.payload_len > PAYLOAD_LIMIT || header.payload_len < 8 {
        return Err(damaged(format!("invalid payload size {}", header.payload_len)));
    }
    let mut payload = vec![0; usize::try_from(header.payload_len).unwrap_or(0)];
    file.read_exact_at(&mut payload, header.payload_offset).map_err(failed)?;
    Ok(payload)
}

/// Unpacks a payload into an empty file. Leaves holes for zeros: `.bss` and padding are a third of a kernel.
fn unpack(kind: Payload, payload: &[u8], out: &File) -> io::Result<()> {
    let (packed, size) = payload.split_last_chunk::<4>().ok_or(io::ErrorKind::UnexpectedEof)?;
    let size = u64::from(u32::from_le_bytes(*size));
    if size > KERNEL_LIMIT {
        return Err(io::Error::other(format!("unpacked size {size} exceeds the limit of {KERNEL_LIMIT} bytes")));
    }
    // For gzip, the size field is part of the gzip trailer.
    let packed = if kind == Payload::Gzip { payload } else { packed };
    let mut reader = kind.reader(packed)?.take(size + 1);
    let mut piece = Vec::with_capacity(PIECE);
    let mut at = 0_u64;
    loop {
        piece.clear();
        let read = reader.by_ref().take(PIECE as u64).read_to_end(&mut piece)?;
        if read == 0 {
            break;
        }
        if piece.iter().any(|byte| *byte != 0) {
            out.write_all_at(&piece, at)?;
        }
        at += read as u64;
    }
    if at != size {
        return Err(io::Error::other(format!("expected {size} unpacked bytes, found at least {at}")));
    }
    out.set_len(size)
}

/// Returns the unpacked payload of the bzImage at `image`, with or without a PVH note; `None` if its compression is
/// unsupported.
pub(super) fn unpacked(image: &Path) -> Result<Option<Vec<u8>>, KernelError> {
    let failed = |source| KernelError::Io { doing: "unpack", path: image.to_owned(), source };
    let file = File::open(image).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len();
    let payload = read_payload(&file, len, image)?;
    let Some(kind) = Payload::of(&payload) else { return Ok(None) };
    let mut out = tempfile::tempfile().map_err(failed)?;
    unpack(kind, &payload, &out).map_err(failed)?;
    let mut bytes = Vec::new();
    out.read_to_end(&mut bytes).map_err(failed)?;
    Ok(Some(bytes))
}

/// Reader of the legacy LZ4 format (`lz4 -l`): blocks of a `u32` length and data, without end mark and checksums.
struct Lz4Legacy<'a> {
    packed: &'a [u8],
    block: Vec<u8>,
    at: usize,
}

impl Read for Lz4Legacy<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at >= self.block.len() {
            let Some((len, rest)) = self.packed.split_first_chunk::<4>() else { return Ok(0) };
            let len = usize::try_from(u32::from_le_bytes(*len)).unwrap_or(usize::MAX);
            let Some((packed, after)) = rest.split_at_checked(len) else {
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            self.block.resize(LZ4_BLOCK, 0);
            let plain = lz4_flex::block::decompress_into(packed, &mut self.block).map_err(io::Error::other)?;
            self.block.truncate(plain);
            (self.packed, self.at) = (after, 0);
        }
        let ready = self.block.get(self.at..).unwrap_or_default();
        let count = ready.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), ready.get(..count)) {
            to.copy_from_slice(from);
        }
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::{Payload, from_bzimage, unpack};
    use crate::cache::Cache;
    use crate::format::kernel::bzimage::tests::image;
    use crate::format::kernel::elf::tests::vmlinux;
    use proptest::prelude::{ProptestConfig, any, proptest};
    use std::io::Write as _;

    /// Compresses a kernel in each supported format and appends its size.
    fn payloads(kernel: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
        let size = (kernel.len() as u32).to_le_bytes();
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(kernel).expect("compressed");
        let mut xz = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).expect("a writer");
        xz.write_all(kernel).expect("compressed");
        let options = lzma_rust2::LzmaOptions::with_preset(1);
        let mut lzma = lzma_rust2::LzmaWriter::new_use_header(Vec::new(), &options, None).expect("a writer");
        lzma.write_all(kernel).expect("compressed");
        let mut lz4 = vec![0x02, 0x21, 0x4c, 0x18];
        for chunk in kernel.chunks(super::LZ4_BLOCK) {
            let block = lz4_flex::block::compress(chunk);
            lz4.extend((block.len() as u32).to_le_bytes());
            lz4.extend(block);
        }
        vec![
            ("gzip", gz.finish().expect("finished")),
            ("xz", [xz.finish().expect("finished"), size.to_vec()].concat()),
            ("zstd", [zstd::encode_all(kernel, 1).expect("compressed"), size.to_vec()].concat()),
            ("lz4", [lz4, size.to_vec()].concat()),
            ("lzma", [lzma.finish().expect("finished"), size.to_vec()].concat()),
        ]
    }

    /// Builds a kernel that contains a long run of zeros.
    fn kernel(pvh: bool) -> Vec<u8> {
        let mut kernel = vmlinux(62, pvh);
        kernel.resize(200_000, 0);
        kernel.extend(b"the end");
        kernel
    }

    fn cache() -> (tempfile::TempDir, Cache) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let cache = Cache::at(dir.path().join("cache"), 1 << 30).expect("a cache");
        (dir, cache)
    }

    #[test]
    fn every_format_unpacks_to_the_same_kernel_and_identical_payloads_share_an_entry() {
        let (dir, cache) = cache();
        for (name, payload) in payloads(&kernel(true)) {
            let mut found = Vec::new();
            for copy in ["one", "two"] {
                let path = dir.path().join(format!("vmlinuz-{name}-{copy}"));
                std::fs::write(&path, image(&payload)).expect("written");
                let unpacked = from_bzimage(&path, "test", &cache, &mut |_| {}).expect(name).expect(name);
                assert_eq!(std::fs::read(&unpacked).expect("read"), kernel(true), "{name}");
                let again = from_bzimage(&path, "test", &cache, &mut |_| panic!("unpacked again")).expect(name);
                assert_eq!(again.as_ref(), Some(&unpacked));
                found.push(unpacked);
            }
            assert_eq!(found[0], found[1], "{name}");
        }
    }

    #[test]
    fn kernels_without_a_pvh_note_and_unknown_compression_yield_no_vmlinux() {
        let (dir, cache) = cache();
        let zstd = payloads(&kernel(false)).swap_remove(2);
        for (name, payload) in [zstd, ("bzip2", b"BZh91AY&SY____".to_vec())] {
            let path = dir.path().join(name);
            std::fs::write(&path, image(&payload)).expect("written");
            for _ in 0..2 {
                assert_eq!(from_bzimage(&path, "test", &cache, &mut |_| {}).expect(name), None, "{name}");
            }
        }
    }

    #[test]
    fn a_discarded_entry_is_created_again() {
        let (dir, cache) = cache();
        let path = dir.path().join("vmlinuz");
        std::fs::write(&path, image(&payloads(&kernel(true))[2].1)).expect("written");
        let first = from_bzimage(&path, "test", &cache, &mut |_| {}).expect("unpacked").expect("PVH");
        cache.discard_holder(&first).expect("discarded");
        let second = from_bzimage(&path, "test", &cache, &mut |_| {}).expect("unpacked").expect("PVH");
        assert!(first == second && second.exists());
    }

    #[test]
    fn wrong_sizes_are_refused() {
        for (name, mut payload) in payloads(&kernel(true)) {
            let end = payload.len() - 4;
            for size in [0_u32, 10, 200_006, 200_008, u32::MAX] {
                payload[end..].copy_from_slice(&size.to_le_bytes());
                let out = tempfile::tempfile().expect("a file");
                let kind = Payload::of(&payload).expect("known");
                assert!(unpack(kind, &payload, &out).is_err(), "{name}: {size}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_damage_is_unpacked_or_refused(at in any::<u16>(), byte in any::<u8>(), which in 0_usize..5) {
            let mut payload = payloads(&vmlinux(62, true)).swap_remove(which).1;
            let at = usize::from(at) % payload.len();
            payload[at] = byte;
            if let Some(kind) = Payload::of(&payload) {
                let _ = unpack(kind, &payload, &tempfile::tempfile().expect("a file"));
            }
        }
    }
}
