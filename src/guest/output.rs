//! Result of a command, for Rust programs.

use std::borrow::Cow;
use std::time::Duration;

use super::RunResult;
use super::autoload::record::LoadedModule;
use super::collect::record::Collected;
use super::hang::Hang;
use super::health::Finding;
use super::outlet::Captured;
use super::snapshot::Age;
use super::transcript::{Event, Transcript};
use super::verdict::Outcome;
use crate::format::protocol::frame::Usage;

/// Result of a command.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Output {
    /// Outcome of the command. Silence is never success: it is [`Outcome::Exited`] only if the guest's pid 1 reports it.
    pub outcome: Outcome,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// True if an output exceeded the limit (see [`Builder::output_limit`](super::Builder::output_limit)).
    pub cut: bool,
    /// Resource usage; `None`: the command did not end.
    pub usage: Option<Usage>,
    /// `/proc/sys/kernel/tainted` after the command; `None`: the command did not end.
    pub taint: Option<u64>,
    /// Last lines of the console since the command was given, at most 60.
    pub console: Vec<String>,
    /// Notes of bootling and of the guest's pid 1, a line each.
    pub notes: Vec<String>,
    /// `uname -r`; `None`: pid 1 did not start.
    pub release: Option<String>,
    /// Age of the snapshot that the guest was restored from, zero if it was just made; `None`: the guest booted.
    pub age: Option<Duration>,
    /// Findings in the kernel's log since the command was given, or since the kernel's start if the guest booted.
    pub health: Vec<Finding>,
    /// Modules that were loaded on demand.
    pub modules: Vec<LoadedModule>,
    /// Files that were collected ([`Command::collect`](super::Command::collect)).
    pub collected: Vec<Collected>,
    /// State of the guest at a timeout.
    pub hang: Option<Hang>,
    /// Time from the start of [`Output::duration`] to pid 1's first message.
    pub hello: Option<Duration>,
    /// Time from the start of [`Output::duration`] to the command's start.
    pub started: Option<Duration>,
    /// Time from the command to its verdict; with [`Builder::run`](super::Builder::run), from QEMU's start.
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
            modules: transcript.modules,
            collected: transcript.collected,
            hang: transcript.hang.map(|hang| *hang),
            hello,
            started,
            age: age.map(|Age(age)| age),
            duration: transcript.duration,
        }
    }

    /// Exit status; `None`: the command did not exit, see [`Output::outcome`].
    pub fn status(&self) -> Option<u8> {
        let Outcome::Exited { status } = self.outcome else { return None };
        Some(status)
    }

    /// True if the command exited with status 0.
    pub fn success(&self) -> bool {
        self.status() == Some(0)
    }

    /// Standard output as text; invalid UTF-8 becomes U+FFFD.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.stdout)
    }
}
