//! busybox, and the names of its applets, read out of the binary: it is never run.
//!
//! `applet_names` (`include/applet_tables.h`, made by `applets/applet_tables.c`) is one array of NUL-terminated names in
//! strict byte order, since busybox searches it by halves, closed by an empty name. The longest such run that has `sh` is it.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;

use memchr::memmem;

use super::binary::{Binaries, Binary};
use super::fact::{Node, Why};
use super::gather::Gathered;
use super::path::SearchPath;
use super::root::Root;
use super::userland_error::UserlandError;
use crate::format::archive_path::ArchivePath;
use crate::format::elf::ElfError;
use crate::format::pages::Source;

/// Far larger than any busybox.
const MAX_SIZE: u64 = 64 << 20;
/// `MAX_APPLET_NAME_LEN` in `applets/applet_tables.c`.
const MAX_NAME: usize = 31;
/// A run this short is some other list.
const MIN_APPLETS: usize = 3;

/// What no table is without.
const SHELL: &[u8] = b"sh";

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

/// The applets named in `bytes`; none where no table is there.
fn names(bytes: &[u8]) -> Vec<OsString> {
    // A table has a shell: what stands around each word that reads so is looked at, and nothing else.
    let shells = memmem::find_iter(bytes, SHELL).filter(|at| {
        let ends = bytes.get(at + SHELL.len()).is_none_or(|byte| *byte == 0);
        ends && (*at == 0 || bytes[at - 1] == 0)
    });
    let tables = shells.map(|at| table(bytes, at));
    // The first of equals: max_by_key would take the last.
    let longest = tables.reduce(|best, other| if other.len() > best.len() { other } else { best });
    let Some(words) = longest.filter(|words| words.len() >= MIN_APPLETS) else { return Vec::new() };
    // No applet sorts before `[`: whatever does only happens to stand in front of the table.
    let first = words.iter().position(|word| *word == b"[").unwrap_or(0);
    words.into_iter().skip(first).map(|word| OsStr::from_bytes(word).to_owned()).collect()
}

/// The names in strict order around the one that begins at `at`.
fn table(bytes: &[u8], at: usize) -> Vec<&[u8]> {
    let mut words: VecDeque<&[u8]> = VecDeque::from([SHELL]);
    let mut start = at;
    while let Some(end) = start.checked_sub(1) {
        // One byte more than a name may have tells a longer word from a name.
        let from = end.saturating_sub(MAX_NAME + 1);
        let before = &bytes[from..end];
        let word = &before[memchr::memrchr(0, before).map_or(0, |nul| nul + 1)..];
        if !is_name(word) || words.front().is_some_and(|next| word >= *next) {
            break;
        }
        words.push_front(word);
        start = end - word.len();
    }
    let mut end = at + SHELL.len();
    while let Some(rest) = bytes.get(end + 1..) {
        let rest = &rest[..rest.len().min(MAX_NAME + 1)];
        let word = &rest[..memchr::memchr(0, rest).unwrap_or(rest.len())];
        if !is_name(word) || words.back().is_some_and(|last| word <= *last) {
            break;
        }
        words.push_back(word);
        end += 1 + word.len();
    }
    words.into()
}

fn is_name(word: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'+');
    matches!(word, b"[" | b"[[") || ((1..=MAX_NAME).contains(&word.len()) && word.iter().all(plain))
}

#[cfg(test)]
mod tests {
    use super::{MIN_APPLETS, is_name, names};
    use proptest::collection::vec;
    use proptest::prelude::{ProptestConfig, prop_assert_eq, proptest};

    fn found(bytes: &[u8]) -> Vec<String> {
        names(bytes).iter().map(|name| name.display().to_string()).collect()
    }

    #[test]
    fn the_table_is_found_among_other_strings() {
        let bytes = b"\x7fELF\0\0a\0b\0c\0d\0e\0sp ace\0XYZ\0[\0[[\0ash\0sh\0wc\0\0aaa\0bbb\0";
        assert_eq!(found(bytes), ["[", "[[", "ash", "sh", "wc"]);
        assert_eq!(found(b"zz\0cat\0sh\0true\0\0"), ["cat", "sh", "true"]);
        assert_eq!(found(b"cat\0ls\0sh"), ["cat", "ls", "sh"], "a table that ends the file");
        assert_eq!(found(b"\0\0cat\0sh\0true\0\0"), ["cat", "sh", "true"], "an empty name is none");
        assert_eq!(found(b"sh\0tr\0wc\0\0ls\0sh\0wc\0x\0"), ["ls", "sh", "wc", "x"], "the longest of two");
        let long = [&[b'a'; 32][..], b"\0cat\0sh\0true\0", &[b'z'; 32]].concat();
        assert_eq!(found(&long), ["cat", "sh", "true"], "longer than any name");
    }

    /// The definition, word by word.
    fn slowly(bytes: &[u8]) -> Vec<String> {
        let words: Vec<&[u8]> = bytes.split(|byte| *byte == 0).collect();
        let runs = words.chunk_by(|one, next| is_name(one) && is_name(next) && one < next);
        let runs = runs.filter(|run| run.iter().any(|word| *word == b"sh") && run.len() >= MIN_APPLETS);
        let best = runs.reduce(|best, run| if run.len() > best.len() { run } else { best }).unwrap_or_default();
        let first = best.iter().position(|word| *word == b"[").unwrap_or(0);
        best[first..].iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn the_quick_way_finds_what_the_slow_one_does(words in vec("[a\\[]|sh|[a-z]{0,3}|z{31,33}|s h", 0..40)) {
            let bytes = words.join("\0");
            prop_assert_eq!(found(bytes.as_bytes()), slowly(bytes.as_bytes()));
        }
    }

    #[test]
    fn without_a_shell_or_with_too_few_names_there_is_no_table() {
        assert!(found(b"cat\0dd\0ls\0").is_empty());
        assert!(found(b"b\0sh\0").is_empty());
        assert!(found(b"").is_empty());
    }
}
