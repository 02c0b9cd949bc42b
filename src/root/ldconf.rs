//! `/etc/ld.so.conf`: the directories that ldconfig searches, for roots whose cache cannot be trusted.
//!
//! `elf/ldconfig.c`, `parse_conf`: one directory per line, `#` comments, `include PATTERN` relative to the file,
//! obsolete `hwcap` lines and `DIR=TYPE` entries. Includes are followed up to eight levels deep.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::directory::Root;
use super::glob;
use crate::format::archive_path::ArchivePath;

const MAX_DEPTH: u32 = 8;
const MAX_SIZE: u64 = 1 << 20;

/// Returns the configured directories in order. Unreadable files are skipped, as ldconfig does.
pub(crate) fn directories(root: &Root) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    read(root, &ArchivePath::new("/etc/ld.so.conf"), MAX_DEPTH, &mut found);
    found
}

fn read(root: &Root, path: &ArchivePath, depth: u32, found: &mut Vec<Vec<u8>>) {
    let Ok(bytes) = root.read(path, MAX_SIZE) else {
        return;
    };
    for line in bytes.split(|byte| *byte == b'\n') {
        let line = line.split(|byte| *byte == b'#').next().unwrap_or_default().trim_ascii();
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        match words.next() {
            Some(b"include") => {
                for pattern in words {
                    include(root, path, pattern, depth, found);
                }
            }
            None | Some(b"hwcap") => {}
            Some(_) if line.starts_with(b"/") => {
                let dir = line.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii_end();
                found.push(dir.to_vec());
            }
            Some(_) => {}
        }
    }
}

fn include(root: &Root, from: &ArchivePath, pattern: &[u8], depth: u32, found: &mut Vec<Vec<u8>>) {
    let Some(depth) = depth.checked_sub(1) else {
        return;
    };
    let pattern = from.parent().unwrap_or_default().join(OsStr::from_bytes(pattern));
    for path in glob::expand(root, &pattern).unwrap_or_default() {
        read(root, &path, depth, found);
    }
}

#[cfg(test)]
mod tests {
    use super::directories;
    use crate::root::directory::Root;
    use std::fs;

    #[test]
    fn includes_are_relative_to_their_file_and_cannot_loop() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let etc = dir.path().join("etc/ld.so.conf.d");
        fs::create_dir_all(&etc).expect("directories");
        fs::write(dir.path().join("etc/ld.so.conf"), "include ld.so.conf.d/*.conf\n/last # word\n").expect("a file");
        fs::write(etc.join("b.conf"), "/opt/b/lib=libc6\nhwcap 0 nosegneg\n\trelative\n").expect("a file");
        fs::write(etc.join("a.conf"), "# comment\n  /opt/a lib\ninclude /etc/ld.so.conf.d/c.loop\n").expect("a file");
        fs::write(etc.join("c.loop"), "include c.loop\n/opt/c\n").expect("a file");
        let root = Root::new(dir.path()).expect("a root");
        let mut found = directories(&root);
        assert_eq!(found.last().map(Vec::as_slice), Some(b"/last".as_slice()));
        found.dedup();
        assert_eq!(found, [b"/opt/a lib".as_slice(), b"/opt/c", b"/opt/b/lib", b"/last"]);
    }
}
