//! Sessions of one run with its guests: builds the settings of each session from the run's options.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, memfd_create};

use super::autoload::ModuleSource;
use super::collect::Collection;
use super::collect::request::CollectRequest;
use super::evidence::Evidence;
use super::files::report::ShareReport;
use super::files::server::FileServer;
use super::files::shares;
use super::hang::{HangInput, Recording};
use super::health::Rules;
use super::launch::Guest;
use super::options::{Limits, RunOptions, Streams};
use super::outlet::{Captured, Outlet};
use super::session::{
    ConsoleSink, Foreground, HostStreams, Interrupt, Opening, Settings, ShownOn, Watch, run_session, run_session_with,
};
use super::transcript::{KernelTraits, Transcript};
use super::{RunSpec, VmError, limits};
use crate::process::signals::Signals;
use crate::qemu::device::files::FilesRequest;
use crate::qemu::machine::Machine;
use crate::qemu::machine_type::Transport;
use crate::qemu::spec::ConsoleTo;

/// The sessions of one run.
#[derive(Debug)]
pub(crate) struct Conversation<'a> {
    limits: Limits,
    streams: Streams,
    watch: Option<Watch>,
    signals: Option<&'a mut Signals>,
    interrupt: Interrupt,
    quiet: bool,
    rules: Rules,
    console: ConsoleSink,
    recording: Option<Recording>,
    hang_input: Option<HangInput>,
    has_tty: bool,
    has_qemu_arguments: bool,
    kernel: KernelTraits,
    modules: Option<ModuleSource>,
    files: FilesRequest,
    collect: Vec<CollectRequest>,
    collect_limit: Option<u64>,
    /// Standard output and standard error that the last session captured.
    captured: [Captured; 2],
}

impl<'a> Conversation<'a> {
    /// The sessions of a run of `spec` with a kernel. Also returns the evidence to store.
    pub(super) fn new(
        spec: &RunSpec,
        options: RunOptions<'a>,
        console: ConsoleSink,
        hang_input: Option<HangInput>,
        kernel: KernelTraits,
        modules: Option<ModuleSource>,
    ) -> Result<(Self, Option<Evidence>), VmError> {
        let RunOptions { limits, streams, watch, evidence, signals, inspects_interrupted, quiet } = options;
        let recording = evidence.as_ref().map(Evidence::recording).transpose()?;
        let (has_tty, has_qemu_arguments) = (spec.boot.tty, !spec.boot.qemu_args.is_empty());
        let interrupt = match (&streams, inspects_interrupted) {
            (Streams::Inherited { .. }, _) => Interrupt::Forward,
            (Streams::Memory { .. }, true) => Interrupt::Inspect,
            (Streams::Memory { .. }, false) => Interrupt::End,
        };
        let captured = <_>::default();
        let conversation = Self {
            limits,
            streams,
            watch,
            signals,
            interrupt,
            quiet,
            rules: spec.health.rules()?,
            console,
            recording,
            hang_input,
            has_tty,
            has_qemu_arguments,
            kernel,
            modules,
            files: spec.boot.files.clone(),
            collect: spec.collect.clone(),
            collect_limit: spec.collect_limit,
            captured,
        };
        Ok((conversation, evidence))
    }

    /// Returns the standard output and standard error that the last session captured.
    pub(super) fn captured(self) -> [Captured; 2] {
        self.captured
    }

    /// The signals that end the guest.
    pub(super) fn signals(&mut self) -> Option<&mut Signals> {
        self.signals.as_deref_mut()
    }

    /// Runs one session with `guest` until it ends.
    pub(super) fn run(
        &mut self,
        guest: &mut Guest,
        machine: &Machine,
        opening: Opening,
    ) -> Result<Transcript, VmError> {
        let mut kernel = self.kernel;
        if matches!(opening, Opening::Command { .. }) {
            // The kernel of a restored guest is silent unless something happens.
            kernel.writes_console.get_or_insert(true);
        }
        let shares = if opening == Opening::Base { Vec::new() } else { shares::find(&self.files)? };
        let server = match &guest.files {
            Some(stream) if !shares.is_empty() => Some(FileServer::start(stream, &shares)),
            Some(_) | None => None,
        };
        let server = server.transpose().map_err(VmError::io("start", "the file server"))?;
        let mut transcript = self.session(guest, machine, opening).map_err(VmError::io("talk to", "the guest"))?;
        if let Some(note) = server.and_then(FileServer::finish) {
            transcript.add_note(note);
        }
        transcript.shares = shares.iter().map(ShareReport::new).collect();
        Ok(Transcript { kernel, ..transcript })
    }

    fn session(&mut self, guest: &mut Guest, machine: &Machine, opening: Opening) -> io::Result<Transcript> {
        let is_base = opening == Opening::Base;
        let is_foreign = machine.transport == Transport::None;
        let (is_inherited, foreground, shown_on) = match self.streams {
            Streams::Inherited { foreground, shown_on } => {
                let usual = match (is_foreign, self.has_tty) {
                    (true, _) => Foreground::Console,
                    (false, true) => Foreground::Terminal,
                    (false, false) => Foreground::Streams,
                };
                (true, foreground.unwrap_or(usual), shown_on)
            }
            Streams::Memory { foreground, .. } => (false, foreground.unwrap_or(Foreground::Streams), ShownOn::Stdout),
        };
        let total = if is_base { self.limits.base } else { self.limits.total };
        let boot = self.limits.boot.or(limits::boot(machine));
        let settings = Settings {
            timeout: total.or(limits::total(machine)),
            boot_timeout: match (&opening, foreground) {
                // A foreign initrd has no pid 1 that reports itself.
                (_, Foreground::Console) => None,
                (Opening::Boot | Opening::Base, _) => boot,
                (Opening::Command { .. }, _) => Some(boot.map_or(limits::RESTORE, |limit| limit.min(limits::RESTORE))),
            },
            foreground: if is_base { Foreground::None } else { foreground },
            shown_on,
            console: self.console.try_clone()?,
            // If the output is captured, QEMU's messages and pid 1's notes would mix with the command's errors: the
            // transcript has both.
            show_qemu: is_inherited && self.has_qemu_arguments,
            quiet: self.quiet || !is_inherited,
            flush_disks: is_inherited && self.has_qemu_arguments || machine.devices.has_writable_image(),
            watch: self.watch.take(),
            idle_timeout: self.limits.idle,
            hang_input: self.hang_input.clone(),
            rules: self.rules.clone(),
            interrupt: self.interrupt,
            hang_report: self.limits.hang_report.or(limits::HANG_REPORT),
            recording: self.recording.as_ref().map(Recording::try_clone).transpose()?,
            modules: self.modules.clone(),
            collection: if is_base { None } else { Collection::new(&self.collect, self.collect_limit) },
            command_line: machine.command_line.to_string_lossy().into_owned(),
            opening,
        };
        match &self.streams {
            Streams::Inherited { .. } => run_session(guest, settings, self.signals.as_deref_mut()),
            Streams::Memory { stdin, limit, .. } => {
                let input = if is_base { None } else { Some(in_memory(stdin)?) };
                let (out, err) = (Outlet::memory(*limit), Outlet::memory(*limit));
                let signals = self.signals.as_deref_mut();
                let outside = HostStreams { input, out, err, signals, terminal: None };
                let (transcript, out, err) = run_session_with(guest, settings, outside)?;
                self.captured = [out, err];
                Ok(transcript)
            }
        }
    }
}

/// Opens the destination of the console.
pub(super) fn console(to: &ConsoleTo) -> Result<ConsoleSink, VmError> {
    Ok(match to {
        ConsoleTo::Tail => ConsoleSink::Nowhere,
        ConsoleTo::Stderr => ConsoleSink::Stderr,
        ConsoleTo::File(path) => {
            let object = || format!("the console's file {}", path.display());
            ConsoleSink::File(File::create(path).map_err(|source| VmError::io("create", object())(source))?)
        }
    })
}

/// Returns a file with these bytes, positioned at its start.
fn in_memory(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("stdin", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file.into())
}
