//! A command for a guest, as a builder for Rust programs.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::TimeLimit;
use super::health::Kind;
use crate::{
    qemu::device::files::{FilesRequest, RootRequest, ShareRequest, Support},
    root::request::{Copy, ModuleRequest},
    root::spec::RunWhat,
};

/// A command and its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    pub(crate) what: RunWhat,
    pub(crate) stdin: Vec<u8>,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) binaries: Vec<OsString>,
    pub(crate) copies: Vec<Copy>,
    pub(crate) modules: Vec<ModuleRequest>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) idle: Option<Duration>,
    pub(crate) hang_report: TimeLimit,
    pub(crate) fail_on: Vec<Kind>,
    /// Regular expressions: a finding with a matching line does not end the command.
    pub(crate) health_allow: Vec<String>,
    pub(crate) cwd: Option<PathBuf>,
    pub(crate) autoload: Option<bool>,
    pub(crate) user: Option<String>,
    pub(crate) hostname: Option<String>,
    pub(crate) shares: Vec<ShareRequest>,
    pub(crate) root: Option<RootRequest>,
    /// Paths in the guest, and their destinations.
    pub(crate) collect: Vec<(OsString, PathBuf)>,
    pub(crate) collect_limit: Option<u64>,
}

impl Command {
    /// A program of the host and its arguments, unchanged. The program is copied into the guest with its libraries; for a program
    /// that exists only in the guest, use [`Command::shell`].
    pub fn new<W: Into<OsString>>(words: impl IntoIterator<Item = W>) -> Self {
        Self::of(RunWhat::Command(words.into_iter().map(Into::into).collect()))
    }

    /// A command line for the guest's `/bin/sh`.
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
            hang_report: TimeLimit::Default,
            fail_on: Vec::new(),
            health_allow: Vec::new(),
            cwd: None,
            autoload: None,
            user: None,
            hostname: None,
            shares: Vec::new(),
            root: None,
            collect: Vec::new(),
            collect_limit: None,
        }
    }

    /// Standard input. Default: empty.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Adds a program, by path or by name on `PATH`, with its libraries.
    #[must_use]
    pub fn with(mut self, program: impl Into<OsString>) -> Self {
        self.binaries.push(program.into());
        self
    }

    /// Adds a file, a directory tree, or the matches of a pattern, at the same path.
    #[must_use]
    pub fn copy(mut self, source: impl Into<PathBuf>) -> Self {
        self.copies.push(Copy { source: source.into(), destination: None });
        self
    }

    /// Adds a file, a directory tree, or the matches of a pattern, at another path.
    #[must_use]
    pub fn copy_to(mut self, source: impl Into<PathBuf>, destination: impl Into<PathBuf>) -> Self {
        self.copies.push(Copy { source: source.into(), destination: Some(destination.into()) });
        self
    }

    /// Adds a module to load first, as [`Builder::kmod`](super::Builder::kmod). It stays loaded for later commands; a module that is
    /// already loaded keeps its parameters.
    #[must_use]
    pub fn kmod(mut self, name: impl Into<OsString>, parameters: impl Into<OsString>) -> Self {
        self.modules.push(ModuleRequest { name: name.into(), params: parameters.into() });
        self
    }

    /// User of the command: a name or a number, optionally with groups (`nobody`, `1000:100,36`). Default: root.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Host name of the guest. Default: `bootling`.
    #[must_use]
    pub fn hostname(mut self, name: impl Into<String>) -> Self {
        self.hostname = Some(name.into());
        self
    }

    /// Shares a directory of the host, in addition to the [`Builder`](super::Builder)'s. A [`Vm`](super::Vm) must have been started for
    /// it ([`Builder::host_files`](super::Builder::host_files)).
    #[must_use]
    pub fn share(mut self, share: ShareRequest) -> Self {
        self.shares.push(share);
        self
    }

    /// Root directory of the command, instead of the [`Builder`](super::Builder)'s: see [`Builder::root`](super::Builder::root).
    #[must_use]
    pub fn root(mut self, root: RootRequest) -> Self {
        self.root = Some(root);
        self
    }

    /// Returns what its machine needs for directories of the host.
    pub(crate) fn needs_files(&self) -> Support {
        let (shares, root) = (self.shares.clone(), self.root.clone());
        FilesRequest { shares, root, support: Support::Nothing }.needs()
    }

    /// Copies a file, a directory tree, or the matches of a pattern (`*`, `?`, `[...]`) from the guest to the host when the command
    /// ends, whatever its status. One file or directory becomes `destination`, or is placed below it if that ends in `/`; matches are
    /// placed below it. What is missing after a command that succeeded is [`Outcome::CouldNotTest`](crate::Outcome::CouldNotTest), unless
    /// it is a pattern. See [`Output::collected`](super::Output::collected).
    #[must_use]
    pub fn collect(mut self, guest: impl Into<OsString>, destination: impl Into<PathBuf>) -> Self {
        self.collect.push((guest.into(), destination.into()));
        self
    }

    /// Most bytes of collected files. Default: 1 GiB.
    #[must_use]
    pub fn collect_limit(mut self, bytes: u64) -> Self {
        self.collect_limit = Some(bytes);
        self
    }

    /// Whether modules are loaded on demand, instead of [`Builder::autoload`](super::Builder::autoload).
    #[must_use]
    pub fn autoload(mut self, autoload: bool) -> Self {
        self.autoload = Some(autoload);
        self
    }

    /// Time limit, instead of the [`Builder`](super::Builder)'s. A guest that exceeds it is ended.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Limit on inactivity, instead of the [`Builder`](super::Builder)'s.
    #[must_use]
    pub fn idle_timeout(mut self, limit: Duration) -> Self {
        self.idle = Some(limit);
        self
    }

    /// Time for the hang report after a time limit, instead of the [`Builder`](super::Builder)'s;
    /// [`TimeLimit::None`]: no report.
    #[must_use]
    pub fn hang_report(mut self, time: TimeLimit) -> Self {
        self.hang_report = time;
        self
    }

    /// Ends the command, as [`Outcome::Unhealthy`](crate::Outcome::Unhealthy), as soon as the console shows a finding of this
    /// kind, in addition to the [`Builder`](super::Builder)'s.
    #[must_use]
    pub fn fail_on(mut self, kind: Kind) -> Self {
        self.fail_on.push(kind);
        self
    }

    /// Working directory in the guest. If it is missing, the command starts in `/`, which is reported in
    /// [`Output::notes`](super::Output). Default: `/`.
    #[must_use]
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.cwd = Some(directory.into());
        self
    }
}
