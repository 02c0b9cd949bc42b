//! Installs the selftests of a kernel tree into the cache, with the tree's own makefiles.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::{ImportError, shell};
use crate::cache::{Cache, Key, Sealing};
use crate::process::shell::{Build, Built};
use crate::process::signals::Signals;

/// Directory of the selftests in a kernel tree.
const SELFTESTS: &str = "tools/testing/selftests";
/// Cache key; its number is increased when the installation changes.
const KIND: &str = "kselftest 1";
/// Limit of lines of a failed build that are shown.
const MAX_LINES: usize = 20;
/// Size of the end of a build's output that is searched for these lines, bytes.
const TAIL: u64 = 16 << 10;

/// Returns true for a kernel tree with selftests.
pub fn is_kernel_tree(tree: &Path) -> bool {
    tree.join(SELFTESTS).join("Makefile").is_file()
}

/// Returns the commands that build and install collections, or all of them if the list is empty.
fn command(tree: &Path, into: &Path, collections: &[String]) -> String {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let selftests = tree.join(SELFTESTS);
    let (tree_text, selftests) = (tree.to_string_lossy(), selftests.to_string_lossy());
    let (jobs, install) = (format!("-j{jobs}"), format!("INSTALL_PATH={}", into.display()));
    let targets = format!("TARGETS={}", collections.join(" "));
    let mut words = vec!["make", "-s", &jobs, "-C", &selftests, "install", &install];
    if !collections.is_empty() {
        words.push(&targets);
    }
    let install = shell(&words);
    // The tests are compiled with the tree's user-space headers.
    if tree.join("usr/include/linux").is_dir() {
        return install;
    }
    format!("{} && {install}", shell(&["make", "-s", &jobs, "-C", &tree_text, "headers"]))
}

/// Builds and installs collections. Returns the installed tree. `shows_output`: the output of make goes to standard
/// error instead of a file whose end is part of the error.
pub fn install(tree: &Path, collections: &[String], cache: &Cache, shows_output: bool) -> Result<PathBuf, ImportError> {
    let failed = |source| ImportError::Io { path: tree.to_owned(), source };
    let tree = tree.canonicalize().map_err(failed)?;
    let key = Key::of(KIND, &[tree.as_os_str().as_encoded_bytes(), collections.join(" ").as_bytes()]);
    // make finds out what has changed.
    cache.discard(&key)?;
    cache.tree(&key, Sealing::Contents, |into| {
        let mut signals = Signals::catch().map_err(failed)?;
        let log = if shows_output { None } else { Some(tempfile::tempfile().map_err(failed)?) };
        let line = OsString::from(command(&tree, into, collections));
        let build = Build { line: &line, directory: &tree, limit: None, kept: log.as_ref() };
        let why = match build.run(&mut signals).map_err(failed)? {
            Built::Done => return Ok(()),
            Built::Failed(why) => why,
            Built::Interrupted(signal) => return Err(ImportError::Interrupted(signal)),
        };
        let end = log.map(|log| last_lines(log).unwrap_or_default()).unwrap_or_default();
        Err(ImportError::Build { why, command: line.to_string_lossy().into_owned(), end })
    })
}

/// Returns the last lines of a build's output, each after a line feed.
fn last_lines(mut log: File) -> io::Result<String> {
    let length = log.seek(SeekFrom::End(0))?;
    log.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    log.read_to_end(&mut bytes)?;
    let text = crate::format::guest_text::text(&String::from_utf8_lossy(&bytes)).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(MAX_LINES)..];
    Ok(last.iter().flat_map(|line| ["\n  | ", line]).collect())
}

#[cfg(test)]
mod tests {
    use super::{install, is_kernel_tree};
    use crate::cache::Cache;
    use std::fs;

    #[test]
    fn a_kernel_tree_is_installed_into_the_cache_and_a_failure_shows_the_end_of_the_output() {
        let dir = tempfile::tempdir().expect("a directory");
        let cache = Cache::at(dir.path().join("cache"), 1 << 20).expect("a cache");
        let tree = dir.path().join("linux");
        let selftests = tree.join("tools/testing/selftests");
        assert!(!is_kernel_tree(&tree));
        fs::create_dir_all(&selftests).expect("a directory");
        fs::write(tree.join("Makefile"), "headers:\n\tmkdir -p usr/include/linux\n").expect("a file");
        let makefile = "install:\n\ttest -d ../../../usr/include/linux\n\techo $(TARGETS) > $(INSTALL_PATH)/list\n";
        fs::write(selftests.join("Makefile"), makefile).expect("a file");
        assert!(is_kernel_tree(&tree));
        let installed = install(&tree, &["timers".to_owned(), "net".to_owned()], &cache, false).expect("installed");
        assert_eq!(fs::read_to_string(installed.join("list")).expect("a list"), "timers net\n");
        fs::write(selftests.join("Makefile"), "install:\n\t@echo no compiler; exit 3\n").expect("a file");
        let error = install(&tree, &[], &cache, false).expect_err("failed").to_string();
        assert!(error.starts_with("failed to install the selftests: exit 2\n  make -s "), "{error}");
        assert!(error.contains("\n  | no compiler\n"), "{error}");
    }
}
