//! bootling as it is typed, in a directory of its own, with nothing of ours in its environment.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use snapbox::IntoData;
use snapbox::cmd::Command;

/// A directory, and the verb that is run there.
pub struct Case {
    dir: tempfile::TempDir,
    verb: Option<&'static str>,
}

#[allow(dead_code, reason = "not every test needs all of it")]
impl Case {
    /// An empty directory; what is run begins with its verb.
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory"), verb: None }
    }

    /// An empty directory, for one verb, which the words do without.
    pub fn of(verb: &'static str) -> Self {
        Self { verb: Some(verb), ..Self::new() }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Makes a file there.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path().join(name), content).expect("a file");
    }

    /// A file that is there.
    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path().join(name)).expect("a file")
    }

    /// The program, ready to run.
    pub fn bootling(&self, words: &[&str]) -> Command {
        Command::new(env!("CARGO_BIN_EXE_bootling"))
            .args(self.verb)
            .args(words)
            .current_dir(self.path())
            .env("HOME", self.path())
            .env_remove("SOURCE_DATE_EPOCH")
            .env_remove("BOOTLING_KERNEL")
    }

    /// A failure: this on standard error, nothing on standard output, no new file.
    #[track_caller]
    pub fn fails(&self, words: &[&str], error: impl IntoData) {
        let before = self.listing();
        self.bootling(words).assert().code(125).stdout_eq("").stderr_eq(error);
        assert_eq!(self.listing(), before, "something was left behind");
    }

    /// The names of what is there.
    pub fn listing(&self) -> Vec<OsString> {
        let entries = fs::read_dir(self.path()).expect("a directory");
        let mut names: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name()).collect();
        names.sort();
        names
    }
}
