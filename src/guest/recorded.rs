//! A run of which everything is kept, nothing shown: what other verbs than `run` make of it is theirs.

use std::ffi::OsString;
use std::io;
use std::time::Duration;

use super::launch::Guest;
use super::recorder::Recorder;
use super::session::Opening;
use super::snapshot::Talk;
use super::transcript::Transcript;
use super::{Listener, Output, Prepared, RunSpec, VmError, limits, run};
use crate::process::signals::Signals;
use crate::qemu::machine::Machine;

/// Stands for no limit at all: a clock takes it.
const FOR_EVER: Duration = Duration::from_secs(365 * 86_400);

/// How a run is to be recorded.
#[derive(Debug, Default)]
pub struct Recording<'a> {
    /// From QEMU's start to the verdict; `None`: as long as it takes.
    pub timeout: Option<Duration>,
    /// From QEMU's start to pid 1's first word; `None`: as long as it takes.
    pub boot_timeout: Option<Duration>,
    /// How long nothing may happen; `None`: nobody looks.
    pub idle_timeout: Option<Duration>,
    /// What the command reads.
    pub stdin: Vec<u8>,
    /// Bytes kept of each output.
    pub room: usize,
    /// What ends it.
    pub signals: Option<&'a mut Signals>,
}

/// A run, recorded.
#[derive(Debug)]
pub struct Recorded {
    /// What came of it.
    pub output: Output,
    /// The machine it ran on.
    pub machine: Machine,
    /// The command line QEMU was started with.
    pub command: Vec<OsString>,
    /// Where the kernel came from, in the user's words.
    pub kernel: String,
}

/// Runs what is prepared.
pub fn record(
    spec: &RunSpec,
    prepared: Prepared,
    recording: Recording<'_>,
    listener: &mut dyn Listener,
) -> Result<Recorded, VmError> {
    let rules = spec.health.rules()?;
    let Recording { timeout, boot_timeout, idle_timeout, stdin, room, signals } = recording;
    let total = limits::total(&prepared.machine);
    let times = [timeout.unwrap_or(FOR_EVER), total, boot_timeout.unwrap_or(FOR_EVER)];
    let inquest = prepared.inquest.clone();
    let recorder = Recorder::new(times, stdin, None, room).on_hangs(idle_timeout, inquest, None);
    let mut led = Led { recorder, signals };
    let ran = run(spec, prepared, &mut led, listener)?;
    let output = Output::new(ran.transcript, led.recorder, ran.age, Vec::new(), &rules);
    Ok(Recorded { output, machine: ran.machine, command: ran.command, kernel: ran.kernel })
}

/// A recorder that signals end.
struct Led<'a> {
    recorder: Recorder,
    signals: Option<&'a mut Signals>,
}

impl Talk for Led<'_> {
    fn talk(&mut self, guest: &mut Guest, opening: Opening) -> io::Result<Transcript> {
        self.recorder.talk_until(guest, opening, self.signals.as_deref_mut())
    }

    fn signals(&mut self) -> Option<&mut Signals> {
        self.signals.as_deref_mut()
    }
}
