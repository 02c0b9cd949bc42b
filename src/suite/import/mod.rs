//! Manifests for existing test suites. Each suite's own list becomes the text of a manifest, which is parsed and
//! planned like a written one and can be printed for editing.

pub mod install;
pub mod kselftest;
pub mod kunit;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::manifest::is_name_letter;
use crate::cache::CacheError;
use crate::guest::VmError;
use crate::qemu::argv::shell_line;
use crate::root::kernel::KernelError;
use crate::root::modules::ModuleError;

/// Failure to read a suite.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file cannot be read.
    #[error("failed to read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The directory does not contain such a suite.
    #[error("{} is not {kind}: {} not found", directory.display(), expected)]
    NoSuite {
        /// The directory.
        directory: PathBuf,
        /// Kind of suite, with its article.
        kind: &'static str,
        /// File that is missing.
        expected: &'static str,
    },
    /// A line of a list violates a rule.
    #[error("{}:{line}: {rule}", path.display())]
    Line {
        /// The list.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Violated rule.
        rule: String,
    },
    /// make failed.
    #[error("failed to install the selftests: {why}\n  {command}{end}")]
    Build {
        /// Reason of the failure.
        why: String,
        /// The command.
        command: String,
        /// Last lines of its output.
        end: String,
    },
    /// A signal ended the build.
    #[error("interrupted by signal {0}")]
    Interrupted(i32),
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The kernel cannot run `KUnit` tests, or has none.
    #[error("no KUnit tests in {kernel}: {why}")]
    NoKunit {
        /// Source of the kernel.
        kernel: String,
        /// The option that is missing.
        why: &'static str,
        /// Advice.
        advice: &'static str,
    },
    /// The kernel cannot be found or read.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// Its modules cannot be read.
    #[error(transparent)]
    Modules(#[from] ModuleError),
    /// The guest that lists the built-in suites failed.
    #[error("failed to list the built-in KUnit suites of {kernel}: {why}")]
    List {
        /// Source of the kernel.
        kernel: String,
        /// Cause.
        why: String,
    },
    /// It could not be started.
    #[error(transparent)]
    Guest(#[from] VmError),
    /// The list is empty.
    #[error("{} lists no tests", .0.display())]
    Empty(PathBuf),
}

/// Reads a file of a suite. Returns `None` if it does not exist.
fn read(path: &Path) -> Result<Option<String>, ImportError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(source) => Err(ImportError::Io { path: path.to_owned(), source }),
    }
}

/// Returns a name for a test: other characters than those of names become `_`, slashes become points.
fn test_name(text: &str) -> String {
    let letter = |letter: char| match letter {
        '/' => '.',
        letter if is_name_letter(letter) => letter,
        _ => '_',
    };
    text.chars().map(letter).collect()
}

/// Formats a TOML string.
fn quoted(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}

/// Quotes words for a shell.
fn shell(words: &[&str]) -> String {
    let words: Vec<OsString> = words.iter().map(Into::into).collect();
    shell_line(&words).to_string_lossy().into_owned()
}
