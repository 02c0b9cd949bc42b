//! Writes bundles: the same contents give the same bytes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::{
    BundleError, CONSOLE, Digested, FILE_BYTES, INITRD, KERNEL, MANIFEST, Manifest, ON_CONSOLE, README, SCRIPT, STDERR,
    STDOUT, instructions,
};
use crate::format::measure::hex;

/// Compression level; decompression is fast at every level.
const ZSTD_LEVEL: i32 = 9;

/// Compression of a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Uncompressed.
    None,
    /// gzip, which is available everywhere.
    Gzip,
    /// zstd.
    Zstd,
}

impl Packing {
    /// Returns the compression for a file name: zstd, unless the extension selects another.
    pub fn of(path: &Path) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("tar") => Self::None,
            Some("gz" | "tgz") => Self::Gzip,
            _ => Self::Zstd,
        }
    }
}

/// Contents of a bundle besides the instructions.
#[derive(Debug)]
pub struct Contents {
    /// The kernel image.
    pub kernel: File,
    /// The initrd.
    pub initrd: File,
    /// Archive that makes pid 1 use the console.
    pub on_console: Vec<u8>,
    /// Standard output and standard error of the command; `None` if it did not run.
    pub outputs: Option<[Vec<u8>; 2]>,
    /// Last lines of the console, if requested.
    pub console: Option<Vec<u8>>,
}

/// A file of a bundle.
struct Part<'a> {
    name: &'static str,
    content: Box<dyn ReadSeek + 'a>,
}

trait ReadSeek: Read + Seek {}
impl<T: Read + Seek> ReadSeek for T {}

/// Writes a bundle; fills in the manifest's list of files.
pub fn write(
    mut manifest: Manifest,
    contents: &Contents,
    packing: Packing,
    to: &mut dyn Write,
) -> Result<(), BundleError> {
    let texts = [instructions::readme(&manifest), instructions::script(&manifest)];
    let mut parts = parts(contents, &texts);
    let mut total = 0;
    for part in &mut parts {
        let digested = digest(&mut part.content).map_err(BundleError::Write)?;
        total += digested.bytes;
        manifest.files.insert(part.name.to_owned(), digested);
    }
    if total > FILE_BYTES {
        return Err(BundleError::Large { bytes: total });
    }
    let mut json = serde_json::to_vec_pretty(&manifest).map_err(BundleError::Manifest)?;
    json.push(b'\n');
    match packing {
        Packing::None => archive(&json, &manifest, parts, to),
        Packing::Gzip => {
            let mut gzip = flate2::write::GzEncoder::new(to, flate2::Compression::new(6));
            archive(&json, &manifest, parts, &mut gzip).and_then(|()| gzip.finish().map(drop))
        }
        Packing::Zstd => zstd::Encoder::new(to, ZSTD_LEVEL).and_then(|mut zstd| {
            zstd.include_checksum(true)?;
            archive(&json, &manifest, parts, &mut zstd)?;
            zstd.finish().map(drop)
        }),
    }
    .map_err(BundleError::Write)
}

/// Returns the files in archive order: small, readable ones first.
fn parts<'a>(contents: &'a Contents, texts: &'a [String; 2]) -> Vec<Part<'a>> {
    let bytes = |name, bytes: &'a [u8]| Part { name, content: Box::new(io::Cursor::new(bytes)) };
    let [readme, script] = texts;
    let mut parts = vec![bytes(README, readme.as_bytes()), bytes(SCRIPT, script.as_bytes())];
    if let Some([out, err]) = &contents.outputs {
        parts.extend([bytes(STDOUT, out), bytes(STDERR, err)]);
    }
    parts.extend(contents.console.as_deref().map(|console| bytes(CONSOLE, console)));
    parts.push(bytes(ON_CONSOLE, &contents.on_console));
    parts.push(Part { name: INITRD, content: Box::new(&contents.initrd) });
    parts.push(Part { name: KERNEL, content: Box::new(&contents.kernel) });
    parts
}

fn archive(json: &[u8], manifest: &Manifest, parts: Vec<Part<'_>>, to: &mut dyn Write) -> io::Result<()> {
    let directory = directory(json);
    let mut tar = tar::Builder::new(to);
    append(&mut tar, &format!("{directory}/{MANIFEST}"), json.len() as u64, &mut { json })?;
    for part in parts {
        // A file that grows in the meantime is truncated to its digested length; one that shrinks is an error.
        let bytes = manifest.files.get(part.name).map_or(0, |file| file.bytes);
        append(&mut tar, &format!("{directory}/{}", part.name), bytes, &mut part.content.take(bytes))?;
    }
    tar.finish()
}

fn append(tar: &mut tar::Builder<&mut dyn Write>, path: &str, bytes: u64, content: &mut dyn Read) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_path(path)?;
    header.set_size(bytes);
    header.set_mode(if path.ends_with(SCRIPT) { 0o755 } else { 0o644 });
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_cksum();
    let mut counted = Counted { inner: content, bytes: 0 };
    tar.append(&header, &mut counted)?;
    if counted.bytes == bytes { Ok(()) } else { Err(io::Error::other(format!("{path} shrank while it was read"))) }
}

struct Counted<'a> {
    inner: &'a mut dyn Read,
    bytes: u64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes += read as u64;
        Ok(read)
    }
}

/// Returns the name of the bundle's top directory.
pub(super) fn directory(json: &[u8]) -> String {
    format!("bootling-{}", &hex(&Sha256::digest(json))[..12])
}

/// Returns the length and the digest of a file, and rewinds it.
fn digest(content: &mut dyn ReadSeek) -> io::Result<Digested> {
    content.seek(SeekFrom::Start(0))?;
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    let mut chunk = vec![0; 1 << 16];
    loop {
        let count = content.read(&mut chunk)?;
        if count == 0 {
            break;
        }
        hash.update(&chunk[..count]);
        bytes += count as u64;
    }
    content.seek(SeekFrom::Start(0))?;
    Ok(Digested { bytes, sha256: hex(&hash.finalize()) })
}
