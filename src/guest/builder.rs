//! What is wanted of a guest, for Rust programs: the options of `bootling run` under the same names.

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use super::evidence::Evidence;
use super::health::HealthSpec;
use super::listener::Notes;
use super::{
    Command, Cwd, Limits, Output, Prepared, RunOptions, RunResult, RunSpec, Site, Streams, TimeLimit, Vm, VmError,
    Warm, prepare,
};
use crate::{
    initrd::spec::RunWhat,
    qemu::spec::Accel,
    root::request::{Copy, KernelRef, ModuleRequest},
};

/// Bytes kept of each of a command's outputs, unless told otherwise.
const OUTPUT: usize = 64 << 20;

/// A guest that is wanted. See [`Vm`] for what can be done with it, and for what is read of the environment.
#[derive(Debug, Clone)]
pub struct Builder {
    spec: RunSpec,
    env: Vec<(OsString, OsString)>,
    limits: Limits,
    console: Option<PathBuf>,
    evidence: Option<PathBuf>,
    room: usize,
    brings_once: bool,
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
        }
    }
}

impl Builder {
    /// All of it at once.
    #[must_use]
    pub fn of(spec: RunSpec) -> Self {
        Self { spec, ..Self::default() }
    }

    /// The kernel: an image file, a build tree, a `.deb` package, or a release that is installed. Default: the newest one
    /// that can be read.
    #[must_use]
    pub fn kernel(mut self, kernel: impl Into<OsString>) -> Self {
        self.spec.kernel = Some(KernelRef::Named(kernel.into()));
        self
    }

    /// The QEMU program: a path, or a name on `PATH`. Default: the one for the guest's architecture.
    #[must_use]
    pub fn qemu(mut self, program: impl Into<PathBuf>) -> Self {
        self.spec.boot.qemu = Some(program.into());
        self
    }

    /// KVM or TCG. Default: KVM where it has just proven to work.
    #[must_use]
    pub fn accel(mut self, accel: Accel) -> Self {
        self.spec.boot.accel = accel;
        self
    }

    /// QEMU's CPU model. Default: `host` with KVM, `max` with TCG.
    #[must_use]
    pub fn cpu(mut self, model: impl Into<OsString>) -> Self {
        self.spec.boot.cpu = Some(model.into());
        self
    }

    /// Number of virtual CPUs. Default: 1.
    #[must_use]
    pub fn smp(mut self, cpus: u32) -> Self {
        self.spec.boot.smp = Some(cpus.to_string().into());
        self
    }

    /// Guest memory, MiB. Default: 1024, or more where the files that are given here need it.
    #[must_use]
    pub fn memory_mib(mut self, mib: u64) -> Self {
        self.spec.boot.memory_mib = Some(mib);
        self
    }

    /// Further words for the kernel's command line. Adds to earlier ones.
    #[must_use]
    pub fn append(mut self, words: impl Into<OsString>) -> Self {
        self.spec.boot.append.push(words.into());
        self
    }

    /// A program for all commands, by path or by name on `PATH`, with the libraries it needs. Adds to earlier ones.
    #[must_use]
    pub fn with(mut self, program: impl Into<OsString>) -> Self {
        self.spec.initrd.binaries.push(program.into());
        self
    }

    /// A file, a tree, or what a pattern matches, at its own path, for all commands. Adds to earlier ones.
    #[must_use]
    pub fn copy(mut self, source: impl Into<PathBuf>) -> Self {
        self.spec.initrd.copies.push(Copy { source: source.into(), destination: None });
        self
    }

    /// The same at another path.
    #[must_use]
    pub fn copy_to(mut self, source: impl Into<PathBuf>, destination: impl Into<PathBuf>) -> Self {
        self.spec.initrd.copies.push(Copy { source: source.into(), destination: Some(destination.into()) });
        self
    }

    /// A module to load before the first command, by name, alias, or path of a `.ko` file, after all it depends on; its
    /// parameters as `modprobe` takes them (`max_loop=4`), or none. Adds to earlier ones.
    #[must_use]
    pub fn kmod(mut self, name: impl Into<OsString>, parameters: impl Into<OsString>) -> Self {
        self.spec.initrd.modules.push(ModuleRequest { name: name.into(), params: parameters.into() });
        self
    }

    /// As [`Builder::kmod`], but part of what is saved: loaded once for all guests that are restored.
    #[must_use]
    pub fn base_kmod(mut self, name: impl Into<OsString>, parameters: impl Into<OsString>) -> Self {
        self.spec.base_modules.push(ModuleRequest { name: name.into(), params: parameters.into() });
        self
    }

    /// Takes programs, libraries, modules and files from the system below a directory rather than from this one.
    #[must_use]
    pub fn sysroot(mut self, directory: impl Into<PathBuf>) -> Self {
        self.spec.initrd.root = directory.into();
        self
    }

    /// A variable of every command's environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Where unpacked kernels and saved guests are kept: a directory of the user's alone (mode 0700), made if need be.
    /// Default: the one that the command line tool uses.
    #[must_use]
    pub fn cache(mut self, directory: impl Into<PathBuf>) -> Self {
        self.spec.cache = Some(directory.into());
        self
    }

    /// Restores a guest that has booted once, and boots and saves one where there is none yet. This is the default.
    #[must_use]
    pub fn warm(mut self) -> Self {
        self.spec.warm = Warm::Yes;
        self
    }

    /// Boots, and saves nothing.
    #[must_use]
    pub fn cold(mut self) -> Self {
        self.spec.warm = Warm::No;
        self
    }

    /// The longest that a command may take, from when it is given to its verdict; the boot counts where the command has a
    /// guest of its own ([`Builder::run`]). Default: 10 minutes with KVM, 30 with TCG.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.limits.total = TimeLimit::After(limit);
        self
    }

    /// The longest from QEMU's start until the guest's pid 1 speaks. Default: 1 minute with KVM, 5 with TCG; and 1 at most
    /// for a guest that is restored.
    #[must_use]
    pub fn boot_timeout(mut self, limit: Duration) -> Self {
        self.limits.boot = TimeLimit::After(limit);
        self
    }

    /// The longest that nothing may happen: no word on the console or between command and host, and QEMU uses less than 3 %
    /// of a processor. Default: no limit.
    #[must_use]
    pub fn idle_timeout(mut self, limit: Duration) -> Self {
        self.limits.idle = Some(limit);
        self
    }

    /// A directory for what tells why a command that has a guest of its own ([`Builder::run`]) did not end well: console,
    /// monitor, QEMU's command line, the hang report. It is made where it is not there; what ends well leaves nothing.
    #[must_use]
    pub fn evidence(mut self, directory: impl Into<PathBuf>) -> Self {
        self.evidence = Some(directory.into());
        self
    }

    /// A file for all that the kernel's console says, as it comes. Its last lines are in every [`Output`] anyway.
    #[must_use]
    pub fn console(mut self, file: impl Into<PathBuf>) -> Self {
        self.console = Some(file.into());
        self
    }

    /// How many bytes are kept of each of a command's outputs; what is more is dropped, and [`Output::cut`] tells.
    /// Default: 64 MiB.
    #[must_use]
    pub fn output_limit(mut self, bytes: usize) -> Self {
        self.room = bytes;
        self
    }

    /// Programs, libraries and files that are in a guest already are not brought again with the next command of a [`Vm`], as
    /// long as the host's are the same: a command then takes a fraction of the time. One that changes them in the guest
    /// changes them for those that follow.
    #[must_use]
    pub fn bring_once(mut self) -> Self {
        self.brings_once = true;
        self
    }

    /// What the kernel's health does to [`Output::outcome`]. Default: nothing; [`Output::health`] tells. With
    /// [`Policy::Fail`](super::health::Policy::Fail) a command that succeeds in a guest that is not well is
    /// [`Outcome::Unhealthy`](crate::Outcome::Unhealthy).
    #[must_use]
    pub fn health(mut self, health: HealthSpec) -> Self {
        self.spec.health = health;
        self
    }

    /// Starts the guest: returns once it is up, or about to be restored.
    pub fn start(&self) -> Result<Vm, VmError> {
        Vm::start(self.clone())
    }

    /// Runs one command, a program of this machine and its arguments, in a guest of its own that ends with it.
    ///
    /// Works wherever bootling does: also with kernels that cannot keep a guest for several commands.
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

    /// As [`Builder::run_with`], on a site that was found for a builder of the same kernel and machine: what they share is
    /// not looked up again.
    pub fn run_at(&self, site: &Site, command: &Command) -> Result<Output, VmError> {
        let spec = self.spec(command, true)?;
        let mut notes = Notes::default();
        let prepared = site.prepare(&spec, &mut notes)?;
        self.finish(command, prepared, notes)
    }

    fn finish(&self, command: &Command, prepared: Prepared, mut notes: Notes) -> Result<Output, VmError> {
        let evidence = self.evidence.as_deref().map(|directory| Evidence::prepare(directory, false)).transpose()?;
        let options = RunOptions { evidence, ..self.options(command) };
        let RunResult { outcome, transcript, age, stdout, stderr, evidence, .. } = prepared.run(options, &mut notes)?;
        evidence.transpose()?;
        Ok(Output::new(outcome, transcript, [stdout, stderr], age, notes.0))
    }

    /// The options of a command's run: everything in memory, no signals.
    pub(super) fn options(&self, command: &Command) -> RunOptions<'static> {
        let mut limits = self.limits;
        if let Some(limit) = command.timeout {
            limits.total = TimeLimit::After(limit);
        }
        limits.idle = command.idle.or(limits.idle);
        let streams = Streams::Memory { stdin: command.stdin.clone(), limit: self.room, foreground: None };
        RunOptions { limits, streams, ..RunOptions::default() }
    }

    /// What a command needs: with what all commands share, or its own alone.
    pub(super) fn spec(&self, command: &Command, is_whole: bool) -> Result<RunSpec, VmError> {
        if matches!(&command.what, RunWhat::Command(words) if words.is_empty()) {
            return Err(VmError::NoCommand);
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
        spec.cwd = command.cwd.clone().map_or(Cwd::Root, Cwd::At);
        let settings = self.env.iter().chain(&command.env).map(|(name, value)| setting(name, value));
        spec.env = settings.collect::<Result<_, _>>()?;
        Ok(spec)
    }

    /// The console's file, empty.
    pub(super) fn console_file(&self) -> Result<Option<File>, VmError> {
        let create = |path: &PathBuf| {
            File::create(path).map_err(VmError::io("create", format!("the console's file {}", path.display())))
        };
        self.console.as_ref().map(create).transpose()
    }

    /// Whether what is in a guest is not brought again.
    pub(super) fn brings_once(&self) -> bool {
        self.brings_once
    }

    /// Whether it boots rather than is restored.
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
    use crate::initrd::spec::RunWhat;

    #[test]
    fn a_command_has_what_all_share_once_and_its_own_always() {
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
    fn what_cannot_be_a_command_is_refused() {
        let builder = Builder::default();
        let refused = |command: &Command| builder.spec(command, true).expect_err("it is none").to_string();
        assert_eq!(refused(&Command::new::<&str>([])), "running a command: it has no words");
        for name in ["", "A=B"] {
            let said = refused(&Command::new(["true"]).env(name, "c"));
            assert_eq!(said, format!("setting the variable {name:?}: a name is not empty and holds no '='"));
        }
    }
}
