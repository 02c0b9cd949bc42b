//! Options of a run that do not change the guest: time limits, streams, signals, evidence.

use std::time::Duration;

use super::evidence::Evidence;
use super::session::{Foreground, ShownOn, Watch};
use crate::process::signals::Signals;

/// A limit on time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimeLimit {
    /// The default for the machine, see [`limits`](super::limits).
    #[default]
    Default,
    /// No limit.
    None,
    /// This duration.
    After(Duration),
}

impl TimeLimit {
    /// Returns the limit, with `default` for [`TimeLimit::Default`]; `None`: no limit.
    pub fn or(self, default: Duration) -> Option<Duration> {
        match self {
            Self::Default => Some(default),
            Self::None => None,
            Self::After(limit) => Some(limit),
        }
    }

    /// Returns the option's argument for this limit; `None` for the default.
    pub fn word(self) -> Option<String> {
        match self {
            Self::Default => None,
            Self::None => Some("none".to_owned()),
            Self::After(limit) => Some(format!("{}ms", limit.as_millis())),
        }
    }

    /// Returns the explicit limit, if there is one.
    pub fn duration(self) -> Option<Duration> {
        match self {
            Self::Default | Self::None => None,
            Self::After(limit) => Some(limit),
        }
    }
}

/// Time limits of a run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// Limit from QEMU's start to the verdict; for a guest that is up, from the command to its verdict.
    pub total: TimeLimit,
    /// Limit from QEMU's start until a base is ready to be saved.
    pub base: TimeLimit,
    /// Limit from QEMU's start to pid 1's first message. At most a minute for a restored guest.
    pub boot: TimeLimit,
    /// Limit without any progress.
    pub idle: Option<Duration>,
    /// Time for the hang report after a limit has expired; [`TimeLimit::None`]: no report.
    pub hang_report: TimeLimit,
}

/// Host end of a guest's streams.
#[derive(Debug)]
pub enum Streams {
    /// This process's own standard streams.
    Inherited {
        /// Guest endpoint connected to them; `None`: the command's terminal or streams, or the console of a foreign
        /// initrd.
        foreground: Option<Foreground>,
        /// The stream that receives the foreground's output.
        shown_on: ShownOn,
    },
    /// Memory.
    Memory {
        /// The command's standard input.
        stdin: Vec<u8>,
        /// Maximum number of bytes kept of each output.
        limit: usize,
        /// Guest endpoint connected to them; `None`: the command's streams.
        foreground: Option<Foreground>,
    },
}

impl Default for Streams {
    fn default() -> Self {
        Self::Memory { stdin: Vec::new(), limit: 0, foreground: None }
    }
}

/// Options of one run.
#[derive(Debug, Default)]
pub struct RunOptions<'a> {
    /// Time limits.
    pub limits: Limits,
    /// The streams.
    pub streams: Streams,
    /// Expected output on the console and the screen, for a guest without pid 1.
    pub watch: Option<Watch>,
    /// Files for evidence, stored if the exit code is not 0.
    pub evidence: Option<Evidence>,
    /// Signals to this process that end the guest; `None`: with [`Streams::Inherited`], signals are caught while the
    /// guest runs; with [`Streams::Memory`], no signal ends it.
    pub signals: Option<&'a mut Signals>,
    /// True to inspect a guest before a signal ends it, as after a timeout.
    pub inspects_interrupted: bool,
    /// True to keep notes of pid 1 out of the standard error.
    pub quiet: bool,
}
