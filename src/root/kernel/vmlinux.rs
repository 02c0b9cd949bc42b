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
use crate::format::compression::{Compression, Streams};
use crate::format::elf::ElfError;
use crate::format::kernel::bzimage::BzImage;
use crate::format::kernel::vmlinux::Vmlinux;

/// Size limit of an unpacked kernel, in bytes.
const KERNEL_LIMIT: u64 = 1 << 30;
/// Size limit of a payload, in bytes.
const PAYLOAD_LIMIT: u64 = 256 << 20;
/// Block size for holes: a block of zeros is not written.
const PIECE: usize = 64 << 10;

/// Cache content for an image that yields no vmlinux.
const NOTHING: &str = "nothing";

/// Returns the kernel as an ELF file with a PVH entry note; `None` if the bzImage must be booted unchanged.
///
/// Extracts a bzImage into the cache. A repeated call needs only a few `stat` calls: the image's path and file stamp
/// map to the payload's digest, and the digest maps to the cache entry.
pub(crate) fn vmlinux(
    kernel: &Kernel,
    cache: &Cache,
    progress: &mut dyn FnMut(&str),
) -> Result<Option<PathBuf>, KernelError> {
    match kernel.kind {
        ImageKind::VmlinuxPvh => Ok(Some(kernel.image.clone())),
        ImageKind::BzImage => from_bzimage(&kernel.image, &kernel.origin, cache, progress),
        ImageKind::Arm64 | ImageKind::Absent => Ok(None),
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
    if let Some(known) = cache.get(&link) {
        let text = std::fs::read_to_string(&known).map_err(failed)?;
        if text == NOTHING {
            return Ok(None);
        }
        if let Some(key) = Key::parse(&text)
            && let Some(found) = cache.get(&key)
        {
            return Ok(Some(found));
        }
        // The extracted kernel was evicted from the cache.
        cache.discard(&link)?;
    }
    let payload = read_payload(&file, metadata.len(), image)?;
    let key = Key::of("vmlinux 1", &[&Sha256::digest(&payload)]);
    let found = match (compression_of(&payload), cache.get(&key)) {
        (None, _) => None,
        (Some(_), Some(known)) => Some(known),
        (Some(compression), None) => {
            progress(&format!("extracting the vmlinux from {origin} (once)"));
            unpack_once(compression, &payload, &key, image, cache)?
        }
    };
    let text = if found.is_some() { key.as_str() } else { NOTHING };
    cache.file::<KernelError>(&link, |file| {
        let write = file.write_all(text.as_bytes());
        write.map_err(|source| CacheError::Io { doing: "write to", path: cache.directory().to_owned(), source }.into())
    })?;
    Ok(found)
}

/// Returns the compression of a payload, if it is supported.
fn compression_of(payload: &[u8]) -> Option<Compression> {
    Some(Compression::detect(payload)).filter(|found| *found != Compression::None && found.is_readable())
}

/// Unpacks the payload into the cache; `None` if the result has no PVH entry note.
fn unpack_once(
    compression: Compression,
    payload: &[u8],
    key: &Key,
    image: &Path,
    cache: &Cache,
) -> Result<Option<PathBuf>, KernelError> {
    let made = cache.file::<KernelError>(key, |out| {
        let damaged = |why: String| KernelError::Damaged { path: image.to_owned(), why };
        unpack(compression, payload, out).map_err(|error| match error.raw_os_error() {
            Some(_) => KernelError::unpacking(image, cache.directory(), error),
            None => damaged(error.to_string()),
        })?;
        match Vmlinux::read(out) {
            Ok(found) if found.has_pvh => Ok(()),
            Ok(_) | Err(ElfError::Malformed { .. }) => Err(KernelError::NoPvh),
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
fn unpack(compression: Compression, payload: &[u8], out: &File) -> io::Result<()> {
    let (packed, size) = payload.split_last_chunk::<4>().ok_or(io::ErrorKind::UnexpectedEof)?;
    let size = u64::from(u32::from_le_bytes(*size));
    if size > KERNEL_LIMIT {
        return Err(io::Error::other(format!("unpacked size {size} exceeds the limit of {KERNEL_LIMIT} bytes")));
    }
    // For gzip, the size field is part of the gzip trailer.
    let packed = if compression == Compression::Gzip { payload } else { packed };
    let mut reader = compression.reader(packed, Streams::First)?.take(size + 1);
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
    let Some(compression) = compression_of(&payload) else { return Ok(None) };
    let mut out = tempfile::tempfile().map_err(failed)?;
    unpack(compression, &payload, &out).map_err(failed)?;
    let mut bytes = Vec::new();
    out.read_to_end(&mut bytes).map_err(failed)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::{compression_of, from_bzimage, unpack};
    use crate::cache::Cache;
    use crate::format::kernel::bzimage::tests::image;
    use crate::format::kernel::vmlinux::tests::vmlinux;
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
        for chunk in kernel.chunks(crate::format::lz4::CHUNK) {
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
        assert!(cache.discard_holder(&first));
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
                let compression = compression_of(&payload).expect("known");
                assert!(unpack(compression, &payload, &out).is_err(), "{name}: {size}");
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
            if let Some(compression) = compression_of(&payload) {
                let _ = unpack(compression, &payload, &tempfile::tempfile().expect("a file"));
            }
        }
    }
}
