//! Reads and writes the archive of a bundle.
//!
//! Reading checks each file against the manifest and keeps it in private memory. It refuses everything that
//! [`Bundle::write`] does not produce, before memory is allocated for it. [`inspect`] bounds time and memory for files that
//! are only listed: a bundle of some kilobytes may unpack to gigabytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, memfd_create};
use sha2::{Digest as _, Sha256};

use super::{
    BundleError, FILE_NAMES, FileDigest, INITRD, KERNEL, MANIFEST, MAX_FILE_BYTES, MAX_INSPECTED, MAX_MANIFEST_BYTES,
    Manifest, README, SCRIPT, VERSION, instructions,
};
use crate::format::compression::{Compression, DecompressReader};
use crate::format::measure::hex;
use crate::output::Sink;

/// Prefix of the top directory.
const DIRECTORY: &str = "bootling-";
/// Size of a tar block.
const BLOCK: usize = 512;
/// Limit of the unpacked size: the files, the manifest, and more than enough for the headers.
const UNPACKED_BYTES: u64 = MAX_FILE_BYTES + MAX_MANIFEST_BYTES + (1 << 20);

/// A bundle in memory.
#[derive(Debug)]
pub struct Bundle {
    /// Manifest.
    pub manifest: Manifest,
    /// Files by name.
    pub files: BTreeMap<String, File>,
    /// Names of files that were not read and compared with the manifest, because too many bytes precede them.
    pub unchecked: Vec<String>,
}

impl Bundle {
    /// Returns a path to a file of the bundle, valid only in this process and for the lifetime of the bundle.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.files.get(name).map(|file| PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())))
    }

    /// Adds a file.
    pub(super) fn add(&mut self, name: &str, bytes: &[u8]) -> Result<(), BundleError> {
        let file = in_memory(bytes).map_err(BundleError::Write)?;
        self.files.insert(name.to_owned(), file);
        Ok(())
    }

    /// Writes the bundle with instructions and the digests of all files. Returns the length in bytes.
    pub fn write(&mut self, compression: Compression, out: &mut impl Sink) -> Result<u64, BundleError> {
        let [readme, script] = [instructions::readme(&self.manifest), instructions::script(&self.manifest)];
        self.add(README, readme.as_bytes())?;
        self.add(SCRIPT, script.as_bytes())?;
        for (name, file) in &mut self.files {
            self.manifest.files.insert(name.clone(), digest(file).map_err(BundleError::Write)?);
        }
        check_size(&self.manifest)?;
        let mut json = serde_json::to_vec_pretty(&self.manifest).map_err(BundleError::Manifest)?;
        json.push(b'\n');
        self.write_archive(&json, compression, out).map_err(BundleError::Write)
    }

    fn write_archive(&mut self, json: &[u8], compression: Compression, out: &mut impl Sink) -> io::Result<u64> {
        let directory = directory_name(json);
        let mut tar = tar::Builder::new(compression.writer(out)?);
        let mut append = |name: &str, bytes: u64, content: &mut dyn Read| {
            let mut header = tar::Header::new_ustar();
            header.set_path(format!("{directory}/{name}"))?;
            header.set_size(bytes);
            header.set_mode(if name == SCRIPT { 0o755 } else { 0o644 });
            header.set_mtime(0);
            header.set_uid(0);
            header.set_gid(0);
            header.set_cksum();
            // A file that grows in the meantime is truncated to its digested length.
            tar.append(&header, content.take(bytes))
        };
        append(MANIFEST, json.len() as u64, &mut { json })?;
        for name in FILE_NAMES {
            let (Some(file), Some(digest)) = (self.files.get_mut(name), self.manifest.files.get(name)) else {
                continue;
            };
            append(name, digest.bytes, file)?;
            if file.stream_position()? != digest.bytes {
                return Err(io::Error::other(format!("{name} shrank while it was read")));
            }
        }
        tar.into_inner()?.finish()
    }
}

/// Returns true if a file starts like a bundle. Rewinds the file.
pub fn is_bundle(file: &mut File) -> io::Result<bool> {
    let mut head = Vec::new();
    // A file that fails to decompress is not a bundle; the caller treats it as something else.
    let is_read = decompress(file).and_then(|reader| reader.take(BLOCK as u64).read_to_end(&mut head)).is_ok();
    file.seek(SeekFrom::Start(0))?;
    let name = head.split(|byte| *byte == 0).next().unwrap_or_default();
    let is_manifest = name.starts_with(DIRECTORY.as_bytes()) && name.ends_with(format!("/{MANIFEST}").as_bytes());
    Ok(is_read && head.len() == BLOCK && is_manifest && &head[257..262] == b"ustar")
}

/// Returns a reader of the tar archive in a plain or compressed file.
fn decompress(file: &mut File) -> io::Result<DecompressReader<'_>> {
    file.seek(SeekFrom::Start(0))?;
    DecompressReader::new(BufReader::new(file), UNPACKED_BYTES)
}

/// Reads a whole bundle from a seekable file.
pub fn read(file: &mut File) -> Result<Bundle, BundleError> {
    read_some(file, &|_| true, u64::MAX)
}

/// Reads a bundle and checks its files, but keeps only one of them.
pub fn read_file(file: &mut File, name: &str) -> Result<Bundle, BundleError> {
    read_some(file, &|other| other == name, u64::MAX)
}

/// Reads a bundle and checks its files up to `MAX_INSPECTED`, but keeps only the script.
pub fn inspect(file: &mut File) -> Result<Bundle, BundleError> {
    read_some(file, &|name| name == SCRIPT, MAX_INSPECTED)
}

/// Reads a bundle. Keeps the files for which `is_kept` returns true; stops before the file that exceeds `limit` bytes
/// together with those before it.
fn read_some(file: &mut File, is_kept: &dyn Fn(&str) -> bool, limit: u64) -> Result<Bundle, BundleError> {
    let mut tar = tar::Archive::new(decompress(file).map_err(BundleError::Read)?);
    // Raw: format extensions, such as long names, are returned as entries and refused.
    let mut entries = tar.entries().map_err(BundleError::Read)?.raw(true);
    let first = entries.next().ok_or(BundleError::NotABundle("empty archive"))?.map_err(BundleError::Read)?;
    let (directory, manifest) = read_manifest(first)?;
    let mut files = BTreeMap::new();
    let mut checked = BTreeSet::new();
    let mut left = limit;
    for entry in entries {
        let mut entry = entry.map_err(BundleError::Read)?;
        let (name, bytes) = entry_name_and_len(&entry)?;
        let invalid = |reason: &str| Err(BundleError::Entry { name: name.clone(), reason: reason.to_owned() });
        let known = name.strip_prefix(&directory).and_then(|name| name.strip_prefix('/'));
        let known = known.and_then(|known| manifest.files.get_key_value(known));
        let Some((known, expected)) = known else { return invalid("not listed in the manifest") };
        if bytes != expected.bytes {
            return invalid(&format!("length {bytes}, expected {} from the manifest", expected.bytes));
        }
        if checked.contains(known) {
            return invalid("duplicate entry");
        }
        if bytes > left {
            let unchecked = manifest.files.keys().filter(|name| !checked.contains(name)).cloned().collect();
            return Ok(Bundle { manifest, files, unchecked });
        }
        left -= bytes;
        let mut kept = is_kept(known).then(empty).transpose().map_err(BundleError::Read)?;
        if copy(&mut entry, kept.as_mut()).map_err(BundleError::Read)? != *expected {
            return invalid("SHA-256 differs from the manifest");
        }
        checked.insert(known);
        files.extend(kept.map(|file| (known.clone(), file)));
    }
    if let Some(missing) = manifest.files.keys().find(|name| !checked.contains(name)) {
        return Err(BundleError::Missing(missing.clone()));
    }
    Ok(Bundle { manifest, files, unchecked: Vec::new() })
}

/// Part common to all manifest versions.
#[derive(serde::Deserialize)]
struct Version {
    version: u64,
}

/// Reads the manifest. Returns it with the directory of all entries.
fn read_manifest(entry: tar::Entry<'_, impl Read>) -> Result<(String, Manifest), BundleError> {
    const NO_MANIFEST: BundleError = BundleError::NotABundle("the first entry is not a manifest");
    let (name, bytes) = entry_name_and_len(&entry)?;
    let Some((directory, MANIFEST)) = name.split_once('/') else { return Err(NO_MANIFEST) };
    if !directory.starts_with(DIRECTORY) || bytes > MAX_MANIFEST_BYTES {
        return Err(NO_MANIFEST);
    }
    let mut json = Vec::new();
    entry.take(MAX_MANIFEST_BYTES).read_to_end(&mut json).map_err(BundleError::Read)?;
    if directory_name(&json) != directory {
        return Err(BundleError::DigestMismatch(directory.to_owned()));
    }
    // Other versions may have different fields.
    let Version { version } = serde_json::from_slice(&json).map_err(BundleError::Manifest)?;
    if version != VERSION {
        return Err(BundleError::Version(version));
    }
    let manifest: Manifest = serde_json::from_slice(&json).map_err(BundleError::Manifest)?;
    if let Some(name) = manifest.files.keys().find(|name| !FILE_NAMES.contains(&name.as_str())) {
        let reason = "unknown file name".to_owned();
        return Err(BundleError::Entry { name: name.chars().take(100).collect(), reason });
    }
    check_size(&manifest)?;
    if let Some(missing) = [KERNEL, INITRD].into_iter().find(|name| !manifest.files.contains_key(*name)) {
        return Err(BundleError::Missing(missing.to_owned()));
    }
    Ok((directory.to_owned(), manifest))
}

fn check_size(manifest: &Manifest) -> Result<(), BundleError> {
    let bytes = manifest.files.values().fold(0_u64, |total, file| total.saturating_add(file.bytes));
    if bytes > MAX_FILE_BYTES { Err(BundleError::TooLarge(bytes)) } else { Ok(()) }
}

/// Returns the name and length of a regular file's entry.
fn entry_name_and_len(entry: &tar::Entry<'_, impl Read>) -> Result<(String, u64), BundleError> {
    let header = entry.header();
    let name = String::from_utf8_lossy(&header.path_bytes()).into_owned();
    let invalid =
        |reason: &str| BundleError::Entry { name: name.escape_debug().to_string(), reason: reason.to_owned() };
    if !header.entry_type().is_file() {
        return Err(invalid("not a regular file"));
    }
    let bytes = header.entry_size().map_err(|_| invalid("invalid length"))?;
    if bytes > MAX_FILE_BYTES { Err(invalid("too large")) } else { Ok((name, bytes)) }
}

/// Creates an empty file in memory.
fn empty() -> io::Result<File> {
    Ok(File::from(memfd_create("bundle", MemfdFlags::CLOEXEC)?))
}

/// Copies a file into memory, and rewinds it.
fn in_memory(content: impl Read) -> io::Result<File> {
    let mut memory = empty()?;
    copy(content, Some(&mut memory))?;
    Ok(memory)
}

/// Returns the length and the digest of a file, and rewinds it.
fn digest(file: &mut File) -> io::Result<FileDigest> {
    file.rewind()?;
    let digest = copy(&mut *file, None)?;
    file.rewind()?;
    Ok(digest)
}

/// Reads a file to its end and returns its length and digest. Copies it to an empty file in memory, which is then
/// rewound; zeros become holes, which take no memory.
fn copy(mut content: impl Read, mut into: Option<&mut File>) -> io::Result<FileDigest> {
    let (mut hash, mut bytes, mut chunk) = (Sha256::new(), 0, vec![0; 1 << 16]);
    loop {
        let count = match content.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hash.update(&chunk[..count]);
        if let Some(into) = &into
            && chunk[..count].iter().any(|byte| *byte != 0)
        {
            into.write_all_at(&chunk[..count], bytes)?;
        }
        bytes += count as u64;
    }
    if let Some(into) = &mut into {
        into.set_len(bytes)?;
        into.rewind()?;
    }
    Ok(FileDigest { bytes, sha256: hex(&hash.finalize()) })
}

/// Returns the name of the bundle's top directory.
fn directory_name(json: &[u8]) -> String {
    format!("{DIRECTORY}{}", &hex(&Sha256::digest(json))[..12])
}

#[cfg(test)]
mod tests {
    use super::{is_bundle, read};
    use crate::format::compression::Compression;
    use crate::regress::bundle::machine::tests::note;
    use crate::regress::bundle::{
        Bundle, BundleError, CONSOLE_ARCHIVE, INITRD, KERNEL, KernelInfo, Manifest, QemuInfo, SCRIPT, STDERR, STDOUT,
        VERSION,
    };
    use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};
    use std::fs::File;
    use std::io::{Read, Seek, SeekFrom, Write};

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().expect("temporary file");
        file.write_all(bytes).expect("written");
        file.seek(SeekFrom::Start(0)).expect("at its start");
        file
    }

    fn manifest() -> Manifest {
        Manifest {
            version: VERSION,
            made_by: "a test".to_owned(),
            command: vec!["true".to_owned()],
            arch: "x86_64".to_owned(),
            kernel: KernelInfo { origin: "vmlinuz".to_owned(), release: None, is_elf: false },
            machine: note(),
            health: <_>::default(),
            qemu: QemuInfo { program: "qemu".to_owned(), version: "1".to_owned(), line: vec!["qemu".to_owned()] },
            expected: None,
            files: <_>::default(),
        }
    }

    fn bundle(compression: Compression) -> Vec<u8> {
        let mut bundle = Bundle { manifest: manifest(), files: <_>::default(), unchecked: Vec::new() };
        let files: [(&str, &[u8]); 5] =
            [(KERNEL, b"the kernel"), (INITRD, b"initrd"), (CONSOLE_ARCHIVE, &[1]), (STDOUT, b"out"), (STDERR, b"")];
        for (name, content) in files {
            bundle.add(name, content).expect("added");
        }
        let mut bytes = Vec::new();
        let len = bundle.write(compression, &mut bytes).expect("written");
        assert_eq!(len, bytes.len() as u64);
        bytes
    }

    /// Entries of a bundle (header and content), to assemble modified bundles.
    fn entries() -> Vec<(tar::Header, Vec<u8>)> {
        entries_of(&bundle(Compression::None))
    }

    fn entries_of(bytes: &[u8]) -> Vec<(tar::Header, Vec<u8>)> {
        let mut tar = tar::Archive::new(bytes);
        let entries = tar.entries().expect("an archive");
        entries
            .map(|entry| {
                let mut entry = entry.expect("an entry");
                let mut content = Vec::new();
                entry.read_to_end(&mut content).expect("its content");
                (entry.header().clone(), content)
            })
            .collect()
    }

    fn archive(entries: &[(tar::Header, Vec<u8>)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (header, content) in entries {
            let mut header = header.clone();
            header.set_cksum();
            tar.append(&header, &content[..]).expect("appended");
        }
        tar.into_inner().expect("an archive")
    }

    #[track_caller]
    fn refused(bytes: &[u8]) -> String {
        let error = read(&mut file(bytes)).expect_err("refused");
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        format!("{error}{cause}")
    }

    #[test]
    fn bundles_are_reproducible_and_readable_with_every_compression() {
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let bytes = bundle(compression);
            assert_eq!(bytes, bundle(compression), "{compression:?}");
            let mut file = file(&bytes);
            assert!(is_bundle(&mut file).expect("read"), "{compression:?}");
            let mut read = read(&mut file).expect("a bundle");
            assert_eq!(read.files.len(), 7);
            for (name, expected) in [("kernel", "the kernel"), ("initrd", "initrd"), ("expected/stdout", "out")] {
                let mut content = String::new();
                read.files.get_mut(name).expect(name).read_to_string(&mut content).expect("text");
                assert_eq!(content, expected);
            }
            let path = read.path("kernel").expect("a path");
            assert_eq!(std::fs::read(path).expect("a file"), b"the kernel");
        }
    }

    #[test]
    fn other_files_are_not_detected_as_bundles() {
        let other = {
            let mut tar = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_ustar();
            header.set_size(0);
            tar.append_data(&mut header, "x/manifest.json", &b""[..]).expect("appended");
            tar.into_inner().expect("an archive")
        };
        let long = vec![b'x'; 4096];
        for bytes in [&b""[..], b"#!/bin/sh\n", b"\x7fELF", b"\x28\xb5\x2f\xfdnot", b"\x1f\x8b", &other, &long] {
            assert!(!is_bundle(&mut file(bytes)).expect("read"));
            read(&mut file(bytes)).expect_err("refused");
        }
    }

    #[test]
    fn changed_added_and_removed_entries_are_refused() {
        let all = entries();
        assert!(read(&mut file(&archive(&all))).is_ok(), "unchanged");
        let at =
            |name: &str| all.iter().position(|(header, _)| header.path_bytes().ends_with(name.as_bytes())).expect(name);
        let with = |name: &str, change: &dyn Fn(&mut tar::Header, &mut Vec<u8>)| {
            let mut changed = all.clone();
            let (header, content) = &mut changed[at(name)];
            change(header, content);
            refused(&archive(&changed))
        };
        let digest = with("kernel", &|_, content| content[0] ^= 1);
        assert!(digest.contains("kernel: SHA-256 differs from the manifest"), "{digest}");
        let json = with("manifest.json", &|_, content| content[5] ^= 1);
        assert!(json.contains("does not match the directory"), "{json}");
        for kind in [tar::EntryType::Symlink, tar::EntryType::Link, tar::EntryType::Char, tar::EntryType::Directory] {
            let error = with("initrd", &|header, _| {
                header.set_entry_type(kind);
                header.set_link_name("/etc/passwd").expect("short");
            });
            assert!(error.contains("not a regular file"), "{kind:?} {error}");
        }
        let shorter = with("kernel", &|header, content| {
            content.pop();
            header.set_size(content.len() as u64);
        });
        assert!(shorter.contains("length 9, expected 10"), "{shorter}");
        for name in ["/etc/passwd", "../x", "x/../../y", "bootling-000000000000/kernel", "kernel"] {
            let error = with("kernel", &|header, _| {
                header.as_ustar_mut().expect("ustar").name = [0; 100];
                header.as_ustar_mut().expect("ustar").name[..name.len()].copy_from_slice(name.as_bytes());
            });
            assert!(error.contains("not listed in the manifest"), "{name} {error}");
        }
        let long = with("kernel", &|header, _| header.set_entry_type(tar::EntryType::GNULongName));
        assert!(long.contains("not a regular file"), "{long}");
        let twice: Vec<_> = all.iter().chain(&all[all.len() - 1..]).cloned().collect();
        assert!(refused(&archive(&twice)).contains("duplicate entry"));
        assert!(refused(&archive(&all[..all.len() - 1])).contains("missing file kernel"));
        assert!(refused(&archive(&all[1..])).contains("the first entry is not a manifest"));
    }

    /// A bundle with a changed manifest and the directory name that matches it.
    fn saying(change: impl Fn(&mut serde_json::Value)) -> Vec<u8> {
        let mut all = entries();
        let mut json: serde_json::Value = serde_json::from_slice(&all[0].1).expect("JSON");
        change(&mut json);
        let bytes = serde_json::to_vec(&json).expect("JSON");
        let directory = super::directory_name(&bytes);
        for (header, _) in &mut all {
            let path = String::from_utf8(header.path_bytes().into_owned()).expect("text");
            let (_, name) = path.split_once('/').expect("below a directory");
            header.set_path(format!("{directory}/{name}")).expect("short");
        }
        all[0].0.set_size(bytes.len() as u64);
        all[0].1 = bytes;
        archive(&all)
    }

    #[test]
    fn a_script_that_does_not_match_the_manifest_is_detected() {
        let is_own = |bytes: &[u8]| read(&mut file(bytes)).expect("a bundle").has_generated_script().expect("read");
        assert!(is_own(&bundle(Compression::Zstd)));
        assert!(!is_own(&saying(|json| json["qemu"]["line"] = ["qemu", "-S"].as_slice().into())));
        let without = saying(|json| drop(json["files"].as_object_mut().expect("a map").remove("run.sh")));
        let mut all = entries_of(&without);
        all.retain(|(header, _)| !header.path_bytes().ends_with(b"run.sh"));
        assert!(is_own(&archive(&all)));
    }

    #[test]
    fn an_invalid_manifest_is_refused_before_any_file_is_unpacked() {
        assert!(read(&mut file(&saying(|_| {}))).is_ok());
        let error = refused(&saying(|json| json["files"]["kernel"]["bytes"] = (1_u64 << 40).into()));
        assert!(error.contains("exceeds the limit of 2048 MiB"), "{error}");
        let error = refused(&saying(|json| json["files"]["../../etc/cron.d/x"] = json["files"]["kernel"].clone()));
        assert!(error.contains("unknown file name"), "{error}");
        let error = refused(&saying(|json| json["version"] = 2.into()));
        assert!(error.contains("version 2, expected 1"), "{error}");
        let error = refused(&saying(|json| drop(json["files"].as_object_mut().expect("a map").remove("initrd"))));
        assert!(error.contains("missing file initrd"), "{error}");
        let error = refused(&saying(|json| json["machine"] = "q35".into()));
        assert!(error.contains("failed to parse the manifest: invalid type"), "{error}");
    }

    #[test]
    fn listing_a_large_bundle_is_bounded_and_zeros_take_no_memory() {
        const SIZE: u64 = 1 << 20;
        let mut bundle = Bundle { manifest: manifest(), files: <_>::default(), unchecked: Vec::new() };
        let zeros = tempfile::tempfile().expect("a file");
        zeros.set_len(SIZE).expect("a hole");
        bundle.files.insert(KERNEL.to_owned(), zeros);
        bundle.add(INITRD, b"initrd").expect("memory");
        let mut out = Vec::new();
        bundle.write(Compression::Zstd, &mut out).expect("written");
        let listed = super::read_some(&mut file(&out), &|name| name == SCRIPT, SIZE - 1).expect("a bundle");
        assert_eq!((&listed.unchecked[..], listed.files.len()), (&[KERNEL.to_owned()][..], 1));
        assert!(listed.has_generated_script().expect("read"));
        let mut last: Vec<_> = entries_of(&zstd::decode_all(&out[..]).expect("an archive"));
        let script = last.iter().position(|(header, _)| header.path_bytes().ends_with(b"run.sh")).expect("a script");
        let script = last.remove(script);
        last.push(script);
        let listed = super::read_some(&mut file(&archive(&last)), &|_| true, SIZE - 1).expect("a bundle");
        let warning = listed.script_warning().expect("read").expect("a script that was not read is not trusted");
        assert!(warning.starts_with("not checked"), "{warning}");
        let whole = read(&mut file(&out)).expect("a bundle");
        let kernel = whole.files[KERNEL].metadata().expect("a size");
        assert_eq!((kernel.len(), std::os::unix::fs::MetadataExt::blocks(&kernel)), (SIZE, 0));
    }

    #[test]
    fn a_decompression_bomb_is_refused_at_its_first_header() {
        let bomb = zstd::encode_all(std::io::repeat(0).take(1 << 30), 1).expect("packed");
        assert!(bomb.len() < 1 << 20);
        assert!(matches!(read(&mut file(&bomb)), Err(BundleError::NotABundle(_) | BundleError::Read(_))));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn every_change_to_a_bundle_is_detected_or_has_no_effect(changes in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..4)) {
            let whole = bundle(Compression::None);
            let mut bytes = whole.clone();
            for (at, byte) in changes {
                let at = usize::from(at) % bytes.len();
                bytes[at] = byte;
            }
            if let Ok(mut read) = read(&mut file(&bytes)) {
                let mut kernel = Vec::new();
                read.files.get_mut("kernel").expect("kernel").read_to_end(&mut kernel).expect("read");
                prop_assert_eq!(kernel, b"the kernel");
                prop_assert_eq!(read.manifest.machine, note());
            }
        }
    }
}
