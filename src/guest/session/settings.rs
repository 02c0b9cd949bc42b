//! What a conversation is told: limits, where streams lead, how the guest begins.

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use super::Watch;
use crate::guest::hang::{Inquest, Keep};
use crate::guest::outlet::Outlet;
use crate::process::signals::Signals;

/// What a conversation needs to know.
#[derive(Debug)]
pub struct Settings {
    /// From QEMU's start to the verdict.
    pub timeout: Option<Duration>,
    /// From QEMU's start to pid 1's first word.
    pub boot_timeout: Option<Duration>,
    /// What the terminal talks to, if anything.
    pub foreground: Foreground,
    /// Where the foreground's output goes.
    pub shown_on: ShownOn,
    /// Where the console goes while it is read.
    pub console: ConsoleSink,
    /// Whether QEMU's standard error is shown as it comes: the user gave QEMU arguments, which may trace.
    pub show_qemu: bool,
    /// Whether pid 1's notes are kept to the transcript.
    pub quiet: bool,
    /// Whether QEMU may have disks to flush, and is asked to end rather than killed.
    pub flush_disks: bool,
    /// What to look for, where the console and the screen are all there is.
    pub watch: Option<Watch>,
    /// How long nothing may happen in the guest: see `idle`.
    pub idle_timeout: Option<Duration>,
    /// What is told to those who find out what a guest was doing whose time is up; `None`: nobody wants to know.
    pub inquest: Option<Inquest>,
    /// Where everything is kept, should it not end well.
    pub keep: Option<Keep>,
    /// How the guest begins.
    pub opening: Opening,
}

/// How a guest begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    /// With a boot, after which it runs its command.
    Boot,
    /// With a boot, after which it is ready for commands. That ends the conversation, and the guest stays.
    Base,
    /// It is ready, or is being restored to that: it is given a command through its window.
    Command {
        /// Bytes in the window.
        len: u64,
        /// Orders to QEMU that come first, all of them numbered [`RESTORING`]: those that restore it.
        orders: Vec<u8>,
        /// The program that QEMU must be, as [`crate::guest::launch::Guest::program`] tells it; `None`: any.
        program: Option<String>,
        /// Whether it stays for another command.
        stays: bool,
    },
}

/// The number of orders that restore a guest: an error in reply to one means that it cannot be.
pub const RESTORING: u64 = u64::MAX;

/// Our side of a conversation: what the guest's streams lead to.
#[derive(Debug)]
pub struct Outside<'a> {
    /// The command's standard input.
    pub input: Option<OwnedFd>,
    /// Where its output goes.
    pub out: Outlet,
    /// Where its errors go, and lines of ours.
    pub err: Outlet,
    /// Signals that end the guest.
    pub signals: Option<&'a mut Signals>,
    /// The terminal that may become raw.
    pub terminal: Option<BorrowedFd<'a>>,
}

/// What our standard input and output are connected with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreground {
    /// The command's three streams.
    Streams,
    /// The command's terminal: ours becomes raw while it runs.
    Terminal,
    /// The console of a guest without a channel; raw if ours is a terminal.
    Console,
    /// The same, and nothing is typed.
    Viewer,
    /// Nothing: the console is only watched.
    Nobody,
}

/// Which of our streams shows the foreground.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShownOn {
    /// Standard output.
    Stdout,
    /// Standard error: something else is written to standard output.
    Stderr,
}

/// Where the console's bytes go besides memory.
#[derive(Debug)]
pub enum ConsoleSink {
    /// Nowhere.
    Nowhere,
    /// Our standard error.
    Stderr,
    /// A file.
    File(File),
}

impl ConsoleSink {
    /// The same place: what another conversation writes goes behind what is there.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Nowhere => Self::Nowhere,
            Self::Stderr => Self::Stderr,
            Self::File(file) => Self::File(file.try_clone()?),
        })
    }
}
