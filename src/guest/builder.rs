//! Options of a guest, for Rust programs, with the names of `bootling run`'s options.

mod machine;

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use super::collect::request::CollectRequest;
use super::evidence::Evidence;
use super::health::HealthSpec;
use super::listener::Notes;
use super::{
    Command, Cwd, Limits, Output, Prepared, RunOptions, RunResult, RunSpec, Site, Streams, TimeLimit, Vm, VmError,
    Warm, prepare,
};
use crate::process::signals::Signals;
use crate::{
    qemu::spec::ConsoleTo,
    root::request::{Copy, KernelRef, ModuleRequest},
    root::spec::RunWhat,
};

/// Default limit on each captured output in bytes.
const OUTPUT: usize = 64 << 20;

/// Options of a guest. See [`Vm`] for its use, and for the environment variables that are read.
#[derive(Debug, Clone)]
pub struct Builder {
    pub(super) spec: RunSpec,
    env: Vec<(OsString, OsString)>,
    limits: Limits,
    console: Option<PathBuf>,
    evidence: Option<PathBuf>,
    room: usize,
    brings_once: bool,
    is_interruptible: bool,
    /// The first invalid value: option, value, fault.
    invalid: Option<(&'static str, String, String)>,
}

impl Default for Builder {
    fn default() -> Self {
        let spec = RunSpec { warm: Warm::Yes, ..RunSpec::default() };
        Self {
            spec,
            env: Vec::new(),
            limits: Limits::default(),
            console: None,
            evidence: None,
            room: OUTPUT,
            brings_once: false,
            is_interruptible: false,
            invalid: None,
        }
    }
}

impl Builder {
    /// Returns a builder with all options of `spec`.
    #[must_use]
    pub fn of(spec: RunSpec) -> Self {
        Self { spec, ..Self::default() }
    }

    /// The kernel: an image file, a build tree, a `.deb` package, an installed release, or a package to fetch (`debian:cloud`).
    /// Default: the newest readable kernel.
    #[must_use]
    pub fn kernel(mut self, kernel: impl Into<OsString>) -> Self {
        self.spec.kernel = Some(KernelRef::Named(kernel.into()));
        self
    }

    /// Adds a program for all commands, by path or by name on `PATH`, with its libraries.
    #[must_use]
    pub fn with(mut self, program: impl Into<OsString>) -> Self {
        self.spec.initrd.binaries.push(program.into());
        self
    }

    /// Adds a file, a directory tree, or the matches of a pattern, at the same path, for all commands.
    #[must_use]
    pub fn copy(mut self, source: impl Into<PathBuf>) -> Self {
        self.spec.initrd.copies.push(Copy { source: source.into(), destination: None });
        self
    }

    /// Adds a file, a directory tree, or the matches of a pattern, at another path, for all commands.
    #[must_use]
    pub fn copy_to(mut self, source: impl Into<PathBuf>, destination: impl Into<PathBuf>) -> Self {
        self.spec.initrd.copies.push(Copy { source: source.into(), destination: Some(destination.into()) });
        self
    }

    /// Adds a module to load before the first command, by name, alias, or path of a `.ko` file, after its dependencies, with
    /// parameters as `modprobe` takes them (`max_loop=4`), or none.
    #[must_use]
    pub fn kmod(mut self, name: impl Into<OsString>, parameters: impl Into<OsString>) -> Self {
        self.spec.initrd.modules.push(ModuleRequest { name: name.into(), params: parameters.into() });
        self
    }

    /// Adds a module as [`Builder::kmod`], but loaded before the guest is saved: once for all restored guests.
    #[must_use]
    pub fn base_kmod(mut self, name: impl Into<OsString>, parameters: impl Into<OsString>) -> Self {
        self.spec.base_modules.push(ModuleRequest { name: name.into(), params: parameters.into() });
        self
    }

    /// Whether modules that the guest's kernel or `modprobe` requests are loaded on demand, from the kernel's modules on the
    /// host ([`Output::modules`]). Default: true.
    #[must_use]
    pub fn autoload(mut self, autoload: bool) -> Self {
        self.spec.initrd.autoload = autoload;
        self
    }

    /// Takes programs, libraries, modules and files from the system below a directory instead of the host, or from packages to
    /// fetch (`debian:bash,iproute2`).
    #[must_use]
    pub fn sysroot(mut self, directory: impl Into<PathBuf>) -> Self {
        self.spec.initrd.root = directory.into();
        self
    }

    /// Whether the guest has busybox and its applets. Default: true.
    #[must_use]
    pub fn busybox(mut self, busybox: bool) -> Self {
        self.spec.initrd.busybox = busybox;
        self
    }

    /// Adds a directory that is searched first for libraries.
    #[must_use]
    pub fn lib_path(mut self, directory: impl Into<PathBuf>) -> Self {
        self.spec.initrd.lib_path.push(directory.into());
        self
    }

    /// User of all commands, as [`Command::user`]. Default: root.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.spec.user = Some(user.into());
        self
    }

    /// Host name of the guest, as [`Command::hostname`]. Default: `bootling`.
    #[must_use]
    pub fn hostname(mut self, name: impl Into<String>) -> Self {
        self.spec.hostname = Some(name.into());
        self
    }

    /// Sets an environment variable for every command.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Directory for unpacked kernels and snapshots, private to the user (mode 0700), created if it is missing. Default: the cache of
    /// the `bootling` program.
    #[must_use]
    pub fn cache(mut self, directory: impl Into<PathBuf>) -> Self {
        self.spec.cache = Some(directory.into());
        self
    }

    /// Restores a guest from a snapshot, which is made if it is missing. This is the default.
    #[must_use]
    pub fn warm(mut self) -> Self {
        self.spec.warm = Warm::Yes;
        self
    }

    /// Boots without a snapshot.
    #[must_use]
    pub fn cold(mut self) -> Self {
        self.spec.warm = Warm::No;
        self
    }

    /// Time limit of a command, from its start to its verdict; with [`Builder::run`], from QEMU's start. Default: 10
    /// minutes with KVM, 30 with TCG.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.limits.total = TimeLimit::After(limit);
        self
    }

    /// Time limit from QEMU's start to pid 1's first message. Default: 1 minute with KVM, 5 with TCG; at most 1 minute
    /// for a restored guest.
    #[must_use]
    pub fn boot_timeout(mut self, limit: Duration) -> Self {
        self.limits.boot = TimeLimit::After(limit);
        self
    }

    /// Limit on inactivity: nothing on the console, nothing between command and host, and QEMU uses less than 3 % of a processor.
    /// Default: none.
    #[must_use]
    pub fn idle_timeout(mut self, limit: Duration) -> Self {
        self.limits.idle = Some(limit);
        self
    }

    /// Time for the hang report ([`Output::hang`]) after a time limit; [`TimeLimit::None`]: no report. Default: 3 seconds.
    #[must_use]
    pub fn hang_report(mut self, time: TimeLimit) -> Self {
        self.limits.hang_report = time;
        self
    }

    /// Directory for evidence if a command with a guest of its own ([`Builder::run`]) does not end well: console, QMP log, QEMU's
    /// command line, hang report. Created if it is missing; a command that ends well leaves nothing.
    #[must_use]
    pub fn evidence(mut self, directory: impl Into<PathBuf>) -> Self {
        self.evidence = Some(directory.into());
        self
    }

    /// File for the kernel's console, written as it arrives. Its last lines are in every [`Output`] anyway.
    #[must_use]
    pub fn console(mut self, file: impl Into<PathBuf>) -> Self {
        self.console = Some(file.into());
        self
    }

    /// Limit on each captured output in bytes; the rest is dropped, and [`Output::cut`] is set. Default: 64 MiB.
    #[must_use]
    pub fn output_limit(mut self, bytes: usize) -> Self {
        self.room = bytes;
        self
    }

    /// Sends programs, libraries and files to a [`Vm`] only once, while the host's files are unchanged: later commands
    /// then start in a fraction of the time. A command that changes them changes them for later commands.
    #[must_use]
    pub fn bring_once(mut self) -> Self {
        self.brings_once = true;
        self
    }

    /// Catches the signals that would end this process (SIGINT, SIGTERM, SIGHUP, SIGQUIT) while a command runs. A signal ends the
    /// command as [`Outcome::Interrupted`](crate::Outcome::Interrupted), with the output so far and a hang report.
    #[must_use]
    pub fn interruptible(mut self) -> Self {
        self.is_interruptible = true;
        self
    }

    /// Effect of the kernel's health on [`Output::outcome`]. Default: not at all; findings are in [`Output::health`]. With
    /// [`Policy::Fail`](super::health::Policy::Fail) a successful command in an unhealthy guest is
    /// [`Outcome::Unhealthy`](crate::Outcome::Unhealthy).
    #[must_use]
    pub fn health(mut self, health: HealthSpec) -> Self {
        self.spec.health = health;
        self
    }

    /// Starts the guest. Returns when it is up or about to be restored.
    pub fn start(&self) -> Result<Vm, VmError> {
        Vm::start(self.clone())
    }

    /// Runs one command, a program of the host and its arguments, in a guest that is started for it and ends with it.
    ///
    /// Also works with kernels that cannot keep a guest for several commands.
    pub fn run<W: Into<OsString>>(&self, words: impl IntoIterator<Item = W>) -> Result<Output, VmError> {
        self.run_with(&Command::new(words))
    }

    /// Runs one command with all its settings.
    pub fn run_with(&self, command: &Command) -> Result<Output, VmError> {
        let spec = self.spec(command, true)?;
        let mut notes = Notes::default();
        let prepared = prepare(&spec, &mut notes).map_err(|failed| failed.error)?;
        self.finish(command, prepared, notes)
    }

    /// Runs one command as [`Builder::run_with`], on a `Site` that was found for a builder with the same kernel and machine, whose
    /// lookups are reused.
    pub fn run_at(&self, site: &Site, command: &Command) -> Result<Output, VmError> {
        let spec = self.spec(command, true)?;
        let mut notes = Notes::default();
        let prepared = site.prepare(&spec, &mut notes)?;
        self.finish(command, prepared, notes)
    }

    fn finish(&self, command: &Command, mut prepared: Prepared, mut notes: Notes) -> Result<Output, VmError> {
        if let Some(path) = &self.console {
            prepared.spec.boot.console = ConsoleTo::File(path.clone());
        }
        let evidence = self.evidence.as_deref().map(|directory| Evidence::prepare(directory, false)).transpose()?;
        let mut signals = self.signals()?;
        let options = RunOptions { evidence, signals: signals.as_mut(), ..self.options(command) };
        let RunResult { outcome, transcript, age, stdout, stderr, evidence, .. } = prepared.run(options, &mut notes)?;
        evidence.transpose()?;
        Ok(Output::new(outcome, transcript, [stdout, stderr], age, notes.0))
    }

    /// Options of a command's run: streams in memory, no signals.
    pub(super) fn options(&self, command: &Command) -> RunOptions<'static> {
        let mut limits = self.limits;
        if let Some(limit) = command.timeout {
            limits.total = TimeLimit::After(limit);
        }
        limits.idle = command.idle.or(limits.idle);
        if command.hang_report != TimeLimit::Default {
            limits.hang_report = command.hang_report;
        }
        let streams = Streams::Memory { stdin: command.stdin.clone(), limit: self.room, foreground: None };
        RunOptions { limits, streams, inspects_interrupted: self.is_interruptible, ..RunOptions::default() }
    }

    /// Catches the signals that end a command, if this was requested.
    pub(super) fn signals(&self) -> Result<Option<Signals>, VmError> {
        self.is_interruptible.then(Signals::catch).transpose().map_err(VmError::io("catch", "signals"))
    }

    /// Returns the specification of a command; `is_whole`: with the files that all commands share.
    pub(super) fn spec(&self, command: &Command, is_whole: bool) -> Result<RunSpec, VmError> {
        if matches!(&command.what, RunWhat::Command(words) if words.is_empty()) {
            return Err(VmError::NoCommand);
        }
        if let Some((option, value, why)) = self.invalid.clone() {
            return Err(VmError::Value { option, value, why });
        }
        let mut spec = self.spec.clone();
        let initrd = &mut spec.initrd;
        if !is_whole {
            (initrd.binaries, initrd.copies, initrd.modules) = <_>::default();
        }
        initrd.binaries.extend_from_slice(&command.binaries);
        initrd.copies.extend_from_slice(&command.copies);
        initrd.modules.extend_from_slice(&command.modules);
        initrd.run = command.what.clone();
        initrd.autoload = command.autoload.unwrap_or(initrd.autoload);
        spec.boot.files.shares.extend_from_slice(&command.shares);
        spec.boot.files.root = command.root.clone().or(spec.boot.files.root);
        spec.health.fail_on.extend_from_slice(&command.fail_on);
        spec.health.allow.extend_from_slice(&command.health_allow);
        spec.user = command.user.clone().or(spec.user);
        spec.hostname = command.hostname.clone().or(spec.hostname);
        spec.collect_limit = command.collect_limit.or(spec.collect_limit);
        for (guest, destination) in &command.collect {
            let request = CollectRequest::new(guest.clone(), Some(destination.clone()));
            let invalid = |why| VmError::Value { option: "--collect", value: guest.display().to_string(), why };
            spec.collect.push(request.map_err(invalid)?);
        }
        spec.cwd = command.cwd.clone().map_or(Cwd::Root, Cwd::At);
        let settings = self.env.iter().chain(&command.env).map(|(name, value)| setting(name, value));
        spec.env = settings.collect::<Result<_, _>>()?;
        Ok(spec)
    }

    /// Creates the console file.
    pub(super) fn console_file(&self) -> Result<Option<File>, VmError> {
        let create = |path: &PathBuf| {
            File::create(path).map_err(VmError::io("create", format!("the console's file {}", path.display())))
        };
        self.console.as_ref().map(create).transpose()
    }

    /// True if files are sent only once.
    pub(super) fn brings_once(&self) -> bool {
        self.brings_once
    }

    /// True if guests boot without a snapshot.
    pub(super) fn is_cold(&self) -> bool {
        self.spec.warm == Warm::No
    }
}

/// `NAME=VALUE`.
fn setting(name: &OsString, value: &OsString) -> Result<OsString, VmError> {
    if name.is_empty() || name.as_encoded_bytes().contains(&b'=') {
        return Err(VmError::Name(name.clone()));
    }
    let mut setting = name.clone();
    setting.push("=");
    setting.push(value);
    Ok(setting)
}

#[cfg(test)]
mod tests {
    use super::Builder;
    use crate::guest::{Command, Cwd};
    use crate::root::spec::RunWhat;

    #[test]
    fn shared_files_are_sent_with_the_first_command_and_its_own_with_each() {
        let builder = Builder::default().with("lspci").copy("/etc/hosts").kmod("loop", "").env("A", "1");
        let command =
            Command::shell("lspci").with("lsusb").kmod("dummy", "numdummies=2").env("B", "x=y").current_dir("/x");
        let whole = builder.spec(&command, true).expect("a spec");
        assert_eq!(whole.initrd.binaries, ["lspci", "lsusb"]);
        assert_eq!((whole.initrd.copies.len(), whole.initrd.modules.len()), (1, 2));
        assert_eq!(whole.env, ["A=1", "B=x=y"]);
        assert_eq!(whole.cwd, Cwd::At("/x".into()));
        let own = builder.spec(&command, false).expect("a spec");
        assert_eq!(own.initrd.binaries, ["lsusb"]);
        assert_eq!((own.initrd.copies.len(), own.initrd.modules.len()), (0, 1));
        assert_eq!(own.env, whole.env);
        assert_eq!(own.initrd.run, RunWhat::Line("lspci".into()));
    }

    #[test]
    fn invalid_devices_are_reported_when_the_guest_is_started() {
        let refused = |builder: Builder| builder.spec(&Command::shell("x"), true).expect_err("invalid").to_string();
        let disk = Builder::default().disk("64M,bus=usb").net("usr");
        assert_eq!(refused(disk), "invalid --disk 64M,bus=usb: no bus \"usb\": expected virtio, nvme, scsi or ide");
        assert!(refused(Builder::default().publish("80")).starts_with("invalid --publish 80: expected HOST:GUEST"));
        let whole = Builder::default().publish("0:80").disk("64M").disk("a.img,ro").net("user,restrict=on");
        let spec = whole.spec(&Command::shell("x"), true).expect("valid");
        let net = spec.boot.net.expect("an interface");
        assert_eq!((spec.boot.disks.len(), net.publish.len(), net.to_string().as_str()), (2, 1, "user,restrict=on"));
    }

    #[test]
    fn an_empty_command_and_invalid_variables_are_refused() {
        let builder = Builder::default();
        let refused = |command: &Command| builder.spec(command, true).expect_err("it is none").to_string();
        assert_eq!(refused(&Command::new::<&str>([])), "empty command");
        for name in ["", "A=B"] {
            let said = refused(&Command::new(["true"]).env(name, "c"));
            assert_eq!(said, format!("invalid variable name {name:?}: empty, or contains '='"));
        }
    }
}
