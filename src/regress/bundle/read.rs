//! A bundle, read: into memory that nobody else can change, each file checked against the manifest.
//!
//! Refuses whatever [`super::write`] does not write, before it takes up room.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, memfd_create};
use sha2::{Digest as _, Sha256};

use super::write::{directory, hex};
use super::{BundleError, FILE_BYTES, INITRD, KERNEL, MANIFEST, MANIFEST_BYTES, Manifest, NAMES, VERSION};

/// What a bundle's directory begins with.
const DIRECTORY: &str = "bootling-";
/// A block of a tar archive.
const BLOCK: usize = 512;

/// A bundle in memory.
#[derive(Debug)]
pub struct Bundle {
    /// What it says of itself.
    pub manifest: Manifest,
    /// Its files, by name.
    pub files: BTreeMap<String, File>,
}

impl Bundle {
    /// A path under which this process, and only this one, finds a file as long as the bundle lives.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.files.get(name).map(|file| PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())))
    }
}

/// Whether a file begins as bundles do. Leaves it at its start.
pub fn is_bundle(file: &mut File) -> io::Result<bool> {
    let mut head = Vec::new();
    // What is packed badly is no bundle: who asks has other uses for such a file.
    let begins = match unpacked(file) {
        Ok(reader) => reader.take(BLOCK as u64).read_to_end(&mut head).is_ok(),
        Err(_) => false,
    };
    file.seek(SeekFrom::Start(0))?;
    let name = head.split(|byte| *byte == 0).next().unwrap_or_default();
    let is_ours = name.starts_with(DIRECTORY.as_bytes()) && name.ends_with(format!("/{MANIFEST}").as_bytes());
    Ok(begins && head.len() == BLOCK && is_ours && &head[257..262] == b"ustar")
}

/// The tar archive in a file, whatever it is packed with.
fn unpacked(file: &mut File) -> io::Result<Box<dyn Read + '_>> {
    let mut magic = [0; 4];
    file.seek(SeekFrom::Start(0))?;
    let read = Read::take(&mut *file, 4).read(&mut magic)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(match magic {
        _ if read < 4 => Box::new(io::empty()),
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(zstd::Decoder::new(file)?),
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::GzDecoder::new(BufReader::new(file))),
        _ => Box::new(BufReader::new(file)),
    })
}

/// Reads a bundle whole. `file` is anything that can be sought in.
pub fn read(file: &mut File) -> Result<Bundle, BundleError> {
    let mut tar = tar::Archive::new(unpacked(file).map_err(BundleError::Read)?);
    // Raw: extensions of the format, for long names above all, are entries like any other, and refused as such.
    let mut entries = tar.entries().map_err(BundleError::Read)?.raw(true);
    let first = entries.next().ok_or(BundleError::NoBundle("it is empty"))?.map_err(BundleError::Read)?;
    let (directory, manifest) = manifest(first)?;
    let mut files = BTreeMap::new();
    for entry in entries {
        let entry = entry.map_err(BundleError::Read)?;
        let (name, bytes) = named(&entry)?;
        let wrong = |what: &str| BundleError::Entry { name: name.clone(), what: what.to_owned() };
        let known = name.strip_prefix(&directory).and_then(|name| name.strip_prefix('/'));
        let known = known.and_then(|known| manifest.files.get_key_value(known));
        let Some((known, digested)) = known else { return Err(wrong("the manifest does not name it")) };
        if bytes != digested.bytes {
            return Err(wrong(&format!("it has {bytes} bytes, and {} in the manifest", digested.bytes)));
        }
        if files.contains_key(known) {
            return Err(wrong("it is there twice"));
        }
        let (file, sha256) = keep(entry).map_err(BundleError::Read)?;
        if sha256 != digested.sha256 {
            return Err(wrong("its SHA-256 is not the one in the manifest"));
        }
        files.insert(known.clone(), file);
    }
    if let Some(missing) = manifest.files.keys().find(|name| !files.contains_key(*name)) {
        return Err(BundleError::Missing(missing.clone()));
    }
    Ok(Bundle { manifest, files })
}

/// The manifest, and the directory that everything has to be in.
fn manifest(entry: tar::Entry<'_, impl Read>) -> Result<(String, Manifest), BundleError> {
    const NONE: BundleError = BundleError::NoBundle("it does not begin with a manifest");
    let (name, bytes) = named(&entry)?;
    let Some((own, MANIFEST)) = name.split_once('/') else { return Err(NONE) };
    if !own.starts_with(DIRECTORY) || bytes > MANIFEST_BYTES {
        return Err(NONE);
    }
    let mut json = Vec::new();
    entry.take(MANIFEST_BYTES).read_to_end(&mut json).map_err(BundleError::Read)?;
    if directory(&json) != own {
        return Err(BundleError::Renamed { directory: own.to_owned() });
    }
    #[derive(serde::Deserialize)]
    struct Version {
        version: u64,
    }
    // Another version may have other fields.
    let Version { version } = serde_json::from_slice(&json).map_err(BundleError::Manifest)?;
    if version != VERSION {
        return Err(BundleError::Version(version));
    }
    let manifest: Manifest = serde_json::from_slice(&json).map_err(BundleError::Manifest)?;
    if let Some(name) = manifest.files.keys().find(|name| !NAMES.contains(&name.as_str())) {
        let what = "bundles hold nothing of this name".to_owned();
        return Err(BundleError::Entry { name: name.chars().take(100).collect(), what });
    }
    let total = manifest.files.values().fold(0_u64, |total, file| total.saturating_add(file.bytes));
    if total > FILE_BYTES {
        return Err(BundleError::Large { bytes: total });
    }
    if let Some(missing) = [KERNEL, INITRD].into_iter().find(|name| !manifest.files.contains_key(*name)) {
        return Err(BundleError::Missing(missing.to_owned()));
    }
    Ok((own.to_owned(), manifest))
}

/// The name and length of an entry that is a plain file of a plain name.
fn named(entry: &tar::Entry<'_, impl Read>) -> Result<(String, u64), BundleError> {
    let header = entry.header();
    let name = String::from_utf8_lossy(&header.path_bytes()).into_owned();
    let wrong = |what: &str| BundleError::Entry { name: name.escape_debug().to_string(), what: what.to_owned() };
    if !header.entry_type().is_file() {
        return Err(wrong("it is no plain file"));
    }
    let bytes = header.entry_size().map_err(|_| wrong("its length is none"))?;
    if bytes > FILE_BYTES { Err(wrong("it is too large")) } else { Ok((name, bytes)) }
}

/// What an entry holds, in memory, at its start; and its digest.
fn keep(mut entry: tar::Entry<'_, impl Read>) -> io::Result<(File, String)> {
    let mut memory = File::from(memfd_create("bundle", MemfdFlags::CLOEXEC)?);
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 1 << 16];
    loop {
        match entry.read(&mut chunk)? {
            0 => break,
            count => {
                hash.update(&chunk[..count]);
                memory.write_all(&chunk[..count])?;
            }
        }
    }
    memory.seek(SeekFrom::Start(0))?;
    Ok((memory, hex(&hash.finalize())))
}
