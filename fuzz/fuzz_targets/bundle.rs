//! Arbitrary bytes as a bundle: reading terminates in bounded memory without a panic, and accepts only valid bundles.

#![no_main]

use std::fs::File;
use std::io::Write;

use bootling::regress::bundle::{inspect, is_bundle, read};
use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};

/// Size of a tar block.
const BLOCK: usize = 512;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    let mut matching = bytes.to_vec();
    if match_digests(&mut matching).is_some() {
        check(&matching);
    }
});

fn check(bytes: &[u8]) {
    let mut file: File = tempfile::tempfile().expect("a file");
    file.write_all(bytes).expect("written");
    drop(is_bundle(&mut file));
    drop(inspect(&mut file));
    match read(&mut file) {
        Ok(bundle) => {
            assert!(bundle.path("kernel").is_some() && bundle.path("initrd").is_some());
            let machine = &bundle.manifest.machine;
            assert!(machine.boot_spec(false).is_err() || machine.privileged_arguments().is_empty());
            let _ = bundle.script_warning();
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Makes the lengths and digests in a mutated tar archive match, without which every mutation stops at the first check:
/// those of the files in the manifest, that of the manifest in the name of the directory, and the headers' checksums.
fn match_digests(tar: &mut Vec<u8>) -> Option<()> {
    let entries = entries(tar);
    let (_, first) = entries.first()?.clone();
    let mut manifest = tar[first.clone()].to_vec();
    if let Ok(mut json) = serde_json::from_slice::<serde_json::Value>(&manifest) {
        for (header, content) in &entries[1..] {
            let name = tar[*header..*header + 100].split(|byte| *byte == 0).next().unwrap_or_default();
            let name = String::from_utf8_lossy(name).into_owned();
            let file = name.split_once('/').and_then(|(_, name)| json.get_mut("files")?.get_mut(name));
            if let Some(file) = file.and_then(|file| file.as_object_mut()) {
                file.insert("bytes".to_owned(), content.len().into());
                file.insert("sha256".to_owned(), hex(&tar[content.clone()]).into());
            }
        }
        manifest = serde_json::to_vec(&json).ok()?;
    }
    let mut new = tar[..BLOCK].to_vec();
    new[124..136].copy_from_slice(format!("{:011o}\0", manifest.len()).as_bytes());
    new.extend_from_slice(&manifest);
    new.resize(new.len().next_multiple_of(BLOCK), 0);
    new.extend_from_slice(tar.get(first.end.next_multiple_of(BLOCK)..).unwrap_or_default());
    let directory = format!("bootling-{}", &hex(&manifest)[..12]);
    for (header, _) in self::entries(&new) {
        let header = &mut new[header..header + BLOCK];
        if header[directory.len()] == b'/' {
            header[..directory.len()].copy_from_slice(directory.as_bytes());
        }
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    *tar = new;
    Some(())
}

/// Returns the offsets of the headers, and the contents.
fn entries(tar: &[u8]) -> Vec<(usize, std::ops::Range<usize>)> {
    let (mut entries, mut at) = (Vec::new(), 0);
    while let Some(header) = tar.get(at..at + BLOCK).filter(|header| header[0] != 0) {
        let digits = String::from_utf8_lossy(&header[124..135]);
        let start = at + BLOCK;
        let len = usize::from_str_radix(digits.trim(), 8).unwrap_or(0).min(tar.len() - start);
        entries.push((at, start..start + len));
        at = (start + len).next_multiple_of(BLOCK);
    }
    entries
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
