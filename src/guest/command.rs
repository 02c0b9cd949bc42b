//! A command for a guest, for Rust programs.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::{
    initrd::spec::RunWhat,
    root::request::{Copy, ModuleRequest},
};

/// A command with all it can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    pub(super) what: RunWhat,
    pub(super) stdin: Vec<u8>,
    pub(super) env: Vec<(OsString, OsString)>,
    pub(super) binaries: Vec<OsString>,
    pub(super) copies: Vec<Copy>,
    pub(super) modules: Vec<ModuleRequest>,
    pub(super) timeout: Option<Duration>,
    pub(super) idle: Option<Duration>,
    pub(super) cwd: Option<PathBuf>,
}

impl Command {
    /// A program of this machine and its arguments, exactly as given. The program comes into the guest with the libraries it
    /// needs; what is in the guest alone is run by [`Command::shell`].
    pub fn new<W: Into<OsString>>(words: impl IntoIterator<Item = W>) -> Self {
        Self::of(RunWhat::Command(words.into_iter().map(Into::into).collect()))
    }

    /// A line for the guest's `/bin/sh`.
    pub fn shell(line: impl Into<OsString>) -> Self {
        Self::of(RunWhat::Line(line.into()))
    }

    pub(super) fn of(what: RunWhat) -> Self {
        Self {
            what,
            stdin: Vec::new(),
            env: Vec::new(),
            binaries: Vec::new(),
            copies: Vec::new(),
            modules: Vec::new(),
            timeout: None,
            idle: None,
            cwd: None,
        }
    }

    /// What it reads on its standard input, followed by the end of file. Default: the end of file alone.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// A variable of its environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// A further program, by path or by name on `PATH`, with the libraries it needs. Adds to earlier ones.
    #[must_use]
    pub fn with(mut self, program: impl Into<OsString>) -> Self {
        self.binaries.push(program.into());
        self
    }

    /// A file, a tree, or what a pattern matches, at its own path. Adds to earlier ones.
    #[must_use]
    pub fn copy(mut self, source: impl Into<PathBuf>) -> Self {
        self.copies.push(Copy { source: source.into(), destination: None });
        self
    }

    /// The same at another path.
    #[must_use]
    pub fn copy_to(mut self, source: impl Into<PathBuf>, destination: impl Into<PathBuf>) -> Self {
        self.copies.push(Copy { source: source.into(), destination: Some(destination.into()) });
        self
    }

    /// A module to load first, as with [`Builder::kmod`](super::Builder::kmod). It stays for later commands, and one that is
    /// loaded already keeps its parameters.
    #[must_use]
    pub fn kmod(mut self, name: impl Into<OsString>, parameters: impl Into<OsString>) -> Self {
        self.modules.push(ModuleRequest { name: name.into(), params: parameters.into() });
        self
    }

    /// The longest it may take, instead of the [`Builder`](super::Builder)'s. A guest whose time is up is ended.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// The longest that nothing may happen while it runs, instead of the [`Builder`](super::Builder)'s.
    #[must_use]
    pub fn idle_timeout(mut self, limit: Duration) -> Self {
        self.idle = Some(limit);
        self
    }

    /// The directory of the guest that it starts in; `/` where that is not there, which [`Output::notes`](super::Output)
    /// tells. Default: `/`.
    #[must_use]
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.cwd = Some(directory.into());
        self
    }
}
