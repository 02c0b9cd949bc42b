//! busybox, and the names of its applets, read out of the binary: it is never run.
//!
//! `applet_names` (`include/applet_tables.h`, made by `applets/applet_tables.c`) is one array of NUL-terminated names in
//! strict byte order, since busybox searches it by halves, closed by an empty name. The longest such run that has `sh` is it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;

use crate::resolve::binary::{Binaries, Binary};
use crate::resolve::elf::ElfError;
use crate::resolve::fact::{Node, Why};
use crate::resolve::gather::Gathered;
use crate::resolve::pages::Source;
use crate::resolve::path::SearchPath;
use crate::resolve::root::Root;
use crate::resolve::userland_error::UserlandError;
use crate::spec::ArchivePath;

/// Far larger than any busybox.
const MAX_SIZE: u64 = 64 << 20;
/// `MAX_APPLET_NAME_LEN` in `applets/applet_tables.c`.
const MAX_NAME: usize = 31;
/// A run this short is some other list.
const MIN_APPLETS: usize = 3;

/// A busybox, found.
#[derive(Debug)]
pub struct Busybox {
    /// By the name it was found by; its links are not followed.
    pub path: ArchivePath,
    /// Names of its applets, sorted by bytes.
    pub applets: Vec<OsString>,
    /// The directory its links go to, free of links itself.
    dir: ArchivePath,
    /// What the links there point at.
    target: Vec<u8>,
}

impl Busybox {
    /// Looks for it in the root's PATH.
    pub fn find(root: &Root, path: &SearchPath<'_>, binaries: &Binaries<'_>) -> Result<Self, UserlandError> {
        let Some(found) = path.find(OsStr::new("busybox")) else {
            return Err(UserlandError::NoBusybox { tried: path.tried() });
        };
        let resolved = root.resolve(&found)?;
        let host = root.host_path(&resolved.real);
        let no_applets = || UserlandError::NoApplets { path: host.clone() };
        let Binary::Elf(elf) = binaries.get(&resolved.real)? else {
            return Err(UserlandError::NotAProgram { path: host, why: "it is no ELF file" });
        };
        let io = |source| ElfError::Io { path: host.clone(), source };
        let file = File::open(&host).map_err(io)?;
        let whole = (0, file.length().map_err(io)?);
        // The table is constant data: look there first, a fifth of the file.
        let mut applets = Vec::new();
        for (offset, length) in elf.constants.iter().copied().chain([whole]) {
            let mut bytes = vec![0; usize::try_from(length.min(MAX_SIZE)).unwrap_or(0)];
            let count = file.read_some(&mut bytes, offset).map_err(io)?;
            applets = names(bytes.get(..count).unwrap_or_default());
            if !applets.is_empty() {
                break;
            }
        }
        if applets.is_empty() {
            return Err(no_applets());
        }
        let (dir, target) = if path.in_guest(&found) {
            let dir = root.resolve(&found.parent().unwrap_or_default())?.real;
            (dir, found.file_name().as_bytes().to_vec())
        } else {
            let standard = ArchivePath::new("/usr/bin");
            (
                root.find(&standard).map_or(standard, |found| found.real),
                found.to_absolute().as_os_str().as_bytes().to_vec(),
            )
        };
        Ok(Self { path: found, applets, dir, target })
    }

    /// True where `name` is one of its applets.
    pub fn has(&self, name: &OsStr) -> bool {
        self.applets.binary_search_by(|applet| applet.as_bytes().cmp(name.as_bytes())).is_ok()
    }

    /// Links for all applets but those that would stand before a program of the same name, and `/bin/sh` in any case.
    pub fn links(&self, root: &Root, path: &SearchPath<'_>, out: &mut Gathered<'_>) {
        let taken: std::collections::HashSet<OsString> = {
            let facts = out.facts().iter().filter(|fact| !matches!(fact.node, Node::Dir { .. }));
            facts.filter(|fact| path.in_guest(&fact.path)).map(|fact| fact.path.file_name().to_owned()).collect()
        };
        for applet in &self.applets {
            if !taken.contains(applet) {
                let link = Node::Symlink { target: self.target.clone() };
                out.add(self.dir.join(applet), link, Why::Applet);
            }
        }
        if self.has(OsStr::new("sh")) {
            self.link(root, &ArchivePath::new("/bin/sh"), out);
        }
    }

    /// Makes sure that the applet named by `path` is found at that very path.
    pub fn link(&self, root: &Root, path: &ArchivePath, out: &mut Gathered<'_>) {
        let dir = path.parent().unwrap_or_default();
        let dir = root.find(&dir).map_or(dir, |found| found.real);
        let target =
            if dir == self.dir { self.target.clone() } else { self.path.to_absolute().as_os_str().as_bytes().to_vec() };
        out.add(dir.join(path.file_name()), Node::Symlink { target }, Why::Applet);
    }
}

/// A run of names in strict order.
#[derive(Clone, Copy, Default)]
struct Run {
    start: usize,
    end: usize,
    count: usize,
    has_shell: bool,
}

/// The applets named in `bytes`; none where no table is there.
fn names(bytes: &[u8]) -> Vec<OsString> {
    let mut best = Run::default();
    let mut run = Run::default();
    let mut previous: &[u8] = b"";
    let mut at = 0;
    for word in bytes.split(|byte| *byte == 0) {
        let goes_on = is_name(word) && (run.count == 0 || previous < word);
        if !goes_on {
            if run.has_shell && run.count > best.count {
                best = run;
            }
            run = Run { start: at, ..Run::default() };
        }
        if is_name(word) {
            run.count += 1;
            run.end = at + word.len();
            run.has_shell |= word == b"sh";
            previous = word;
        }
        at += word.len() + 1;
    }
    if run.has_shell && run.count > best.count {
        best = run;
    }
    if best.count < MIN_APPLETS {
        return Vec::new();
    }
    let table = bytes.get(best.start..best.end).unwrap_or_default();
    let words: Vec<&[u8]> = table.split(|byte| *byte == 0).collect();
    // No applet sorts before `[`: whatever does only happens to stand in front of the table.
    let first = words.iter().position(|word| *word == b"[").unwrap_or(0);
    words.into_iter().skip(first).map(|word| OsStr::from_bytes(word).to_owned()).collect()
}

fn is_name(word: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'+');
    matches!(word, b"[" | b"[[") || ((1..=MAX_NAME).contains(&word.len()) && word.iter().all(plain))
}

#[cfg(test)]
mod tests {
    use super::names;

    fn found(bytes: &[u8]) -> Vec<String> {
        names(bytes).iter().map(|name| name.display().to_string()).collect()
    }

    #[test]
    fn the_table_is_found_among_other_strings() {
        let bytes = b"\x7fELF\0\0a\0b\0c\0d\0e\0sp ace\0XYZ\0[\0[[\0ash\0sh\0wc\0\0aaa\0bbb\0";
        assert_eq!(found(bytes), ["[", "[[", "ash", "sh", "wc"]);
        assert_eq!(found(b"zz\0cat\0sh\0true\0\0"), ["cat", "sh", "true"]);
        assert_eq!(found(b"cat\0ls\0sh"), ["cat", "ls", "sh"], "a table that ends the file");
    }

    #[test]
    fn without_a_shell_or_with_too_few_names_there_is_no_table() {
        assert!(found(b"cat\0dd\0ls\0").is_empty());
        assert!(found(b"b\0sh\0").is_empty());
        assert!(found(b"").is_empty());
    }
}
