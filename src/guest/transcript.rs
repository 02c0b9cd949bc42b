//! What happened in one boot: typed events in order, and the console's last lines. Verdicts are computed from this alone.

use std::time::Duration;

use super::hang::Hang;
use super::health::Finding;
use super::screen::Seen;
use crate::format::protocol::frame::{Ended, Failure, Usage};

/// Everything a boot gave, once it is over.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Transcript {
    /// What happened, in order.
    pub events: Vec<Event>,
    /// The console's last lines, control characters removed.
    pub console_tail: Vec<String>,
    /// What the kernel said about its own end, as the console told it.
    pub console: ConsoleSigns,
    /// What the boot was to come to.
    pub goal: Goal,
    /// Expectations that were not met.
    pub missing: Vec<String>,
    /// What the screen showed at the end, where that was asked for.
    pub screen: Seen,
    /// QEMU's last words on its standard error.
    pub qemu_said: Vec<String>,
    /// Why the file that the console was to be written to lacks some of it, if it does.
    pub console_lost: Option<String>,
    /// What the kernel's log says about its health.
    pub health: Vec<Finding>,
    /// What the guest was doing when its time was up.
    pub hang: Option<Box<Hang>>,
    /// From QEMU's start to its end.
    pub duration: Duration,
}

/// What a boot is to come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Goal {
    /// pid 1's report of how its command ended.
    #[default]
    Command,
    /// Something on the console or the screen.
    Expectations,
    /// The guest's own end.
    PowerOff,
}

/// Lines of the console that bear on the verdict: the first of each kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConsoleSigns {
    /// Whether the guest has written anything at all.
    pub spoke: bool,
    /// `Kernel panic - not syncing: ...`
    pub panic: Option<String>,
    /// The same, where the guest spoke on its channel long after it: somebody else had written it, or another processor
    /// had much to say before the kernel stopped it.
    pub doubted_panic: Option<String>,
    /// Whether it said `reboot: Restarting system` or `sysrq: Resetting`, as it does before a reset that was asked for.
    pub restart: bool,
    /// Whether it said `reboot: System halted`, after which nothing more comes.
    pub halted: bool,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// pid 1 spoke for the first time.
    Hello {
        /// Since QEMU's start, by the host's clock.
        at: Duration,
        /// Since the kernel's start, by the guest's clock.
        uptime: Duration,
        /// `/proc/sys/kernel/tainted`.
        taint: u64,
        /// `uname -r`.
        release: String,
    },
    /// pid 1 has done all that can be done without a command.
    Ready {
        /// Since QEMU's start, by the host's clock.
        at: Duration,
    },
    /// QEMU could not restore the guest.
    NotRestored(String),
    /// The command started; since QEMU's start.
    Started {
        /// By the host's clock.
        at: Duration,
    },
    /// A line of pid 1's for the user.
    Note(String),
    /// pid 1 could not do something.
    Failed {
        /// What.
        what: Failure,
        /// The guest kernel's error number, 0 for none.
        errno: u32,
        /// Whose fault.
        subject: String,
    },
    /// pid 1's verdict.
    Exit {
        /// Since QEMU's start, by the host's clock.
        at: Duration,
        /// How the command ended.
        ended: Ended,
        /// What it took.
        usage: Usage,
        /// Taint flags after it.
        taint: u64,
    },
    /// QEMU told that the machine stopped for good.
    Shutdown {
        /// Whether the guest caused it.
        guest: bool,
        /// QEMU's word: `guest-shutdown`, `guest-reset`, `host-signal`, ...
        reason: String,
    },
    /// A watchdog device fired; QEMU's word for what it does.
    Watchdog {
        /// `poweroff`, `reset`, ...
        action: String,
    },
    /// The machine was reset, and goes on.
    Restarted {
        /// Whether the guest did it.
        guest: bool,
    },
    /// Everything that was expected of the console and the screen has come.
    Expected {
        /// Since QEMU's start, by the host's clock.
        at: Duration,
        /// The line that had the last of it.
        line: String,
    },
    /// A line came that must not.
    Rejected {
        /// The line.
        line: String,
    },
    /// The guest's panic device reported a panic.
    GuestPanicked,
    /// The guest closed the control channel.
    ChannelClosed,
    /// The guest sent something that is not a frame.
    Nonsense(String),
    /// QEMU's process ended by itself.
    QemuExited(QemuExit),
    /// A limit ran out.
    TimedOut {
        /// Which.
        limit: Limit,
        /// How long it was.
        after: Duration,
    },
    /// A signal told us to end.
    Interrupted {
        /// Its number.
        signal: i32,
    },
    /// The user typed the escape key.
    Escaped,
    /// Nobody reads our standard output any more.
    OutputClosed,
    /// Our standard output does not take the command's; what the system said.
    OutputFailed(String),
}

/// How QEMU's process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QemuExit {
    /// Its exit status.
    Status(i32),
    /// The signal that killed it.
    Signal(i32),
}

/// Limits on time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// From QEMU's start to pid 1's first word (`--boot-timeout`).
    Boot,
    /// From QEMU's start to the verdict (`--timeout`).
    Total,
    /// Without any sign of progress (`--idle-timeout`).
    Idle,
}

impl Event {
    /// Whether the command came to an end of its own: a guest that takes several is ready for the next one.
    pub const fn ends_command(&self) -> bool {
        matches!(self, Self::Exit { ended: Ended::Exited(_) | Ended::Signaled(..), .. })
    }
}

impl Transcript {
    /// pid 1's verdict, if it came.
    pub fn exit(&self) -> Option<(Duration, Ended, Usage, u64)> {
        self.events.iter().find_map(|event| match event {
            Event::Exit { at, ended, usage, taint } => Some((*at, *ended, *usage, *taint)),
            Event::Hello { .. }
            | Event::Ready { .. }
            | Event::NotRestored(_)
            | Event::Started { .. }
            | Event::Note(_)
            | Event::Failed { .. }
            | Event::Shutdown { .. }
            | Event::Watchdog { .. }
            | Event::Restarted { .. }
            | Event::Expected { .. }
            | Event::Rejected { .. }
            | Event::GuestPanicked
            | Event::ChannelClosed
            | Event::Nonsense(_)
            | Event::QemuExited(_)
            | Event::TimedOut { .. }
            | Event::Interrupted { .. }
            | Event::Escaped
            | Event::OutputClosed
            | Event::OutputFailed(_) => None,
        })
    }

    /// Whether the guest ever showed a sign of life.
    pub fn guest_lived(&self) -> bool {
        self.console.spoke || self.events.iter().any(|event| matches!(event, Event::Hello { .. }))
    }
}
