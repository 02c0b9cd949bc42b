//! The bootling program in a private directory, without the tester's environment.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use snapbox::IntoData;
use snapbox::cmd::Command;

/// A temporary directory, and an optional verb that precedes the arguments.
pub(crate) struct Case {
    dir: tempfile::TempDir,
    verb: Option<&'static str>,
}

#[allow(dead_code, reason = "not every test needs all of it")]
impl Case {
    /// Creates an empty directory; the arguments include the verb.
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory"), verb: None }
    }

    /// Creates an empty directory for one verb; the arguments omit the verb.
    pub(crate) fn of(verb: &'static str) -> Self {
        Self { verb: Some(verb), ..Self::new() }
    }

    /// Path of the directory.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file in the directory.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path().join(name), content).expect("a file");
    }

    /// Reads a file in the directory.
    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path().join(name)).expect("a file")
    }

    /// Returns the command, ready to run.
    pub(crate) fn bootling(&self, words: &[&str]) -> Command {
        Command::new(env!("CARGO_BIN_EXE_bootling"))
            .args(self.verb)
            .args(words)
            .current_dir(self.path())
            .env("HOME", self.path())
            .env_remove("SOURCE_DATE_EPOCH")
            .env_remove("BOOTLING_KERNEL")
    }

    /// Checks for a failure: exit code 125, this text on standard error, an empty standard output, and no new file.
    #[track_caller]
    pub(crate) fn fails(&self, words: &[&str], error: impl IntoData) {
        let before = self.listing();
        self.bootling(words).assert().code(125).stdout_eq("").stderr_eq(error);
        assert_eq!(self.listing(), before, "files left behind");
    }

    /// Returns the sorted names in the directory.
    pub(crate) fn listing(&self) -> Vec<OsString> {
        let entries = fs::read_dir(self.path()).expect("a directory");
        let mut names: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name()).collect();
        names.sort();
        names
    }
}
