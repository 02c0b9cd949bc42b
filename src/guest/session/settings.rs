//! Session settings: time limits, stream destinations, start mode.

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use crate::guest::autoload::ModuleSource;
use crate::guest::collect::Collection;
use crate::guest::expect::Expectations;
use crate::guest::hang::{HangInput, Recording};
use crate::guest::health::Rules;
use crate::guest::outlet::Outlet;
use crate::guest::screen::ScreenRequest;
use crate::guest::transcript::Goal;
use crate::process::signals::Signals;

/// Settings of a session.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Time limit from QEMU's start to the verdict.
    pub(crate) timeout: Option<Duration>,
    /// Time limit from QEMU's start to pid 1's first message.
    pub(crate) boot_timeout: Option<Duration>,
    /// Guest endpoint connected to the terminal.
    pub(crate) foreground: Foreground,
    /// Destination of the foreground's output.
    pub(crate) shown_on: ShownOn,
    /// Destination of the console output.
    pub(crate) console: ConsoleSink,
    /// True if QEMU's standard error is shown immediately: the user passed QEMU arguments, which may enable tracing.
    pub(crate) show_qemu: bool,
    /// True if pid 1's notes are only recorded in the transcript.
    pub(crate) quiet: bool,
    /// True if QEMU may have to flush disks, and must therefore quit instead of being killed.
    pub(crate) flush_disks: bool,
    /// Expectations for a guest that has only a console and a screen.
    pub(crate) watch: Option<Watch>,
    /// Time limit without progress; see `idle`.
    pub(crate) idle_timeout: Option<Duration>,
    /// Input for the inspection of a guest that timed out; `None`: no inspection.
    pub(crate) hang_input: Option<HangInput>,
    /// Time for the inspection; `None`: no inspection.
    pub(crate) hang_report: Option<Duration>,
    /// Effect of a signal that ends bootling.
    pub(crate) interrupt: Interrupt,
    /// Health rules: which findings end the session.
    pub(crate) rules: Rules,
    /// Files that record the session, for the case of a failure.
    pub(crate) recording: Option<Recording>,
    /// Command line given to the kernel.
    pub(crate) command_line: String,
    /// Modules that the guest receives on demand; `None`: none.
    pub(crate) modules: Option<ModuleSource>,
    /// Files to collect after the command; `None`: none.
    pub(crate) collection: Option<Collection>,
    /// Start mode of the guest.
    pub(crate) opening: Opening,
}

/// Effect of a signal that ends bootling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interrupt {
    /// The first SIGINT goes to the command: an interactive user may want to end only the command. Other signals end
    /// the guest.
    Forward,
    /// The guest ends.
    End,
    /// The guest is inspected, then ends.
    Inspect,
}

/// Start mode of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Opening {
    /// The guest boots, then runs its command.
    Boot,
    /// The guest boots, then is ready for commands. This ends the session; the guest keeps running.
    Base,
    /// The guest is ready, or is restored to that state; it receives a command through its window.
    Command {
        /// Number of bytes in the window.
        len: u64,
        /// Required QEMU program, as returned by [`super::super::guest::Guest::program`]; `None`: any program.
        program: Option<String>,
        /// True if the guest keeps running for another command.
        stays: bool,
    },
}

/// Expectations for a guest without bootling's pid 1, and limits.
#[derive(Debug, Default)]
pub struct Watch {
    /// Expectations for the console and the screen.
    pub expectations: Expectations,
    /// Screen content to read at the end.
    pub last_screen: ScreenRequest,
    /// Maximum number of resets.
    pub restarts: u32,
    /// Time to continue after all expectations matched.
    pub linger: Duration,
}

impl Watch {
    /// Goal of the boot.
    pub(crate) fn goal(&self) -> Goal {
        if self.expectations.are_any() { Goal::Expectations } else { Goal::PowerOff }
    }
}

/// Host side of the guest's streams.
#[derive(Debug)]
pub(crate) struct HostStreams<'a> {
    /// Standard input of the command.
    pub(crate) input: Option<OwnedFd>,
    /// Destination of the command's standard output.
    pub(crate) out: Outlet,
    /// Destination of the command's standard error and of bootling's messages.
    pub(crate) err: Outlet,
    /// Signals that end the guest.
    pub(crate) signals: Option<&'a mut Signals>,
    /// Terminal that may be set to raw mode.
    pub(crate) terminal: Option<BorrowedFd<'a>>,
}

/// Guest endpoint connected to bootling's standard input and output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreground {
    /// The command's standard streams.
    Streams,
    /// The command's terminal; bootling's terminal is in raw mode while the command runs.
    Terminal,
    /// The console of a guest without a control channel; in raw mode if bootling has a terminal.
    Console,
    /// The console, without input.
    Viewer,
    /// No endpoint: the console is only recorded.
    None,
}

/// Stream that shows the foreground's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShownOn {
    /// Standard output.
    Stdout,
    /// Standard error, because standard output is used for something else.
    Stderr,
}

/// Additional destination of the console output.
#[derive(Debug)]
pub(crate) enum ConsoleSink {
    /// None.
    Nowhere,
    /// bootling's standard error.
    Stderr,
    /// File.
    File(File),
}

impl ConsoleSink {
    /// Returns the same destination; a second session appends to it.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Nowhere => Self::Nowhere,
            Self::Stderr => Self::Stderr,
            Self::File(file) => Self::File(file.try_clone()?),
        })
    }
}
