//! Reads bundles into private memory and checks each file against the manifest.
//!
//! Refuses everything that [`super::write`] does not produce, before memory is allocated for it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, memfd_create};
use sha2::{Digest as _, Sha256};

use super::write::directory;
use super::{
    BundleError, FILE_BYTES, INITRD, KERNEL, MANIFEST, MANIFEST_BYTES, Manifest, NAMES, SCRIPT, VERSION, instructions,
};
use crate::format::measure::hex;

/// Prefix of the top directory.
const DIRECTORY: &str = "bootling-";
/// Size of a tar block.
const BLOCK: usize = 512;

/// A bundle in memory.
#[derive(Debug)]
pub struct Bundle {
    /// Manifest.
    pub manifest: Manifest,
    /// Files by name.
    pub files: BTreeMap<String, File>,
}

impl Bundle {
    /// Returns a path to a file of the bundle, valid only in this process and for the lifetime of the bundle.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.files.get(name).map(|file| PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())))
    }

    /// Returns true if the script is missing or equals the script generated from the manifest. Any other script is
    /// untrusted.
    pub fn has_own_script(&self) -> io::Result<bool> {
        let Some(script) = self.files.get(SCRIPT) else { return Ok(true) };
        let own = instructions::script(&self.manifest).into_bytes();
        if script.metadata()?.len() != own.len() as u64 {
            return Ok(false);
        }
        let mut bytes = vec![0; own.len()];
        script.read_exact_at(&mut bytes, 0)?;
        Ok(bytes == own)
    }
}

/// Returns true if a file starts like a bundle. Rewinds the file.
pub fn is_bundle(file: &mut File) -> io::Result<bool> {
    let mut head = Vec::new();
    // A file that fails to decompress is not a bundle; the caller treats it as something else.
    let begins = match unpacked(file) {
        Ok(reader) => reader.take(BLOCK as u64).read_to_end(&mut head).is_ok(),
        Err(_) => false,
    };
    file.seek(SeekFrom::Start(0))?;
    let name = head.split(|byte| *byte == 0).next().unwrap_or_default();
    let is_ours = name.starts_with(DIRECTORY.as_bytes()) && name.ends_with(format!("/{MANIFEST}").as_bytes());
    Ok(begins && head.len() == BLOCK && is_ours && &head[257..262] == b"ustar")
}

/// Returns a reader of the tar archive in a plain or compressed file.
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

/// Reads a whole bundle from a seekable file.
pub fn read(file: &mut File) -> Result<Bundle, BundleError> {
    let mut tar = tar::Archive::new(unpacked(file).map_err(BundleError::Read)?);
    // Raw: format extensions, such as long names, are returned as entries and refused.
    let mut entries = tar.entries().map_err(BundleError::Read)?.raw(true);
    let first = entries.next().ok_or(BundleError::NoBundle("empty archive"))?.map_err(BundleError::Read)?;
    let (directory, manifest) = manifest(first)?;
    let mut files = BTreeMap::new();
    for entry in entries {
        let entry = entry.map_err(BundleError::Read)?;
        let (name, bytes) = named(&entry)?;
        let wrong = |what: &str| BundleError::Entry { name: name.clone(), what: what.to_owned() };
        let known = name.strip_prefix(&directory).and_then(|name| name.strip_prefix('/'));
        let known = known.and_then(|known| manifest.files.get_key_value(known));
        let Some((known, digested)) = known else { return Err(wrong("not listed in the manifest")) };
        if bytes != digested.bytes {
            return Err(wrong(&format!("length {bytes}, expected {} from the manifest", digested.bytes)));
        }
        if files.contains_key(known) {
            return Err(wrong("duplicate entry"));
        }
        let (file, sha256) = keep(entry).map_err(BundleError::Read)?;
        if sha256 != digested.sha256 {
            return Err(wrong("SHA-256 differs from the manifest"));
        }
        files.insert(known.clone(), file);
    }
    if let Some(missing) = manifest.files.keys().find(|name| !files.contains_key(*name)) {
        return Err(BundleError::Missing(missing.clone()));
    }
    Ok(Bundle { manifest, files })
}

/// Part common to all manifest versions.
#[derive(serde::Deserialize)]
struct Version {
    version: u64,
}

/// Reads the manifest; returns the directory of all entries, too.
fn manifest(entry: tar::Entry<'_, impl Read>) -> Result<(String, Manifest), BundleError> {
    const NONE: BundleError = BundleError::NoBundle("the first entry is not a manifest");
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
    // Other versions may have different fields.
    let Version { version } = serde_json::from_slice(&json).map_err(BundleError::Manifest)?;
    if version != VERSION {
        return Err(BundleError::Version(version));
    }
    let manifest: Manifest = serde_json::from_slice(&json).map_err(BundleError::Manifest)?;
    if let Some(name) = manifest.files.keys().find(|name| !NAMES.contains(&name.as_str())) {
        let what = "unknown file name".to_owned();
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

/// Returns the name and length of a regular file's entry.
fn named(entry: &tar::Entry<'_, impl Read>) -> Result<(String, u64), BundleError> {
    let header = entry.header();
    let name = String::from_utf8_lossy(&header.path_bytes()).into_owned();
    let wrong = |what: &str| BundleError::Entry { name: name.escape_debug().to_string(), what: what.to_owned() };
    if !header.entry_type().is_file() {
        return Err(wrong("not a regular file"));
    }
    let bytes = header.entry_size().map_err(|_| wrong("invalid length"))?;
    if bytes > FILE_BYTES { Err(wrong("too large")) } else { Ok((name, bytes)) }
}

/// Reads an entry into memory; returns the file, rewound, and its digest.
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

#[cfg(test)]
mod tests {
    use super::{is_bundle, read};
    use crate::regress::bundle::machine::tests::note;
    use crate::regress::bundle::{BundleError, Contents, KernelNote, Manifest, Packing, QemuNote, VERSION, write};
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
            kernel: KernelNote { origin: "vmlinuz".to_owned(), release: None, is_elf: false },
            machine: note(),
            health: <_>::default(),
            qemu: QemuNote { program: "qemu".to_owned(), version: "1".to_owned(), line: vec!["qemu".to_owned()] },
            expected: None,
            files: <_>::default(),
        }
    }

    fn contents(kernel: &[u8]) -> Contents {
        let outputs = Some([b"out".to_vec(), Vec::new()]);
        Contents { kernel: file(kernel), initrd: file(b"initrd"), on_console: vec![1], outputs, console: None }
    }

    fn bundle(packing: Packing) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(manifest(), &contents(b"the kernel"), packing, &mut bytes).expect("written");
        bytes
    }

    /// Entries of a bundle (header and content), to assemble modified bundles.
    fn entries() -> Vec<(tar::Header, Vec<u8>)> {
        entries_of(&bundle(Packing::None))
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
        for packing in [Packing::None, Packing::Gzip, Packing::Zstd] {
            let bytes = bundle(packing);
            assert_eq!(bytes, bundle(packing), "{packing:?}");
            let mut file = file(&bytes);
            assert!(is_bundle(&mut file).expect("read"), "{packing:?}");
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
        let directory = super::directory(&bytes);
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
        let is_own = |bytes: &[u8]| read(&mut file(bytes)).expect("a bundle").has_own_script().expect("read");
        assert!(is_own(&bundle(Packing::Zstd)));
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
    fn a_decompression_bomb_is_refused_at_its_first_header() {
        let bomb = zstd::encode_all(std::io::repeat(0).take(1 << 30), 1).expect("packed");
        assert!(bomb.len() < 1 << 20);
        assert!(matches!(read(&mut file(&bomb)), Err(BundleError::NoBundle(_) | BundleError::Read(_))));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn every_change_to_a_bundle_is_detected_or_has_no_effect(changes in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..4)) {
            let whole = bundle(Packing::None);
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
