//! Session with a running guest: one poll loop from QEMU's start to the verdict.
//!
//! All streams are read in the same loop, and none is waited for exclusively. A guest that floods its output is slowed
//! down by the reader of bootling's output, a silent guest reaches a time limit, and memory use is bounded.

mod collecting;
mod deadlines;
mod doubt;
pub(crate) mod ending;
pub(crate) mod frames;
pub(crate) mod idle;
pub(crate) mod input;
pub(crate) mod inspection;
mod last_words;
mod overtime;
mod sequence;
pub(crate) mod settings;
pub(crate) mod streams;
pub(crate) mod watch;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use self::idle::Idle;
use self::last_words::LastWords;
use self::overtime::Overtime;
pub(crate) use self::settings::{ConsoleSink, HostStreams, Interrupt, Opening, Settings};
pub use self::settings::{Foreground, ShownOn, Watch};
use super::autoload::Autoload;
use super::collect::Collection;
use super::console::Console;
use super::hang::Hang;
use super::health;
use super::launch::Guest;
use super::outlet::{Captured, Outlet};
use super::screen::{ScreenContent, ScreenReader};
use super::talk::{Inbox, Outbox};
use super::terminal::{Escape, RawMode};
use super::transcript::{Event, Transcript};
use crate::format::protocol::frame::ToGuest;
use crate::process::signals::{Signals, ends};

/// Time for a reset after a panic, or for QEMU's end after the channel was closed.
const GRACE: Duration = Duration::from_secs(3);
/// Time for QEMU to flush its disks after the verdict.
const QUIT_GRACE: Duration = Duration::from_secs(2);
/// Maximum number of reads after QEMU's end; descendants of QEMU may continue to write.
const LAST_READS: usize = 1024;
/// Maximum number of events kept: a guest may send notes endlessly.
const MAX_EVENTS: usize = 1000;
/// Number of lines of QEMU's standard error kept.
const QEMU_LINES: usize = 40;
const CHUNK: usize = 16 * 1024;

/// Runs a session with `guest` over this process's standard streams. Afterwards all output is written, and QEMU has
/// ended unless the guest keeps running.
pub(crate) fn run_session(
    guest: &mut Guest,
    settings: Settings,
    signals: Option<&mut Signals>,
) -> std::io::Result<Transcript> {
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let out = match settings.shown_on {
        ShownOn::Stdout => Outlet::new(stdout.as_fd())?,
        ShownOn::Stderr => Outlet::new(stderr.as_fd())?,
    };
    let err = Outlet::new(stderr.as_fd())?;
    let input = Some(stdin.as_fd().try_clone_to_owned()?);
    let outside = HostStreams { input, out, err, signals, terminal: Some(stdin.as_fd()) };
    run_session_with(guest, settings, outside).map(|(transcript, _, _)| transcript)
}

/// Like [`run_session`], with the given streams. Also returns the captured output and errors, for outlets in memory.
pub(crate) fn run_session_with(
    guest: &mut Guest,
    settings: Settings,
    outside: HostStreams<'_>,
) -> std::io::Result<(Transcript, Captured, Captured)> {
    let mut session = Session::new(guest, settings, outside);
    session.open();
    while !session.is_over() {
        session.step()?;
    }
    session.finish()
}

struct Session<'a> {
    guest: &'a mut Guest,
    settings: Settings,
    signals: Option<&'a mut Signals>,
    terminal: Option<BorrowedFd<'a>>,
    start: Instant,
    console: Console,
    inbox: Inbox,
    outbox: Outbox,
    escape: Escape,
    out: Outlet,
    err: Outlet,
    input: Option<OwnedFd>,
    raw: Option<RawMode<'a>>,
    qemu_stderr: Console,
    console_lost: Option<String>,
    events: Vec<Event>,
    keys_to_console: Vec<u8>,
    phase: Phase,
    /// True after pid 1's report that the command cannot be executed; its exit status follows.
    is_refused: bool,
    interrupts: u32,
    grace: Option<Instant>,
    last_words: LastWords,
    /// Time at which a time limit expired, or a signal ended a guest that is inspected then.
    timed_out: Option<Instant>,
    /// True if a signal ended the inspection.
    inspection_ended: bool,
    /// Last time at which guest output was not read because bootling's output was not read.
    congested: Option<Instant>,
    /// Descriptors that QEMU has closed.
    closed: Vec<Source>,
    watching: Watching,
    idle: Idle,
    /// ID of the QMP command that queries the vCPU threads.
    threads_command: Option<u64>,
    hang: Option<Box<Hang>>,
    health: health::Log,
    alarm: health::Alarm,
    /// Path of the module that pid 1 is loading.
    loading: Option<String>,
    autoload: Autoload,
    /// Files that are collected after the command.
    collection: Option<Collection>,
    /// State of a collection after a time limit.
    overtime: Option<Overtime>,
}

/// State of the matching of expectations; see `watch`.
#[derive(Debug, Default)]
struct Watching {
    /// Time of the last screen read.
    last: Option<Instant>,
    reader: Option<ScreenReader>,
    /// ID of the QMP command that queries the machine's state.
    status_command: Option<u64>,
    restarts: u32,
    /// True if the machine has stopped permanently.
    stopped: bool,
    seen: ScreenContent,
}

/// Progress of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// pid 1 has not sent its greeting yet.
    Booting,
    /// pid 1 has sent its greeting.
    Greeted,
    /// The command is running.
    Running,
    /// The session is over.
    Over,
}

/// Source of a poll event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Signals,
    Ended,
    State,
    Console,
    Keys,
    Channel,
    Monitor,
    Modules,
    QemuStderr,
    Stdin,
    Stdout,
    Stderr,
}

impl<'a> Session<'a> {
    fn new(guest: &'a mut Guest, mut settings: Settings, outside: HostStreams<'a>) -> Self {
        let HostStreams { input, out, err, signals, terminal } = outside;
        let start = guest.started.take().unwrap_or_else(Instant::now);
        let autoload = Autoload::new(settings.modules.take());
        let collection = settings.collection.take();
        guest.qmp.log = settings.recording.as_mut().and_then(|recording| recording.qmp.take());
        Self {
            guest,
            settings,
            signals,
            terminal,
            start,
            console: Console::default(),
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            escape: Escape::default(),
            out,
            err,
            input,
            raw: None,
            qemu_stderr: Console::default(),
            console_lost: None,
            events: Vec::new(),
            keys_to_console: Vec::new(),
            phase: Phase::Booting,
            is_refused: false,
            interrupts: 0,
            grace: None,
            last_words: LastWords::default(),
            timed_out: None,
            inspection_ended: false,
            congested: None,
            closed: Vec::new(),
            watching: Watching::default(),
            idle: Idle::default(),
            threads_command: None,
            hang: None,
            health: health::Log::default(),
            alarm: health::Alarm::default(),
            loading: None,
            autoload,
            collection,
            overtime: None,
        }
    }

    /// Sends the initial messages.
    fn open(&mut self) {
        match &mut self.settings.opening {
            Opening::Boot | Opening::Base => {}
            Opening::Command { len, .. } => {
                let len = *len;
                self.renew(len);
                if self.guest.qmp.is_ready() {
                    self.check_program();
                }
            }
        }
        self.query_status();
        self.query_threads();
        if self.settings.foreground == Foreground::Console {
            self.enter_raw();
        }
    }

    /// One iteration of the loop: waits for events and handles all of them.
    fn step(&mut self) -> std::io::Result<()> {
        if self.out.is_full() || self.err.is_full() {
            self.congested = Some(Instant::now());
        }
        for source in self.wait()? {
            if self.is_over() {
                break;
            }
            match source {
                Source::Signals => self.on_signals(),
                Source::Ended => self.on_qemu_end()?,
                Source::State => self.feed_state(),
                Source::Console => drop(self.read_console()),
                Source::Keys => self.write_keys(),
                Source::Channel => self.on_channel(),
                Source::Monitor => drop(self.read_monitor()),
                Source::Modules => self.provide_modules(),
                Source::QemuStderr => drop(self.read_qemu_stderr()),
                Source::Stdin => self.read_stdin(),
                Source::Stdout => self.write_stdout(),
                Source::Stderr => self.write_stderr(),
            }
        }
        self.check_limits();
        Ok(())
    }

    /// Waits until a descriptor is ready or a limit expires.
    fn wait(&self) -> std::io::Result<Vec<Source>> {
        // A slow reader of bootling's output slows down the guest including its console; nothing is dropped, and no
        // queue grows.
        let congested = self.out.is_full() || self.err.is_full();
        let wants = |read: bool, write: bool| {
            let flags = if read { PollFlags::IN } else { PollFlags::empty() };
            if write { flags | PollFlags::OUT } else { flags }
        };
        let mut watched = vec![
            (Source::Ended, PollFd::new(self.guest.ended(), PollFlags::IN)),
            (Source::Monitor, PollFd::new(&self.guest.qmp, self.guest.qmp.interest())),
            (Source::Console, PollFd::new(&self.guest.console, wants(!congested, false))),
        ];
        let channel = wants(!congested, !self.outbox.leaving().is_empty());
        watched.push((Source::Channel, PollFd::new(&self.guest.channel, channel)));
        if !congested {
            watched.push((Source::QemuStderr, PollFd::new(&self.guest.stderr, PollFlags::IN)));
        }
        if !self.keys_to_console.is_empty() {
            watched.push((Source::Keys, PollFd::new(&self.guest.keys, PollFlags::OUT)));
        }
        watched.retain(|(source, _)| !self.closed.contains(source));
        watched.extend(self.signals.as_ref().map(|signals| (Source::Signals, PollFd::new(*signals, PollFlags::IN))));
        watched.extend(self.autoload.ready().map(|fd| (Source::Modules, PollFd::from_borrowed_fd(fd, PollFlags::IN))));
        watched.extend(self.guest.state.as_ref().map(|state| (Source::State, PollFd::new(state, PollFlags::OUT))));
        if let Some(input) = self.input.as_ref().filter(|input| self.wants_input(input.as_fd())) {
            watched.push((Source::Stdin, PollFd::new(input, PollFlags::IN)));
        }
        for (source, outlet) in [(Source::Stdout, &self.out), (Source::Stderr, &self.err)] {
            watched.extend(outlet.fd().map(|fd| (source, PollFd::from_borrowed_fd(fd, PollFlags::OUT))));
        }
        let (sources, mut fds): (Vec<Source>, Vec<PollFd<'_>>) = watched.into_iter().unzip();
        let timeout = self.next_limit().and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
        let ready = sources.iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty());
        Ok(ready.map(|(source, _)| *source).collect())
    }

    /// Returns true if the guest's pid 1 is bootling's.
    fn has_our_pid1(&self) -> bool {
        self.settings.foreground != Foreground::Console && self.settings.watch.is_none()
    }

    fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Records an event. Notes are limited more strictly, so that the events for the verdict have space.
    fn note(&mut self, event: Event) {
        let limit = if matches!(event, Event::Note(_)) { MAX_EVENTS / 2 } else { MAX_EVENTS };
        if self.events.len() < limit {
            self.events.push(event);
        }
    }

    fn end(&mut self, event: Event) {
        let is_interrupted =
            matches!(event, Event::Interrupted { .. }) && self.settings.interrupt == Interrupt::Inspect;
        if self.timed_out.is_none() && (matches!(event, Event::TimedOut { .. }) || is_interrupted) {
            self.timed_out = Some(Instant::now());
        }
        // The final event is always recorded.
        self.events.push(event);
        self.phase = Phase::Over;
    }

    /// Prints a message to the user immediately.
    fn say(&mut self, text: &str) {
        let end = if self.raw.is_some() { "\r\n" } else { "\n" };
        self.err.push(format!("bootling: {text}{end}").as_bytes());
    }

    fn on_signals(&mut self) {
        let pending = self.signals.as_mut().map(|signals| signals.pending()).unwrap_or_default();
        for signal in pending {
            if !ends(signal) {
                // A continued job may have another window size, and is in the foreground again.
                self.resize();
            } else if self.overtime.is_some() {
                self.phase = Phase::Over;
                return;
            } else if signal == Signal::INT.as_raw()
                && self.settings.interrupt == Interrupt::Forward
                && self.phase == Phase::Running
                && self.interrupts == 0
            {
                self.interrupts = 1;
                self.outbox.send(&ToGuest::Signal(2));
                self.say("sent SIGINT to the guest's command; press Ctrl-C again to end the guest");
            } else {
                self.end(Event::Interrupted { signal });
                return;
            }
        }
    }

    /// Handles QEMU's exit: reads the remaining data in pipes and sockets first.
    fn on_qemu_end(&mut self) -> std::io::Result<()> {
        let _ = (0..LAST_READS).find(|_| !self.read_monitor());
        self.drain_console();
        let _ = (0..LAST_READS).find(|_| self.is_over() || !self.read_channel());
        let _ = (0..LAST_READS).find(|_| !self.read_qemu_stderr());
        if self.is_over() {
            return Ok(());
        }
        if let Some(exit) = self.guest.exit()? {
            self.end(Event::QemuExited(exit));
        }
        Ok(())
    }
}
