//! What came of a command, for Rust programs.

use std::borrow::Cow;
use std::time::Duration;

use super::RunResult;
use super::hang::Hang;
use super::health::Finding;
use super::outlet::Captured;
use super::snapshot::Age;
use super::transcript::{Event, Transcript};
use super::verdict::Outcome;
use crate::format::protocol::frame::Usage;

/// All that is known of a command that was run.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Output {
    /// What came of it. Silence is never success: it is [`Outcome::Exited`] only where the guest's pid 1 says so.
    pub outcome: Outcome,
    /// What it wrote to its standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to its standard error.
    pub stderr: Vec<u8>,
    /// Whether it wrote more than was kept (see [`Builder::output_limit`](super::Builder::output_limit)).
    pub cut: bool,
    /// What it took; `None`: it did not come to its end.
    pub usage: Option<Usage>,
    /// `/proc/sys/kernel/tainted` after it; `None`: it did not come to its end.
    pub taint: Option<u64>,
    /// The console's last lines since it was given, at most 60.
    pub console: Vec<String>,
    /// Remarks of bootling and of the guest's pid 1, a line each.
    pub notes: Vec<String>,
    /// `uname -r`; `None`: the guest did not come that far.
    pub release: Option<String>,
    /// The age of the snapshot that the guest was restored from, zero where it was made just before; `None`: it booted.
    pub age: Option<Duration>,
    /// What the kernel's log says about its health since the command was given, or since the kernel's start where it booted.
    pub health: Vec<Finding>,
    /// What the guest was doing when its time was up.
    pub hang: Option<Hang>,
    /// When pid 1 spoke, and when the command started, in [`Output::duration`].
    pub hello: Option<Duration>,
    /// When the command started: the same clock.
    pub started: Option<Duration>,
    /// From when the command was given to its verdict; with the boot, where it had a guest of its own.
    pub duration: Duration,
}

impl From<RunResult> for Output {
    fn from(result: RunResult) -> Self {
        let RunResult { outcome, transcript, age, stdout, stderr, .. } = result;
        Self::new(outcome, transcript, [stdout, stderr], age, Vec::new())
    }
}

impl Output {
    pub(super) fn new(
        outcome: Outcome,
        transcript: Transcript,
        [out, err]: [Captured; 2],
        age: Option<Age>,
        mut notes: Vec<String>,
    ) -> Self {
        let exit = transcript.exit();
        let (mut release, mut hello, mut started) = (None, None, None);
        for event in transcript.events {
            match event {
                Event::Hello { at, release: said, .. } => (hello, release) = (Some(at), Some(said)),
                Event::Started { at } => started = Some(at),
                Event::Note(text) => notes.push(text),
                _ => {}
            }
        }
        Self {
            outcome,
            cut: out.cut || err.cut,
            stdout: out.bytes,
            stderr: err.bytes,
            usage: exit.map(|(_, _, usage, _)| usage),
            taint: exit.map(|(_, _, _, taint)| taint),
            console: transcript.console_tail,
            notes,
            release,
            health: transcript.health,
            hang: transcript.hang.map(|hang| *hang),
            hello,
            started,
            age: age.map(|Age(age)| age),
            duration: transcript.duration,
        }
    }

    /// Its exit status; `None`: it did not exit, see [`Output::outcome`].
    pub fn status(&self) -> Option<u8> {
        match self.outcome {
            Outcome::Exited { status } => Some(status),
            Outcome::Signaled { .. }
            | Outcome::NotExecuted { .. }
            | Outcome::Expected { .. }
            | Outcome::Rejected { .. }
            | Outcome::PoweredOff
            | Outcome::Panic { .. }
            | Outcome::Unhealthy { .. }
            | Outcome::Reset
            | Outcome::WentAway { .. }
            | Outcome::Watchdog { .. }
            | Outcome::QemuDied { .. }
            | Outcome::TimedOut { .. }
            | Outcome::Interrupted { .. }
            | Outcome::OutputClosed
            | Outcome::CouldNotTest { .. } => None,
        }
    }

    /// Whether it exited with status 0.
    pub fn success(&self) -> bool {
        self.status() == Some(0)
    }

    /// Its standard output as text, with U+FFFD for what is none.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.stdout)
    }
}
