//! Outcome of a guest: name for scripts, message for users, exit code.

use std::time::Duration;

use super::code;
use super::names::{errno_text, signal_name};
use crate::guest::transcript::{Limit, QemuExit};

/// Outcome of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The command exited.
    Exited {
        /// Exit status.
        status: u8,
    },
    /// A signal killed the command.
    Signaled {
        /// Signal number.
        signal: u8,
        /// True if a core was dumped.
        core: bool,
        /// First line of the kernel's crash report, if the kernel killed the command because of the crash.
        crash: Option<String>,
    },
    /// The command could not be executed: status 126 or 127, as in shells.
    NotExecuted {
        /// Exit status.
        status: u8,
        /// Command that failed to execute.
        command: String,
        /// Error number in the guest kernel.
        errno: u32,
    },
    /// All `--expect` patterns matched.
    Expected {
        /// Line that matched the last pattern.
        line: String,
    },
    /// A `--reject` pattern matched.
    Rejected {
        /// Matching line.
        line: String,
    },
    /// The guest powered itself off; no pattern was expected.
    PoweredOff,
    /// The kernel panicked.
    Panic {
        /// Panic message.
        line: String,
    },
    /// The run succeeded otherwise, but the kernel is unhealthy; or a finding ended it.
    Unhealthy {
        /// The most severe finding.
        what: String,
        /// True if the finding ended the run (`--fail-on`).
        early: bool,
    },
    /// The kernel crashed (an oops or a bug) while it loaded a module: then the command did not run, unless the module was loaded
    /// on demand.
    KernelCrashed {
        /// Name of the module.
        module: String,
        /// First line of the kernel's report.
        what: String,
    },
    /// The guest reset unexpectedly.
    Reset {
        /// True if its kernel writes nothing to the console: a panic looks the same.
        silent: bool,
    },
    /// The machine stopped without a verdict.
    WentAway {
        /// End of a sentence that starts with "the guest".
        how: &'static str,
    },
    /// A watchdog device fired.
    Watchdog {
        /// QEMU's reaction (`-action watchdog=`).
        action: String,
    },
    /// QEMU exited or was killed.
    QemuDied {
        /// Exit status or signal.
        exit: QemuExit,
    },
    /// A time limit expired.
    TimedOut {
        /// Kind of limit.
        limit: Limit,
        /// Length of the limit.
        after: Duration,
    },
    /// A signal or the escape key ended the run.
    Interrupted {
        /// Signal number; SIGINT for the escape key.
        signal: i32,
    },
    /// The reader of bootling's output closed it.
    OutputClosed,
    /// The test could not be run.
    CouldNotTest {
        /// Reason.
        why: String,
    },
}

impl Outcome {
    /// Returns the exit code.
    pub fn exit_code(&self) -> u8 {
        let from_signal = |signal: u8| code::SIGNAL.saturating_add(signal);
        match self {
            Self::Exited { status } | Self::NotExecuted { status, .. } => *status,
            Self::Signaled { signal, .. } => from_signal(*signal),
            Self::Expected { .. } | Self::PoweredOff => 0,
            Self::Rejected { .. } => code::REJECTED,
            Self::Panic { .. } => code::PANIC,
            Self::Unhealthy { .. } | Self::KernelCrashed { .. } => code::UNHEALTHY,
            Self::Reset { .. } => code::RESET,
            Self::WentAway { .. } => code::WENT_AWAY,
            Self::Watchdog { .. } => code::WATCHDOG,
            Self::QemuDied { .. } => code::QEMU_DIED,
            Self::TimedOut { .. } => code::TIMED_OUT,
            Self::Interrupted { signal } => from_signal(u8::try_from(*signal).unwrap_or(2)),
            Self::OutputClosed => from_signal(13),
            Self::CouldNotTest { .. } => code::COULD_NOT_TEST,
        }
    }

    /// Returns the name used in `--json`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Exited { .. } => "exited",
            Self::Signaled { .. } => "signaled",
            Self::NotExecuted { .. } => "not-executed",
            Self::Expected { .. } => "expected",
            Self::Rejected { .. } => "rejected",
            Self::PoweredOff => "powered-off",
            Self::Panic { .. } => "panic",
            Self::Unhealthy { .. } => "unhealthy",
            Self::KernelCrashed { .. } => "kernel-crashed",
            Self::Reset { .. } => "reset",
            Self::WentAway { .. } => "went-away",
            Self::Watchdog { .. } => "watchdog",
            Self::QemuDied { .. } => "qemu-died",
            Self::TimedOut { .. } => "timed-out",
            Self::Interrupted { .. } => "interrupted",
            Self::OutputClosed => "output-closed",
            Self::CouldNotTest { .. } => "could-not-test",
        }
    }

    /// Returns the message for the user; `None` if the command's own output is sufficient.
    pub fn sentence(&self) -> Option<String> {
        Some(match self {
            Self::Exited { .. } | Self::OutputClosed | Self::Expected { .. } | Self::PoweredOff => return None,
            Self::Rejected { line } => format!("the guest's output matches a --reject pattern: {line}"),
            Self::Signaled { signal, core, crash } => {
                let core = if *core { ", core dumped" } else { "" };
                let name = signal_name(i32::from(*signal));
                match crash {
                    None => format!("the guest's command was killed by signal {signal} ({name}){core}"),
                    Some(crash) => format!("{crash}: the kernel killed the guest's command (signal {signal}, {name})"),
                }
            }
            Self::NotExecuted { command, errno, .. } => {
                format!("the guest could not execute {command}: {}", errno_text(*errno))
            }
            Self::Panic { line } => format!("the guest's kernel panicked: {line}"),
            Self::Unhealthy { what, early: false } => format!("the run succeeded, but {what}"),
            Self::Unhealthy { what, early: true } => format!("the run was ended early (--fail-on): {what}"),
            Self::KernelCrashed { module, what } => {
                format!("the guest's kernel crashed while it loaded module {module}: {what}")
            }
            Self::Reset { silent: false } => "the guest reset unexpectedly (probably a triple fault)".to_owned(),
            Self::Reset { silent: true } => {
                "the guest reset unexpectedly (a panic or a triple fault: its kernel wrote \
                nothing to the console, so they cannot be told apart)"
                    .to_owned()
            }
            Self::WentAway { how } => format!("the guest {how}"),
            Self::Watchdog { action } => format!("the guest's watchdog fired (QEMU action: {action})"),
            Self::QemuDied { exit: QemuExit::Status(status) } => {
                format!("QEMU exited with status {status} before the guest reported a verdict")
            }
            Self::QemuDied { exit: QemuExit::Signal(signal) } => {
                format!("QEMU was killed by signal {signal} ({})", signal_name(*signal))
            }
            Self::TimedOut { limit: Limit::Boot, after } => {
                format!("timed out: the guest did not reach pid 1 within {after:?} (--boot-timeout)")
            }
            Self::TimedOut { limit: Limit::Total, after } => {
                format!("timed out: no verdict within {after:?} (--timeout)")
            }
            Self::TimedOut { limit: Limit::Idle, after } => {
                format!("timed out: no activity in the guest for {after:?} (--idle-timeout)")
            }
            Self::Interrupted { signal } => format!("interrupted ({}); the guest was stopped", signal_name(*signal)),
            Self::CouldNotTest { why } => format!("could not test: {why}"),
        })
    }

    /// Returns true if the console's last lines help to explain the outcome.
    pub const fn needs_console(&self) -> bool {
        match self {
            Self::Panic { .. }
            | Self::Rejected { .. }
            | Self::Reset { .. }
            | Self::WentAway { .. }
            | Self::Watchdog { .. }
            | Self::QemuDied { .. }
            | Self::TimedOut { .. }
            | Self::CouldNotTest { .. } => true,
            Self::Exited { .. }
            | Self::Signaled { .. }
            | Self::NotExecuted { .. }
            | Self::Interrupted { .. }
            | Self::Expected { .. }
            | Self::PoweredOff
            | Self::Unhealthy { .. }
            | Self::KernelCrashed { .. }
            | Self::OutputClosed => false,
        }
    }
}
