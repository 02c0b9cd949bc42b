//! Conversations with guests that a Rust program leads: into memory, within limits, without a word on its own streams and
//! without its signals.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};

use super::hang::{Inquest, Keep};
use super::launch::Guest;
use super::limits;
use super::outlet::{Captured, Outlet};
use super::session::{ConsoleSink, Foreground, Opening, Outside, Settings, ShownOn, converse_with};
use super::snapshot::Talk;
use super::transcript::Transcript;
use crate::process::signals::Signals;
use crate::qemu::machine::Machine;

/// Limits on time; `None`: those of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Limits {
    /// For a command.
    pub(super) command: Option<Duration>,
    /// Until pid 1 speaks.
    pub(super) boot: Option<Duration>,
    /// Without progress.
    pub(super) idle: Option<Duration>,
}

impl Limits {
    /// Those for this machine: for a command, for a base to be ready, until pid 1 speaks.
    pub(super) fn on(self, machine: &Machine) -> [Duration; 3] {
        let total = limits::total(machine);
        [self.command.unwrap_or(total), total, self.boot.unwrap_or_else(|| limits::boot(machine))]
    }
}

/// Leads conversations, and keeps what the last one gave.
#[derive(Debug)]
pub(super) struct Recorder {
    limits: [Duration; 3],
    input: Vec<u8>,
    console: Option<File>,
    room: usize,
    idle: Option<Duration>,
    inquest: Inquest,
    keep: Option<Keep>,
    out: Captured,
    err: Captured,
}

impl Recorder {
    /// With this as the command's standard input, and room for so many bytes of each output.
    pub(super) fn new(limits: [Duration; 3], input: Vec<u8>, console: Option<File>, room: usize) -> Self {
        let (out, err) = <_>::default();
        Self { limits, input, console, room, idle: None, inquest: Inquest::default(), keep: None, out, err }
    }

    /// With this for guests that hang: how long nothing may happen, what is known of them, where to keep it all.
    pub(super) fn on_hangs(self, idle: Option<Duration>, inquest: Inquest, keep: Option<Keep>) -> Self {
        Self { idle, inquest, keep, ..self }
    }

    /// What the command wrote: output, errors.
    pub(super) fn captured(self) -> (Captured, Captured) {
        (self.out, self.err)
    }
}

impl Recorder {
    /// Talks until it is over, or until a signal comes.
    pub(super) fn talk_until(
        &mut self,
        guest: &mut Guest,
        opening: Opening,
        signals: Option<&mut Signals>,
    ) -> io::Result<Transcript> {
        let [command, base, boot] = self.limits;
        let (timeout, boot, foreground) = match &opening {
            Opening::Base => (base, boot, Foreground::Nobody),
            Opening::Boot => (command, boot, Foreground::Streams),
            Opening::Command { .. } => (command, boot.min(limits::RESTORE), Foreground::Streams),
        };
        let input = if opening == Opening::Base { None } else { Some(in_memory(&self.input)?) };
        let console = match &self.console {
            None => ConsoleSink::Nowhere,
            Some(file) => ConsoleSink::File(file.try_clone()?),
        };
        let settings = Settings {
            timeout: Some(timeout),
            boot_timeout: Some(boot),
            foreground,
            shown_on: ShownOn::Stdout,
            console,
            show_qemu: false,
            // The notes are in the transcript; here they would stand among the command's errors.
            quiet: true,
            flush_disks: false,
            watch: None,
            idle_timeout: self.idle,
            inquest: Some(self.inquest.clone()),
            keep: self.keep.as_ref().map(Keep::try_clone).transpose()?,
            opening,
        };
        let (out, err) = (Outlet::memory(self.room), Outlet::memory(self.room));
        let outside = Outside { input, out, err, signals, terminal: None };
        let (transcript, out, err) = converse_with(guest, settings, outside)?;
        (self.out, self.err) = (out, err);
        Ok(transcript)
    }
}

impl Talk for Recorder {
    fn talk(&mut self, guest: &mut Guest, opening: Opening) -> io::Result<Transcript> {
        self.talk_until(guest, opening, None)
    }

    fn signals(&mut self) -> Option<&mut Signals> {
        None
    }
}

/// A file with these bytes, to be read from its start.
fn in_memory(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("stdin", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file.into())
}
