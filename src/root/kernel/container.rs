//! Files that contain a bootable image: a compressed image, an EFI zboot image, a unified kernel image, a vmlinux for arm64.
//!
//! The image is extracted once, to the cache. Refuses payloads that unpack to more than 1 GiB.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::error::KernelError;
use super::image::{Bootable, Refused, identify};
use crate::arch::Arch;
use crate::cache::{Cache, Key};
use crate::format::compression::{Compression, Streams};
use crate::format::kernel::bzimage::BzImage;
use crate::format::kernel::vmlinux::{Vmlinux, file_segments};
use crate::format::kernel::{arm64, zboot};
use crate::format::pe::Pe;
use crate::format::uki::UkiSection;

/// Size limit of an extracted image, in bytes.
const LIMIT: u64 = 1 << 30;
/// Number of bytes read from the start of a file or payload.
const HEAD: u64 = 8192;
/// Maximum number of nested containers: an EFI zboot image in a unified kernel image.
const NESTED: usize = 3;

/// A file that contains an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Container {
    /// A compressed arm64 `Image`, or an EFI zboot image: where its compressed data is.
    Packed { compression: Compression, offset: u64, len: u64 },
    /// A unified kernel image: where its kernel is, and the sections that are not used.
    Uki { offset: u64, len: u64, unused: Vec<&'static str> },
    /// An ELF file for arm64, whose segments form the `Image`.
    Vmlinux,
}

/// A bootable image, and the file that it is in.
#[derive(Debug)]
pub(super) struct Located {
    /// The file: the one that was searched, or one in the cache.
    pub(super) path: PathBuf,
    /// The image.
    pub(super) found: Bootable,
}

/// Returns a note about the sections of a unified kernel image that are not used; `None` for any other file.
pub fn unused_sections(path: &Path) -> Option<String> {
    let Ok(Ok(Some(Container::Uki { unused, .. }))) = Container::of(path) else { return None };
    let text = || format!("only the kernel in {} is used, not its {}", path.display(), unused.join(", "));
    (!unused.is_empty()).then(text)
}

/// Identifies the image in a file. Extracts an image from its container into the cache.
pub(super) fn locate(
    path: &Path,
    origin: &str,
    cache: &Cache,
    progress: &mut dyn FnMut(&str),
) -> Result<Result<Located, Refused>, KernelError> {
    let mut path = path.to_owned();
    for _ in 0..NESTED {
        let container = match Container::of(&path)? {
            Ok(Some(container)) => container,
            Ok(None) => break,
            Err(refused) => return Ok(Err(refused)),
        };
        let failed = |source| KernelError::Io { doing: "read", path: path.clone(), source };
        let key = Key::of_file("image in 1", &path, &std::fs::metadata(&path).map_err(failed)?);
        let extracted = cache.file(&key, |out| {
            progress(&format!("extracting the image from {origin} (once)"));
            container.extract(&path, out).map_err(|error| match error.raw_os_error() {
                Some(_) => KernelError::unpacking(&path, cache.directory(), error),
                None => KernelError::Damaged { path: path.clone(), why: error.to_string() },
            })
        })?;
        path = extracted;
    }
    Ok(identify(&path)?.map(|found| Located { path, found }))
}

/// Returns the file with the image in `file`, which is extracted into the directory `into` if it is in a container.
pub(super) fn extract_into(file: &Path, into: &Path) -> Result<Result<PathBuf, Refused>, KernelError> {
    let mut path = file.to_owned();
    for depth in 0..NESTED {
        let container = match Container::of(&path)? {
            Ok(Some(container)) => container,
            Ok(None) => break,
            Err(refused) => return Ok(Err(refused)),
        };
        let to = into.join(format!("image-{depth}"));
        let created = File::options().read(true).write(true).create_new(true).open(&to);
        created
            .and_then(|mut out| container.extract(&path, &mut out))
            .map_err(|source| KernelError::Package { path: file.to_owned(), source })?;
        path = to;
    }
    Ok(Ok(path))
}

impl Container {
    /// Recognizes a container; `None` if the file is none.
    pub(super) fn of(path: &Path) -> Result<Result<Option<Self>, Refused>, KernelError> {
        let failed = |source| KernelError::Io { doing: "read", path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        let mut head = Vec::new();
        (&file).take(HEAD).read_to_end(&mut head).map_err(failed)?;
        if BzImage::is(&head) || arm64::is_little_endian(&head).is_some() {
            return Ok(Ok(None));
        }
        if let Some(payload) = zboot::payload(&head, len) {
            return match payload {
                Ok((offset, len)) => zboot_payload(&file, &head, offset, len).map_err(failed),
                Err(fault) => {
                    Ok(Err(Refused::new(format!("a damaged EFI zboot image ({fault})"), "copy or build it again")))
                }
            };
        }
        if head.starts_with(b"\x7fELF") {
            return Ok(Ok(has_image(&file).then_some(Self::Vmlinux)));
        }
        if head.starts_with(b"MZ") {
            return Ok(Ok(Pe::read(&file).ok().and_then(|pe| uki(&pe))));
        }
        let compression = Compression::detect(&head);
        if compression == Compression::None || !compression.is_readable() {
            return Ok(Ok(None));
        }
        let inside = start(&file, compression, 0, len).map_err(failed)?;
        let is_image = arm64::is_little_endian(&inside).is_some();
        Ok(Ok(is_image.then_some(Self::Packed { compression, offset: 0, len })))
    }

    /// Writes the image to an empty file.
    pub(super) fn extract(&self, path: &Path, out: &mut File) -> io::Result<()> {
        let file = File::open(path)?;
        match self {
            Self::Packed { compression, offset, len } => {
                let mut reader = compression.reader(range(&file, *offset, *len)?, Streams::First)?;
                copy(&mut reader, out)
            }
            Self::Uki { offset, len, .. } => copy(&mut range(&file, *offset, *len)?, out),
            Self::Vmlinux => flatten(&file, out),
        }
    }
}

/// Identifies the compression of an EFI zboot image's payload.
fn zboot_payload(file: &File, head: &[u8], offset: u64, len: u64) -> io::Result<Result<Option<Container>, Refused>> {
    let mut magic = vec![0; usize::try_from(len.min(16)).unwrap_or(0)];
    file.read_exact_at(&mut magic, offset)?;
    let compression = Compression::detect(&magic);
    if compression == Compression::None || !compression.is_readable() {
        let name = zboot::compression(head).unwrap_or("unknown");
        let what = format!("an EFI zboot image with unsupported compression {name}");
        return Ok(Err(Refused::new(what, "pass the Image of the same build")));
    }
    Ok(Ok(Some(Container::Packed { compression, offset, len })))
}

/// Returns the position of the kernel in a unified kernel image.
fn uki(pe: &Pe) -> Option<Container> {
    let (offset, len) = pe.section(UkiSection::Linux.name())?.contents();
    let used = [UkiSection::Initrd, UkiSection::Ucode, UkiSection::Cmdline, UkiSection::Dtb];
    let unused = used.into_iter().map(UkiSection::name).filter(|name| pe.section(name).is_some()).collect();
    Some(Container::Uki { offset, len, unused })
}

/// Returns the first bytes of compressed data; fewer if it is damaged, which is reported when it is extracted.
fn start(file: &File, compression: Compression, offset: u64, len: u64) -> io::Result<Vec<u8>> {
    let mut inside = Vec::new();
    let reader = compression.reader(range(file, offset, len)?, Streams::First);
    let _ = reader.and_then(|reader| reader.take(HEAD).read_to_end(&mut inside));
    Ok(inside)
}

fn range(file: &File, offset: u64, len: u64) -> io::Result<BufReader<io::Take<&File>>> {
    let mut file = file;
    file.seek(SeekFrom::Start(offset))?;
    Ok(BufReader::with_capacity(256 << 10, file.take(len)))
}

fn copy(from: &mut impl Read, out: &mut File) -> io::Result<()> {
    let copied = io::copy(&mut from.take(LIMIT + 1), out)?;
    if copied > LIMIT {
        return Err(io::Error::other(format!("unpacked size exceeds the limit of {LIMIT} bytes")));
    }
    out.flush()
}

/// Writes the segments of a vmlinux at their load addresses, as `objcopy -O binary` does.
fn flatten(file: &File, out: &File) -> io::Result<()> {
    let segments = file_segments(file).map_err(io::Error::other)?;
    let base = segments.iter().map(|segment| segment.address).min().unwrap_or(0);
    for segment in segments {
        let at = segment.address - base;
        if at.checked_add(segment.len).is_none_or(|end| end > LIMIT) {
            return Err(io::Error::other(format!("segments extend over more than {LIMIT} bytes")));
        }
        let mut reader = range(file, segment.offset, segment.len)?;
        let mut out = io::BufWriter::new(out);
        out.seek(SeekFrom::Start(at))?;
        io::copy(&mut reader, &mut out)?;
        out.flush()?;
    }
    Ok(())
}

/// Returns true for a vmlinux whose first segment starts with the header of an arm64 `Image`.
fn has_image(file: &File) -> bool {
    let is_arm64 =
        Vmlinux::read(file).is_ok_and(|found| found.abi.arch() == Some(Arch::Aarch64) && !found.is_relocatable);
    let first = || file_segments(file).ok()?.into_iter().min_by_key(|segment| segment.address);
    let mut head = [0; 64];
    is_arm64
        && first().is_some_and(|first| {
            file.read_exact_at(&mut head, first.offset).is_ok() && arm64::is_little_endian(&head).is_some()
        })
}

#[cfg(test)]
mod tests {
    use super::locate;
    use crate::cache::Cache;
    use crate::format::kernel::zboot::tests::zboot;
    use crate::root::kernel::{ImageKind, error::KernelError};
    use proptest::prelude::{ProptestConfig, any, proptest};
    use std::io::Write as _;
    use std::path::Path;

    /// Builds an arm64 `Image`.
    fn image() -> Vec<u8> {
        let mut image = vec![0; 100_000];
        image[56..60].copy_from_slice(b"ARM\x64");
        image[2000..2036].copy_from_slice(b"Linux version 6.9.0-test (a@b) #1 S\0");
        image.extend(b"the end");
        image
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(bytes).expect("compressed");
        gz.finish().expect("finished")
    }

    /// Builds an ELF file for arm64 with the image in two segments, at kernel addresses.
    fn vmlinux(image: &[u8]) -> Vec<u8> {
        const BASE: u64 = 0xffff_8000_8000_0000;
        let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        elf.extend(2_u16.to_le_bytes());
        elf.extend(183_u16.to_le_bytes());
        elf.extend(1_u32.to_le_bytes());
        elf.extend(BASE.to_le_bytes());
        elf.extend(64_u64.to_le_bytes());
        elf.extend([0; 12]);
        for field in [64_u16, 56, 2, 64, 0, 0] {
            elf.extend(field.to_le_bytes());
        }
        let (first, second) = image.split_at(50_000);
        // The second segment precedes the first one in the file.
        let at = 64 + 2 * 56;
        for (address, offset, len) in [(BASE + 50_000, at, second.len()), (BASE, at + second.len(), first.len())] {
            elf.extend(1_u32.to_le_bytes());
            elf.extend([0; 4]);
            for field in [offset as u64, address, address, len as u64, len as u64 + 4096, 4096] {
                elf.extend(field.to_le_bytes());
            }
        }
        elf.extend(second);
        elf.extend(first);
        elf
    }

    /// Locates the image in a file with these contents, and returns the bytes of the image.
    fn located(bytes: &[u8]) -> Result<Vec<u8>, String> {
        let dir = tempfile::tempdir().expect("a directory");
        let cache = Cache::at(dir.path().join("cache"), 1 << 30).expect("a cache");
        let path = dir.path().join("vmlinuz");
        std::fs::write(&path, bytes).expect("written");
        let locate = |path: &Path| locate(path, "the file", &cache, &mut |_| {});
        match locate(&path) {
            Ok(Ok(found)) => {
                assert_eq!(found.found.kind, ImageKind::Arm64);
                let again = locate(&path).expect("read").expect("found");
                assert_eq!(found.path, again.path);
                Ok(std::fs::read(&found.path).expect("read"))
            }
            Ok(Err(refused)) => Err(refused.what),
            Err(KernelError::Damaged { why, .. }) => Err(why),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn the_image_is_extracted_from_each_container() {
        let image = image();
        for (name, bytes) in [
            ("Image", image.clone()),
            ("Image.gz", gzip(&image)),
            ("Image.zst", zstd::encode_all(image.as_slice(), 1).expect("compressed")),
            ("gzip zboot", zboot("gzip", &gzip(&image))),
            ("zstd zboot", zboot("zstd22", &zstd::encode_all(image.as_slice(), 1).expect("compressed"))),
            ("vmlinux", vmlinux(&image)),
        ] {
            assert!(located(&bytes).expect(name) == image, "{name}");
        }
    }

    #[test]
    fn a_file_without_a_usable_image_is_refused_with_the_reason() {
        for (bytes, expected) in [
            (zboot("lzo", b"\x89LZO\0\r\n\x1a\n"), "unsupported compression lzo"),
            (zboot("gzip", &gzip(b"not an Image")), "unknown type"),
            (zboot("gzip", b"")[..512].to_vec(), "damaged EFI zboot"),
            (gzip(b"07070100000000"), "gzip-compressed initrd"),
            (vmlinux(&vec![0; 100_000]), "a vmlinux for aarch64"),
        ] {
            let error = located(&bytes).expect_err(expected);
            assert!(error.contains(expected), "{error}");
        }
        let packed = gzip(&image());
        located(&zboot("gzip", &packed[..packed.len() / 2])).expect_err("truncated");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_damage_is_extracted_or_refused(at in any::<u16>(), byte in any::<u8>(), which in 0_usize..3) {
            let small = &image()[..60_000];
            let mut bytes = vec![gzip(small), zboot("gzip", &gzip(small)), vmlinux(small)].swap_remove(which);
            // Damage in the headers is more likely to matter.
            let at = usize::from(at) % bytes.len().min(512);
            bytes[at] = byte;
            let dir = tempfile::tempdir().expect("a directory");
            let cache = Cache::at(dir.path().join("cache"), 1 << 30).expect("a cache");
            let path = dir.path().join("vmlinuz");
            std::fs::write(&path, &bytes).expect("written");
            let _ = locate(&path, "the file", &cache, &mut |_| {});
        }
    }
}
