//! The driver of a guest: from a specification to a result, cold or warm. Every verb runs its guests through here.
//!
//! A snapshot that cannot be restored is discarded and made again, once; after that the guest boots. Only a guest in which no
//! command has run is tried again.

use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::autoload::ModuleSource;
use super::conversation::{Conversation, console};
use super::devices::host::named_image;
use super::disk::Disk;
use super::hang::HangInput;
use super::health::Finding;
use super::launch::{Artifact, Guest};
use super::options::{RunOptions, Streams};
use super::outlet::Captured;
use super::packages::fetch_root;
use super::session::Opening;
use super::snapshot::base::no_snapshots;
use super::snapshot::{Age, NotWarm, ReadyGuest, Warm};
use super::template::{Restore, Start, Template};
use super::transcript::{Event, KernelTraits, Limit, Transcript};
use super::verdict::{Outcome, judge_with};
use super::{Inputs, Listener, RunSpec, VmError, files};
use crate::cache::{Cache, Key};
use crate::process::signals::Signals;
use crate::qemu::argv::{Chardevs, Connections, Payload, argv, shell_line};
use crate::qemu::{machine::Machine, machine_type::Transport};
use crate::root::directory::Root;

/// A guest that is ready to start.
#[derive(Debug)]
pub struct Prepared {
    /// Its specification.
    pub(crate) spec: RunSpec,
    /// Its machine.
    pub machine: Machine,
    /// Origin of the kernel, in the user's words; empty for a disk.
    pub(crate) kernel: String,
    /// Way to start it.
    pub(super) start: Start,
    /// The files it was prepared from.
    pub(crate) inputs: Inputs,
    /// Input for a hang report; `None`: no hang report.
    pub(super) hang_input: Option<HangInput>,
    pub(super) cache: Cache,
    /// Template to prepare the same guest again; `None`: there is no other way to start it.
    pub(super) template: Option<Arc<Template>>,
}

/// Failure to prepare a guest, with the files that were looked up until then.
#[derive(Debug)]
pub struct Unprepared {
    /// The cause.
    pub error: VmError,
    /// The files, existing or not.
    pub(crate) inputs: Inputs,
}

impl fmt::Display for Unprepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for Unprepared {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

/// Result of a run.
#[derive(Debug)]
pub struct RunResult {
    /// Outcome of the guest, with the kernel's health taken into account.
    pub outcome: Outcome,
    /// Everything that happened.
    pub transcript: Transcript,
    /// The machine.
    pub machine: Machine,
    /// QEMU's command line.
    pub command: Vec<OsString>,
    /// Origin of the kernel, in the user's words; empty for a disk.
    pub kernel: String,
    /// Time of QEMU's start.
    pub(crate) started: Instant,
    /// Age of the snapshot that the guest was restored from; `None`: it booted.
    pub(crate) age: Option<Age>,
    /// The command's standard output, if it was captured.
    pub(crate) stdout: Captured,
    /// The command's standard error, if it was captured.
    pub(crate) stderr: Captured,
    /// Directory of the stored evidence, or why it could not be stored; `None`: there is none.
    pub evidence: Option<Result<PathBuf, VmError>>,
}

/// Runs one guest from its specification to its result.
pub fn run(spec: &RunSpec, options: RunOptions<'_>, listener: &mut dyn Listener) -> Result<RunResult, VmError> {
    prepare(spec, listener).map_err(|failed| failed.error)?.run(options, listener)
}

/// Prepares everything that precedes QEMU's start: kernel, accelerator, channel, initrd in memory, machine.
pub fn prepare(spec: &RunSpec, listener: &mut dyn Listener) -> Result<Prepared, Box<Unprepared>> {
    let mut inputs = Inputs::named(spec);
    let spec = fetch_root(spec, listener).map_err(|error| Box::new(Unprepared { error, inputs: inputs.clone() }))?;
    let spec = spec.as_ref();
    let root = match Root::new(&spec.initrd.root) {
        Ok(root) => root,
        Err(error) => {
            inputs.extend([spec.initrd.root.as_path()]);
            return Err(Box::new(Unprepared { error: error.into(), inputs }));
        }
    };
    let prepared = (|| {
        // Report an invalid pattern before anything slow.
        spec.health.rules()?;
        files::shares::find(&spec.boot.files)?;
        let cache = spec.open_cache()?;
        let mut attempt = |root: &Root, listener: &mut dyn Listener| {
            let template = Arc::new(Template::find(root, spec, &cache, &mut inputs, listener)?);
            prepare_from(&template, root, spec, None, listener)
        };
        match attempt(&root, listener) {
            Err(error) if heals(&error, &cache, listener) => attempt(&Root::new(&spec.initrd.root)?, listener),
            other => other,
        }
    })();
    inputs.add(&root);
    match prepared {
        Ok(prepared) => Ok(Prepared { inputs, ..prepared }),
        Err(error) => Err(Box::new(Unprepared { error, inputs })),
    }
}

/// Returns true, after a note, if the error is about a file in the cache: its entry has been discarded, and the next attempt
/// makes it again.
fn heals(error: &VmError, cache: &Cache, listener: &mut dyn Listener) -> bool {
    let Some(path) = error.file().filter(|path| cache.discard_holder(path)) else { return false };
    listener.note(&format!("making an entry of the cache again: {} is damaged", path.display()));
    true
}

/// Prepares a guest of `template`. `refused`: why it could not be restored, if that was tried.
pub(super) fn prepare_from(
    template: &Arc<Template>,
    root: &Root,
    spec: &RunSpec,
    refused: Option<String>,
    listener: &mut dyn Listener,
) -> Result<Prepared, VmError> {
    let (machine, start) = template.start(root, spec, refused, listener)?;
    Ok(Prepared {
        spec: spec.clone(),
        machine,
        kernel: template.kernel_origin().to_owned(),
        start,
        inputs: Inputs::default(),
        hang_input: Some(template.hang_input()),
        cache: template.cache.clone(),
        template: Some(Arc::clone(template)),
    })
}

/// Prepares a guest that boots `disk` on `machine`.
pub fn prepare_disk(disk: Disk, spec: &RunSpec, machine: Machine) -> Result<Prepared, VmError> {
    Ok(Prepared {
        spec: spec.clone(),
        machine,
        kernel: String::new(),
        start: Start::Disk(disk),
        inputs: Inputs::default(),
        hang_input: Some(HangInput::default()),
        cache: spec.open_cache()?,
        template: None,
    })
}

impl Prepared {
    /// The kernel image and the initrd of a guest that boots them; `None` for any other.
    pub(crate) fn boot_files(&self) -> Option<(&PathBuf, &OwnedFd)> {
        match &self.start {
            Start::Boot { image, initrd } => Some((image, initrd)),
            Start::Restore(_) | Start::Disk(_) => None,
        }
    }

    /// Returns the shell command line that starts the same guest by hand, its console on the terminal. Keeps the initrd in
    /// the cache, so that it has a name.
    pub fn shell_command(&self) -> Result<OsString, VmError> {
        let payload = match &self.start {
            Start::Boot { image, initrd } => {
                let initrd = self.keep(initrd)?.into_os_string();
                Payload::Linux { kernel: image.clone().into_os_string(), initrd, warm: None }
            }
            Start::Disk(disk) => Payload::Disk { image: disk.absolute()?.into_os_string(), drive: disk.drive },
            Start::Restore(_) => return Err(no_initrd()),
        };
        let disks = self.machine.devices.disks.iter().map(named_image).collect::<Result<_, _>>()?;
        let connections = Connections { payload, flash: None, disks, chardevs: Chardevs::Stdio };
        Ok(shell_line(&argv(&self.machine, &connections)))
    }

    /// Keeps the initrd in the cache. Returns its path.
    fn keep(&self, initrd: &OwnedFd) -> Result<PathBuf, VmError> {
        let reading = || VmError::io("read", "the initrd");
        let mut image = File::from(initrd.try_clone().map_err(reading())?);
        let mut bytes = Vec::new();
        image.seek(SeekFrom::Start(0)).and_then(|_| image.read_to_end(&mut bytes)).map_err(reading())?;
        let key = Key::of("initrd 1", &[&bytes]);
        self.cache.file(&key, |file| file.write_all(&bytes).map_err(VmError::io("keep", "the initrd in the cache")))
    }

    /// Runs the guest to its end, and determines the outcome.
    pub fn run(self, options: RunOptions<'_>, listener: &mut dyn Listener) -> Result<RunResult, VmError> {
        if options.signals.is_none() && matches!(options.streams, Streams::Inherited { .. }) {
            let mut signals = Signals::catch().map_err(VmError::io("catch", "signals"))?;
            return self.run_and_judge(RunOptions { signals: Some(&mut signals), ..options }, listener);
        }
        self.run_and_judge(options, listener)
    }

    /// Returns the known properties of the kernel. A foreign initrd may lack an init: then the kernel is not blamed for
    /// a missing init.
    fn kernel_traits(&self) -> KernelTraits {
        let traits = self.template.as_ref().map(|template| template.kernel_traits(&self.spec)).unwrap_or_default();
        let starts_init = if self.machine.transport == Transport::None { Some(true) } else { traits.starts_init };
        KernelTraits { starts_init, ..traits }
    }

    /// Returns the modules that the guest receives on demand.
    fn modules(&self) -> Option<ModuleSource> {
        self.template.as_ref()?.modules(&self.spec)
    }

    fn run_and_judge(self, options: RunOptions<'_>, listener: &mut dyn Listener) -> Result<RunResult, VmError> {
        let rules = self.spec.health.rules()?;
        let sink = console(&self.spec.boot.console)?;
        let is_disk = matches!(self.start, Start::Disk(_));
        let (mut conversation, evidence) = Conversation::new(
            &self.spec,
            options,
            sink,
            self.hang_input.clone(),
            self.kernel_traits(),
            self.modules(),
        )?;
        listener.starting(&self.kernel);
        let Run { mut transcript, machine, command, kernel, started, age } = start(self, &mut conversation, listener)?;
        if is_disk {
            transcript.health.retain(Finding::is_from_kernel);
        }
        let outcome = judge_with(&mut transcript, &rules);
        let evidence = evidence.filter(|_| outcome.exit_code() != 0);
        let evidence = evidence.map(|evidence| evidence.store(&transcript, &command));
        let [stdout, stderr] = conversation.captured();
        Ok(RunResult { outcome, transcript, machine, command, kernel, started, age, stdout, stderr, evidence })
    }
}

/// A run without its outcome.
struct Run {
    transcript: Transcript,
    machine: Machine,
    command: Vec<OsString>,
    kernel: String,
    started: Instant,
    age: Option<Age>,
}

/// Starts the guest and runs it to its end.
fn start(prepared: Prepared, conversation: &mut Conversation<'_>, listener: &mut dyn Listener) -> Result<Run, VmError> {
    let Start::Restore(restore) = &prepared.start else { return boot(prepared, conversation) };
    let why = match restored(&prepared, restore, conversation, listener)? {
        Ok(run) => return Ok(run),
        Err(why) => why,
    };
    let Prepared { spec, template: Some(template), .. } = prepared else { return Err(no_initrd()) };
    let root = Root::new(&spec.initrd.root)?;
    boot(prepare_from(&template, &root, &spec, Some(why), listener)?, conversation)
}

/// Boots a kernel or a disk.
fn boot(prepared: Prepared, conversation: &mut Conversation<'_>) -> Result<Run, VmError> {
    let Prepared { machine, kernel, start, .. } = prepared;
    let payload = match start {
        Start::Boot { image, initrd } => {
            let open = File::open(&image).map_err(VmError::io("open", format!("kernel image {}", image.display())))?;
            Payload::Linux { kernel: Artifact::Open(open.into()), initrd: Artifact::Open(initrd), warm: None }
        }
        Start::Disk(disk) => disk.payload()?,
        Start::Restore(_) => return Err(no_initrd()),
    };
    let started = Instant::now();
    let mut guest = Guest::start(&machine, &payload).map_err(VmError::io("start", "QEMU"))?;
    let transcript = conversation.run(&mut guest, &machine, Opening::Boot)?;
    Ok(Run { transcript, machine, command: guest.command.clone(), kernel, started, age: None })
}

/// Restores the guest, or returns why it cannot be restored.
fn restored(
    prepared: &Prepared,
    restore: &Restore,
    conversation: &mut Conversation<'_>,
    listener: &mut dyn Listener,
) -> Result<Result<Run, String>, VmError> {
    let Restore { base, key, payload } = restore;
    let Prepared { spec, cache, .. } = prepared;
    if spec.warm == Warm::Fresh
        && let Err(error) = cache.discard(key)
    {
        return Ok(Err(no_snapshots(&error)));
    }
    let mut is_last = false;
    loop {
        let started = Instant::now();
        let ran = |transcript, command, age| Run {
            transcript,
            machine: base.machine.clone(),
            command,
            kernel: prepared.kernel.clone(),
            started,
            age,
        };
        let mut ready = match base.start(cache, key, payload, conversation, listener) {
            Ok(ready) => ready,
            Err(NotWarm::Unfit(why)) => return Ok(Err(why)),
            Err(NotWarm::Ended(transcript, command)) => return Ok(Ok(ran(*transcript, command, None))),
            Err(NotWarm::Failed(error)) => return Err(error),
        };
        let transcript = command(&mut ready, &base.machine, false, conversation)?;
        let ReadyGuest { guest, age, .. } = ready;
        let Some(why) = not_restored(&transcript) else {
            return Ok(Ok(ran(transcript, guest.command.clone(), age)));
        };
        drop(guest);
        if age.is_none() {
            return Ok(Err(format!("the guest did not survive being saved: {why}")));
        }
        if let Err(error) = cache.discard(key) {
            return Ok(Err(no_snapshots(&error)));
        }
        if is_last {
            return Ok(Err(format!("snapshots cannot be restored: {why}")));
        }
        listener.note(&format!("making the snapshot again: {why}"));
        is_last = true;
    }
}

/// Runs the command in the window of a guest that is ready. `stays`: the guest will receive another one.
pub(super) fn command(
    ready: &mut ReadyGuest,
    machine: &Machine,
    stays: bool,
    conversation: &mut Conversation<'_>,
) -> Result<Transcript, VmError> {
    let opening = Opening::Command { len: ready.len, program: ready.program.take(), stays };
    let mut transcript = conversation.run(&mut ready.guest, machine, opening)?;
    // Findings of the base's boot apply to everything that is restored from it.
    transcript.health.splice(0..0, std::mem::take(&mut ready.health));
    Ok(transcript)
}

/// Returns why a restored guest never answered; `None`: it did, or the user ended it.
pub(super) fn not_restored(transcript: &Transcript) -> Option<String> {
    let mut why = None;
    for event in &transcript.events {
        match event {
            Event::Hello { .. }
            | Event::GaveUp(_)
            | Event::Failed { .. }
            | Event::Interrupted { .. }
            | Event::Escaped
            | Event::OutputClosed
            | Event::OutputFailed(_)
            | Event::TimedOut { limit: Limit::Total | Limit::Idle, .. } => return None,
            Event::NotRestored(said) => why = Some(said.clone()),
            Event::TimedOut { limit: Limit::Boot, after } => {
                why = Some(format!("the guest did not answer within {} s", after.as_secs()));
            }
            _ => {}
        }
    }
    let qemu = || (!transcript.qemu_output.is_empty()).then(|| transcript.qemu_output.join("; "));
    let why = why.or_else(qemu).or_else(|| transcript.console.panic.clone());
    Some(why.unwrap_or_else(|| "the guest was gone".to_owned()))
}

/// Returns the error for a restored guest, which has no initrd.
fn no_initrd() -> VmError {
    VmError::io("read", "the initrd")(std::io::Error::other("a restored guest has none"))
}
