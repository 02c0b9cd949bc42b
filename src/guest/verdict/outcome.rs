//! What came of a boot: its name for scripts, its sentence for people, its exit code.

use std::time::Duration;

use super::code;
use super::names::{errno_text, signal_name};
use crate::guest::transcript::{Limit, QemuExit};

/// What came of a boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The command exited.
    Exited {
        /// Its status.
        status: u8,
    },
    /// A signal killed the command.
    Signaled {
        /// Its number.
        signal: u8,
        /// Whether core was dumped.
        core: bool,
    },
    /// The command could not be executed: 126 or 127, as shells have it.
    NotExecuted {
        /// The status.
        status: u8,
        /// What was to be executed.
        command: String,
        /// The guest kernel's error number.
        errno: u32,
    },
    /// Everything that was expected of a disk came.
    Expected {
        /// The line that had the last of it.
        line: String,
    },
    /// What must not come came.
    Rejected {
        /// The line.
        line: String,
    },
    /// The guest powered itself off, and nothing else was expected.
    PoweredOff,
    /// The kernel panicked.
    Panic {
        /// Its words.
        line: String,
    },
    /// The command succeeded, or all that was expected came, and the kernel is not well.
    Unhealthy {
        /// The worst of it.
        what: String,
    },
    /// The processor reset although nobody asked.
    Reset,
    /// The machine stopped without a verdict.
    WentAway {
        /// In which way, as the end of a sentence about the guest.
        how: &'static str,
    },
    /// A watchdog device fired.
    Watchdog {
        /// What QEMU did about it.
        action: String,
    },
    /// QEMU ended by itself.
    QemuDied {
        /// How.
        exit: QemuExit,
    },
    /// A limit ran out.
    TimedOut {
        /// Which.
        limit: Limit,
        /// How long it was.
        after: Duration,
    },
    /// A signal, or the escape key, ended the run.
    Interrupted {
        /// Its number; the escape key counts as SIGINT.
        signal: i32,
    },
    /// Nobody read the output any more.
    OutputClosed,
    /// There is nothing to judge.
    CouldNotTest {
        /// Why, as a sentence.
        why: String,
    },
}

impl Outcome {
    /// The exit code.
    pub fn exit_code(&self) -> u8 {
        let from_signal = |signal: u8| code::SIGNAL.saturating_add(signal);
        match self {
            Self::Exited { status } | Self::NotExecuted { status, .. } => *status,
            Self::Signaled { signal, .. } => from_signal(*signal),
            Self::Expected { .. } | Self::PoweredOff => 0,
            Self::Rejected { .. } => code::REJECTED,
            Self::Panic { .. } => code::PANIC,
            Self::Unhealthy { .. } => code::UNHEALTHY,
            Self::Reset => code::RESET,
            Self::WentAway { .. } => code::WENT_AWAY,
            Self::Watchdog { .. } => code::WATCHDOG,
            Self::QemuDied { .. } => code::QEMU_DIED,
            Self::TimedOut { .. } => code::TIMED_OUT,
            Self::Interrupted { signal } => from_signal(u8::try_from(*signal).unwrap_or(2)),
            Self::OutputClosed => from_signal(13),
            Self::CouldNotTest { .. } => code::COULD_NOT_TEST,
        }
    }

    /// One word for `--json`.
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
            Self::Reset => "reset",
            Self::WentAway { .. } => "went-away",
            Self::Watchdog { .. } => "watchdog",
            Self::QemuDied { .. } => "qemu-died",
            Self::TimedOut { .. } => "timed-out",
            Self::Interrupted { .. } => "interrupted",
            Self::OutputClosed => "output-closed",
            Self::CouldNotTest { .. } => "could-not-test",
        }
    }

    /// One clear sentence for the user; `None` where the command has spoken for itself.
    pub fn sentence(&self) -> Option<String> {
        Some(match self {
            Self::Exited { .. } | Self::OutputClosed | Self::Expected { .. } | Self::PoweredOff => return None,
            Self::Rejected { line } => format!("the guest said what --reject does not allow: {line}"),
            Self::Signaled { signal, core } => {
                let core = if *core { ", core dumped" } else { "" };
                format!("the guest's command was killed by signal {signal} ({}){core}", signal_name(i32::from(*signal)))
            }
            Self::NotExecuted { command, errno, .. } => {
                format!("the guest could not execute {command}: {}", errno_text(*errno))
            }
            Self::Panic { line } => format!("the guest's kernel panicked: {line}"),
            Self::Unhealthy { what } => format!("the run succeeded, but {what}"),
            Self::Reset => {
                "the guest's processor reset although nobody asked for it (most likely a triple fault)".to_owned()
            }
            Self::WentAway { how } => format!("the guest {how}"),
            Self::Watchdog { action } => format!("the guest's watchdog fired, and QEMU did as told: {action}"),
            Self::QemuDied { exit: QemuExit::Status(status) } => {
                format!("QEMU ended with status {status} before the guest gave a verdict")
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
                format!("timed out: nothing happened in the guest for {after:?} (--idle-timeout)")
            }
            Self::Interrupted { signal } => format!("interrupted ({}); the guest is ended", signal_name(*signal)),
            Self::CouldNotTest { why } => format!("could not test: {why}"),
        })
    }

    /// Whether the console's last lines help to understand it.
    pub const fn wants_console(&self) -> bool {
        match self {
            Self::Panic { .. }
            | Self::Rejected { .. }
            | Self::Reset
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
            | Self::OutputClosed => false,
        }
    }
}
