//! Record of one boot: events in order, and the last console lines. Verdicts are computed only from this.

use std::time::Duration;

use super::autoload::record::LoadedModule;
use super::collect::record::Collected;
use super::hang::Hang;
use super::health::Finding;
use super::screen::ScreenContent;
use crate::format::protocol::frame::{Ended, Failure, Usage};
use crate::guest::files::report::ShareReport;
use crate::qemu::qmp;

/// Complete record of a boot.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Transcript {
    /// Directories of the host that the command saw.
    pub shares: Vec<ShareReport>,
    /// Events in order.
    pub(crate) events: Vec<Event>,
    /// Last console lines, without control characters.
    pub console_tail: Vec<String>,
    /// Kernel messages on the console about the guest's end.
    pub(crate) console: ConsoleSigns,
    /// Goal of the boot.
    pub(crate) goal: Goal,
    /// Expectations without a match.
    pub missing: Vec<String>,
    /// Screen content at the end, if requested.
    pub screen: ScreenContent,
    /// Last lines of QEMU's standard error.
    pub qemu_output: Vec<String>,
    /// Reason why the console file is incomplete, if it is.
    pub(crate) console_lost: Option<String>,
    /// Health findings from the kernel log.
    pub health: Vec<Finding>,
    /// State of a guest that timed out.
    pub hang: Option<Box<Hang>>,
    /// Time from QEMU's start to its end.
    pub duration: Duration,
    /// Properties of the kernel.
    pub kernel: KernelTraits,
    /// Modules that were loaded on demand.
    pub modules: Vec<LoadedModule>,
    /// Files that were collected, in the order of the requests.
    pub collected: Vec<Collected>,
}

/// Properties of a kernel that its configuration reveals; `None`: unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KernelTraits {
    /// Whether it writes its messages to the console.
    pub writes_console: Option<bool>,
    /// Whether it can unpack an initrd and execute pid 1.
    pub starts_init: Option<bool>,
}

/// Goal of a boot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Goal {
    /// pid 1 reports the exit status of its command.
    #[default]
    Command,
    /// Expected output appears on the console or the screen.
    Expectations,
    /// The guest powers off.
    PowerOff,
}

/// Console lines that affect the verdict: the first of each kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ConsoleSigns {
    /// True if the guest wrote any output.
    pub(crate) has_output: bool,
    /// `Kernel panic - not syncing: ...`
    pub(crate) panic: Option<String>,
    /// A panic message after which the guest sent data on its channel for a long time: another process wrote the
    /// message, or another processor printed many messages before the kernel stopped it.
    pub(crate) unconfirmed_panic: Option<String>,
    /// True if `reboot: Restarting system` or `sysrq: Resetting` was printed, as the kernel does before a requested
    /// reset.
    pub(crate) restart: bool,
    /// Reason why pid 1 ended without a channel to the host.
    pub(crate) gave_up: Option<String>,
    /// True if `reboot: System halted` was printed, after which no further output follows.
    pub(crate) halted: bool,
}

/// Event during a boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// First message of pid 1.
    Hello {
        /// Time since QEMU's start, by the host's clock.
        at: Duration,
        /// Time since the kernel's start, by the guest's clock.
        uptime: Duration,
        /// `/proc/sys/kernel/tainted`.
        taint: u64,
        /// `uname -r`.
        release: String,
    },
    /// pid 1 has done everything that does not depend on a command.
    Ready {
        /// Time since QEMU's start, by the host's clock.
        at: Duration,
    },
    /// QEMU failed to restore the guest, for this reason.
    NotRestored(String),
    /// The command started.
    Started {
        /// Time since QEMU's start, by the host's clock.
        at: Duration,
    },
    /// A note from pid 1 for the user.
    Note(String),
    /// pid 1 gave up before its first message, for this reason.
    GaveUp(String),
    /// An operation of pid 1 failed.
    Failed {
        /// Failed operation.
        what: Failure,
        /// The guest kernel's error number, 0 if none.
        errno: u32,
        /// Object of the operation.
        subject: String,
    },
    /// pid 1's report of the command's exit status.
    Exit {
        /// Time since QEMU's start, by the host's clock.
        at: Duration,
        /// Exit status of the command.
        ended: Ended,
        /// Resource usage of the command.
        usage: Usage,
        /// Taint flags after the command.
        taint: u64,
    },
    /// QEMU reported that the machine stopped permanently.
    Shutdown {
        /// True if the guest caused it.
        guest: bool,
        /// Reason as reported by QEMU: `guest-shutdown`, `guest-reset`, `host-signal`, ...
        reason: String,
    },
    /// A watchdog device fired.
    Watchdog {
        /// Action as reported by QEMU: `poweroff`, `reset`, ...
        action: String,
    },
    /// The machine was reset and continues to run.
    Restarted {
        /// True if the guest caused it.
        guest: bool,
    },
    /// All expectations for the console and the screen matched.
    Expected {
        /// Time since QEMU's start, by the host's clock.
        at: Duration,
        /// Line of the last match.
        line: String,
    },
    /// A rejected pattern matched.
    Rejected {
        /// Matching line.
        line: String,
    },
    /// The guest's panic device reported a panic.
    GuestPanicked,
    /// The guest closed the control channel.
    ChannelClosed,
    /// The guest sent invalid data on the control channel.
    InvalidData(String),
    /// QEMU exited by itself.
    QemuExited(QemuExit),
    /// A time limit expired.
    TimedOut {
        /// Limit.
        limit: Limit,
        /// Duration of the limit.
        after: Duration,
    },
    /// The console showed a finding that ends the run (`--fail-on`): its sentence.
    FailedOn(String),
    /// A signal interrupted bootling.
    Interrupted {
        /// Signal number.
        signal: i32,
    },
    /// The user typed the escape sequence.
    Escaped,
    /// The reader of bootling's standard output closed its end.
    OutputClosed,
    /// Writing to bootling's standard output failed, with this error.
    OutputFailed(String),
}

/// Exit status of QEMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QemuExit {
    /// Exit code.
    Status(i32),
    /// Terminating signal.
    Signal(i32),
}

/// Time limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// From QEMU's start to pid 1's first message (`--boot-timeout`).
    Boot,
    /// From QEMU's start to the exit status of the command (`--timeout`).
    Total,
    /// Without any progress (`--idle-timeout`).
    Idle,
}

impl From<qmp::Event> for Event {
    fn from(event: qmp::Event) -> Self {
        match event {
            qmp::Event::Shutdown { guest, reason } => Self::Shutdown { guest, reason },
            qmp::Event::Reset { guest } => Self::Restarted { guest },
            qmp::Event::Watchdog { action } => Self::Watchdog { action },
            qmp::Event::GuestPanicked => Self::GuestPanicked,
            qmp::Event::PortClosed => Self::ChannelClosed,
        }
    }
}

impl Event {
    /// Returns true if the command ended by itself: a guest for several commands is then ready for the next one.
    pub(crate) const fn ends_command(&self) -> bool {
        matches!(self, Self::Exit { ended: Ended::Exited(_) | Ended::Signaled(..), .. })
    }
}

impl Transcript {
    /// Returns pid 1's report of the command's exit status, if received.
    pub(crate) fn exit(&self) -> Option<(Duration, Ended, Usage, u64)> {
        self.events.iter().find_map(|event| match event {
            Event::Exit { at, ended, usage, taint } => Some((*at, *ended, *usage, *taint)),
            Event::Hello { .. }
            | Event::Ready { .. }
            | Event::NotRestored(_)
            | Event::Started { .. }
            | Event::Note(_)
            | Event::GaveUp(_)
            | Event::Failed { .. }
            | Event::Shutdown { .. }
            | Event::Watchdog { .. }
            | Event::Restarted { .. }
            | Event::Expected { .. }
            | Event::Rejected { .. }
            | Event::GuestPanicked
            | Event::ChannelClosed
            | Event::InvalidData(_)
            | Event::QemuExited(_)
            | Event::TimedOut { .. }
            | Event::FailedOn(_)
            | Event::Interrupted { .. }
            | Event::Escaped
            | Event::OutputClosed
            | Event::OutputFailed(_) => None,
        })
    }

    /// Adds a note before the event that ended the session: callers expect that to be the last one.
    pub(crate) fn add_note(&mut self, note: String) {
        let end = self.events.len().saturating_sub(1);
        self.events.insert(end, Event::Note(note));
    }

    /// Returns true if the guest showed any activity.
    pub fn showed_activity(&self) -> bool {
        self.console.has_output || self.greeted()
    }

    /// Returns true for a guest in which pid 1 runs a command, false for a disk.
    pub fn runs_a_command(&self) -> bool {
        self.goal == Goal::Command
    }

    /// Returns true if pid 1 sent its first message.
    pub(crate) fn greeted(&self) -> bool {
        self.events.iter().any(|event| matches!(event, Event::Hello { .. }))
    }
}
