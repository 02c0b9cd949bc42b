//! Files named in arguments of QEMU's command line.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Returns the existing files that these arguments name: directly, as a property value (`file=disk.img`), or after a
/// protocol or filter prefix (`file:disk.img`, `blkdebug::disk.img`).
pub fn files<'a>(words: impl IntoIterator<Item = &'a OsString>) -> Vec<PathBuf> {
    let properties = words.into_iter().flat_map(|word| properties(word.as_bytes()));
    let candidates = properties.flat_map(|property| {
        let value = after(&property, b'=').unwrap_or(&property).to_vec();
        let inner = after(&value, b':').map(|inner| inner.strip_prefix(b":").unwrap_or(inner).to_vec());
        [Some(value), inner]
    });
    let paths = candidates.flatten().map(|name| PathBuf::from(OsStr::from_bytes(&name)));
    paths.filter(|path| path.is_file()).collect()
}

/// Returns the bytes after the first `mark`.
fn after(bytes: &[u8], mark: u8) -> Option<&[u8]> {
    bytes.iter().position(|byte| *byte == mark).map(|at| &bytes[at + 1..])
}

/// Splits at commas; a doubled comma is part of a value (`util/keyval.c`).
fn properties(word: &[u8]) -> Vec<Vec<u8>> {
    let mut parts = vec![Vec::new()];
    let mut bytes = word.iter().peekable();
    while let Some(byte) = bytes.next() {
        if *byte == b',' && bytes.next_if_eq(&&b',').is_none() {
            parts.push(Vec::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(*byte);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::files;
    use std::ffi::OsString;
    use std::fs;

    #[test]
    fn files_are_found_in_all_forms_of_arguments() {
        let directory = tempfile::tempdir().expect("a directory");
        let [plain, odd] = ["disk.img", "a,b=c.img"].map(|name| directory.path().join(name));
        for path in [&plain, &odd] {
            fs::write(path, "").expect("a file");
        }
        let here = directory.path().display();
        for (word, path) in [
            (format!("{here}/disk.img"), &plain),
            (format!("if=none,file={here}/disk.img,id=d"), &plain),
            (format!("file=file:{here}/disk.img"), &plain),
            (format!("file=blkdebug::{here}/disk.img"), &plain),
            (format!("file={here}/a,,b=c.img,format=raw"), &odd),
        ] {
            assert_eq!(files(&[OsString::from(&word)]), std::slice::from_ref(path), "{word}");
        }
        assert_eq!(files(&[OsString::from(format!("file={here}/missing"))]), [""; 0].map(std::path::PathBuf::from));
    }
}
