//! The conversation with a running guest: one poll loop from QEMU's start to the verdict.
//!
//! Everything is drained, nothing is waited for by itself: a guest that floods its output is slowed down by the
//! credit of whoever reads ours, a guest that says nothing runs into a limit, and memory stays bounded.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use super::console::{Console, printable};
use super::guest::Guest;
use super::outlet::Outlet;
use super::qmp::{self, Monitor, Said};
use super::signals::Signals;
use super::talk::{Inbox, Outbox};
use super::terminal::{self, ESCAPES, Escape, RawMode, Typed};
use super::transcript::{Event, Limit, Transcript};
use crate::proto;
use crate::proto::frame::{Failure, ToGuest, ToHost};

/// After a panic the machine should reset at once; after the channel closed it should end; a halted one never does.
const GRACE: Duration = Duration::from_secs(3);
/// How long QEMU may take to flush its disks once the verdict is in.
const QUIT_GRACE: Duration = Duration::from_secs(2);
/// Events kept: a guest may send notes for ever.
const MAX_EVENTS: usize = 1000;
/// Lines of QEMU's own standard error kept.
const QEMU_LINES: usize = 40;
const CHUNK: usize = 64 * 1024;

/// What a conversation needs to know.
#[derive(Debug)]
pub struct Settings {
    /// From QEMU's start to the verdict.
    pub timeout: Option<Duration>,
    /// From QEMU's start to pid 1's first word.
    pub boot_timeout: Option<Duration>,
    /// What the terminal talks to, if anything.
    pub foreground: Foreground,
    /// Where the console goes while it is read.
    pub console: ConsoleSink,
    /// Whether QEMU's standard error is shown as it comes: the user gave QEMU arguments, which may trace.
    pub show_qemu: bool,
    /// Whether QEMU may have disks to flush, and is asked to end rather than killed.
    pub flush_disks: bool,
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

/// Talks with `guest` until it is over, then makes sure that QEMU has ended and all output is written.
pub fn converse(guest: Guest, settings: Settings, signals: Signals) -> std::io::Result<Transcript> {
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let out = Outlet::new(stdout.as_fd())?;
    let err = Outlet::new(stderr.as_fd())?;
    let input = stdin.as_fd().try_clone_to_owned()?;
    let mut session = Session::new(guest, settings, signals, out, err, input);
    if session.settings.foreground == Foreground::Console {
        session.enter_raw(stdin.as_fd());
    }
    while !session.over {
        session.step(stdin.as_fd())?;
    }
    session.finish()
}

struct Session<'tty> {
    guest: Guest,
    settings: Settings,
    signals: Signals,
    start: Instant,
    console: Console,
    monitor: Monitor,
    inbox: Inbox,
    outbox: Outbox,
    escape: Escape,
    out: Outlet,
    err: Outlet,
    input: Option<OwnedFd>,
    raw: Option<RawMode<'tty>>,
    qemu_stderr: Console,
    events: Vec<Event>,
    keys_to_console: Vec<u8>,
    greeted: bool,
    running: bool,
    interrupts: u32,
    grace: Option<Instant>,
    over: bool,
    channel_open: bool,
    stderr_open: bool,
}

/// What a polled descriptor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Signals,
    Ended,
    Console,
    Channel,
    Monitor,
    QemuStderr,
    Stdin,
    Stdout,
    Stderr,
}

impl<'tty> Session<'tty> {
    fn new(guest: Guest, settings: Settings, signals: Signals, out: Outlet, err: Outlet, input: OwnedFd) -> Self {
        Self {
            guest,
            settings,
            signals,
            start: Instant::now(),
            console: Console::default(),
            monitor: Monitor::default(),
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            escape: Escape::default(),
            out,
            err,
            input: Some(input),
            raw: None,
            qemu_stderr: Console::default(),
            events: Vec::new(),
            keys_to_console: Vec::new(),
            greeted: false,
            running: false,
            interrupts: 0,
            grace: None,
            over: false,
            channel_open: true,
            stderr_open: true,
        }
    }

    /// One turn of the loop: wait for something, handle all of it.
    fn step(&mut self, terminal: BorrowedFd<'tty>) -> std::io::Result<()> {
        for source in self.wait()? {
            if self.over {
                break;
            }
            match source {
                Source::Signals => self.on_signals(),
                Source::Ended => self.on_qemu_end()?,
                Source::Console => drop(self.read_console()),
                Source::Channel => self.on_channel(terminal),
                Source::Monitor => drop(self.read_monitor()),
                Source::QemuStderr => self.read_qemu_stderr(),
                Source::Stdin => self.read_stdin(),
                Source::Stdout => self.write_stdout(),
                Source::Stderr => drop(self.err.flush()),
            }
        }
        self.check_limits();
        Ok(())
    }

    /// Waits until a descriptor is ready or a limit runs out.
    fn wait(&self) -> std::io::Result<Vec<Source>> {
        // Whoever reads us slowly slows the guest down, console included; nothing is dropped and nothing grows.
        let congested = self.out.is_full() || self.err.is_full();
        let wants = |read: bool, write: bool| {
            let flags = if read { PollFlags::IN } else { PollFlags::empty() };
            if write { flags | PollFlags::OUT } else { flags }
        };
        let console = wants(!congested, !self.keys_to_console.is_empty());
        let mut watched = vec![
            (Source::Signals, PollFd::new(&self.signals, PollFlags::IN)),
            (Source::Ended, PollFd::new(&self.guest.ended, PollFlags::IN)),
            (Source::Monitor, PollFd::new(&self.guest.monitor, PollFlags::IN)),
            (Source::Console, PollFd::new(&self.guest.console, console)),
        ];
        if self.channel_open {
            let channel = wants(!congested, !self.outbox.leaving().is_empty());
            watched.push((Source::Channel, PollFd::new(&self.guest.channel, channel)));
        }
        if self.stderr_open && !congested {
            watched.push((Source::QemuStderr, PollFd::new(&self.guest.stderr, PollFlags::IN)));
        }
        if let Some(input) = self.input.as_ref().filter(|input| self.wants_input(input.as_fd())) {
            watched.push((Source::Stdin, PollFd::new(input, PollFlags::IN)));
        }
        for (source, outlet) in [(Source::Stdout, &self.out), (Source::Stderr, &self.err)] {
            if !outlet.is_empty() {
                watched.push((source, PollFd::new(outlet, PollFlags::OUT)));
            }
        }
        let (sources, mut fds): (Vec<Source>, Vec<PollFd<'_>>) = watched.into_iter().unzip();
        let timeout = self.next_limit().map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
        let ready = sources.iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty());
        Ok(ready.map(|(source, _)| *source).collect())
    }

    fn wants_input(&self, input: BorrowedFd<'_>) -> bool {
        let room = match self.settings.foreground {
            Foreground::Console => self.keys_to_console.len() < CHUNK,
            Foreground::Streams | Foreground::Terminal => self.running && self.outbox.room() > 0,
        };
        room && !terminal::in_background(input)
    }

    fn next_limit(&self) -> Option<Duration> {
        let boot = self.settings.boot_timeout.filter(|_| !self.greeted);
        let limits = [boot, self.settings.timeout].into_iter().flatten().map(|limit| self.start + limit);
        let next = limits.chain(self.grace).min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn check_limits(&mut self) {
        if self.over {
            return;
        }
        let elapsed = self.start.elapsed();
        let boot = self.settings.boot_timeout.filter(|_| !self.greeted).map(|limit| (Limit::Boot, limit));
        let total = self.settings.timeout.map(|limit| (Limit::Total, limit));
        if let Some((limit, after)) = [boot, total].into_iter().flatten().find(|(_, after)| elapsed >= *after) {
            self.end(Event::TimedOut { limit, after });
        } else if self.grace.is_some_and(|end| Instant::now() >= end) {
            self.over = true;
        }
    }

    fn note(&mut self, event: Event) {
        if self.events.len() < MAX_EVENTS {
            self.events.push(event);
        }
    }

    fn end(&mut self, event: Event) {
        // The last word is always kept.
        self.events.push(event);
        self.over = true;
    }

    /// A line of ours to the user, now.
    fn say(&mut self, text: &str) {
        let end = if self.raw.is_some() { "\r\n" } else { "\n" };
        self.err.push(format!("bootling: {text}{end}").as_bytes());
    }

    fn on_signals(&mut self) {
        for signal in self.signals.pending() {
            if signal == Signal::WINCH.as_raw() {
                self.resize();
            } else if signal == Signal::INT.as_raw() && self.running && self.interrupts == 0 {
                self.interrupts = 1;
                self.outbox.send(&ToGuest::Signal(2));
                self.say("asked the guest's command to stop; Ctrl-C once more ends the guest");
            } else {
                self.end(Event::Interrupted { signal });
                return;
            }
        }
    }

    fn resize(&mut self) {
        let Some(input) = self.input.as_ref().filter(|_| self.settings.foreground == Foreground::Terminal) else {
            return;
        };
        let (rows, columns) = terminal::size(input);
        if self.greeted && rows > 0 {
            self.outbox.send(&ToGuest::Resize { rows, columns });
        }
    }

    /// QEMU has ended by itself: what it left in the sockets is read before that is believed to be all.
    fn on_qemu_end(&mut self) -> std::io::Result<()> {
        while self.read_monitor() {}
        while self.read_console() {}
        while !self.over && self.read_channel() {}
        self.read_qemu_stderr();
        if self.over {
            return Ok(());
        }
        if let Some(exit) = self.guest.exit()? {
            self.end(Event::QemuExited(exit));
        }
        Ok(())
    }

    /// Reads once; true where there may be more.
    fn read_console(&mut self) -> bool {
        if !self.keys_to_console.is_empty()
            && let Ok(written) = self.guest.console.write(&self.keys_to_console)
        {
            self.keys_to_console.drain(..written);
        }
        let mut buffer = [0; 16 * 1024];
        let Ok(len @ 1..) = self.guest.console.read(&mut buffer) else { return false };
        let bytes = &buffer[..len];
        self.console.feed(bytes);
        if self.settings.foreground == Foreground::Console {
            self.out.push(bytes);
        }
        match &mut self.settings.console {
            ConsoleSink::Nowhere => {}
            ConsoleSink::Stderr => {
                let plain: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != b'\r').collect();
                self.err.push(&plain);
            }
            ConsoleSink::File(file) => {
                if let Err(error) = file.write_all(bytes) {
                    self.settings.console = ConsoleSink::Nowhere;
                    self.say(&format!("writing the console's file failed, and stops here: {error}"));
                }
            }
        }
        let signs = self.console.signs();
        if (signs.panic.is_some() || signs.halted) && self.grace.is_none() {
            self.grace = Some(Instant::now() + GRACE);
        }
        true
    }

    fn read_monitor(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        let Ok(len @ 1..) = self.guest.monitor.read(&mut buffer) else { return false };
        for said in self.monitor.feed(&buffer[..len]) {
            match said {
                // The socket's buffer is empty at this point: the few bytes always fit.
                Said::Greeting { .. } => drop(self.guest.monitor.write(qmp::NEGOTIATE)),
                Said::Event(Event::ChannelClosed) if !self.greeted => {}
                Said::Event(event) => {
                    if event == Event::ChannelClosed {
                        self.grace = Some(Instant::now() + GRACE);
                    }
                    self.note(event);
                }
            }
        }
        true
    }

    fn read_qemu_stderr(&mut self) {
        let mut buffer = [0; 4096];
        match self.guest.stderr.read(&mut buffer) {
            Ok(len @ 1..) => {
                self.qemu_stderr.feed(&buffer[..len]);
                if self.settings.show_qemu {
                    self.err.push(&buffer[..len]);
                }
            }
            Ok(0) | Err(_) => self.stderr_open = false,
        }
    }

    fn on_channel(&mut self, terminal: BorrowedFd<'tty>) {
        if !self.outbox.leaving().is_empty()
            && let Ok(written) = self.guest.channel.write(self.outbox.leaving())
        {
            self.outbox.written(written);
        }
        let was_running = self.running;
        self.read_channel();
        if self.running && !was_running && self.settings.foreground == Foreground::Terminal {
            self.enter_raw(terminal);
        }
    }

    /// Reads once; true where there may be more.
    fn read_channel(&mut self) -> bool {
        let mut buffer = [0; CHUNK];
        let len = match self.guest.channel.read(&mut buffer) {
            Ok(len @ 1..) => len,
            Ok(0) => {
                self.channel_open = false;
                return false;
            }
            Err(_) => return false,
        };
        let mut inbox = std::mem::take(&mut self.inbox);
        let received = inbox.receive(&buffer[..len], |frame| {
            self.on_frame(frame);
            !self.over
        });
        self.inbox = inbox;
        if let Err(error) = received {
            self.end(Event::Nonsense(format!("{error:?}")));
        }
        true
    }

    fn on_frame(&mut self, frame: &ToHost<'_>) {
        let at = self.start.elapsed();
        match *frame {
            ToHost::Hello { version, uptime_ns, taint, window, release } => {
                if version != proto::VERSION {
                    let ours = proto::VERSION;
                    self.end(Event::Nonsense(format!(
                        "pid 1 speaks version {version} of the protocol, we speak {ours}"
                    )));
                    return;
                }
                let uptime = Duration::from_nanos(uptime_ns);
                self.outbox.grant(window);
                self.note(Event::Hello { at, uptime, taint, release: printable(release) });
                self.greet();
            }
            ToHost::Started(_) => {
                self.running = true;
                self.note(Event::Started { at });
            }
            ToHost::Stdout(bytes) => self.out.push(bytes),
            ToHost::Stderr(bytes) => self.err.push(bytes),
            ToHost::Window(more) => self.outbox.grant(more),
            ToHost::Note(text) => {
                let text = printable(text);
                self.say(&format!("guest: {text}"));
                self.note(Event::Note(text));
            }
            ToHost::Failed { what, errno, subject } => {
                let event = Event::Failed { what, errno, subject: printable(subject) };
                match what {
                    // The status follows.
                    Failure::Exec => self.note(event),
                    Failure::Job | Failure::Module | Failure::Tty | Failure::BlockDevices => self.end(event),
                }
            }
            ToHost::Exit { ended, usage, taint } => self.end(Event::Exit { at, ended, usage, taint }),
        }
    }

    fn greet(&mut self) {
        self.greeted = true;
        let (rows, columns) = match (&self.input, self.settings.foreground) {
            (Some(input), Foreground::Terminal) => terminal::size(input),
            (Some(_) | None, Foreground::Streams | Foreground::Console | Foreground::Terminal) => (0, 0),
        };
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let realtime_ns = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        self.outbox.send(&ToGuest::Go { rows, columns, realtime_ns });
    }

    fn enter_raw(&mut self, terminal: BorrowedFd<'tty>) {
        if rustix::termios::isatty(terminal) {
            match RawMode::enter(terminal) {
                Ok(raw) => self.raw = Some(raw),
                Err(error) => self.say(&format!("setting the terminal to raw mode failed: {error}")),
            }
        }
    }

    fn read_stdin(&mut self) {
        let Some(input) = &self.input else { return };
        let room = match self.settings.foreground {
            Foreground::Console => 1024,
            Foreground::Streams | Foreground::Terminal => self.outbox.room(),
        };
        let mut buffer = [0; 32 * 1024];
        let len = room.min(buffer.len());
        match rustix::io::read(input, &mut buffer[..len]) {
            Ok(0) => self.end_input(),
            Ok(len) if self.raw.is_some() => self.type_keys(&buffer[..len]),
            Ok(len) => self.pass_input(&buffer[..len]),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(error) => {
                self.say(&format!("reading standard input failed: {error}"));
                self.end_input();
            }
        }
    }

    fn end_input(&mut self) {
        self.input = None;
        self.outbox.send(&ToGuest::StdinEof);
    }

    fn pass_input(&mut self, bytes: &[u8]) {
        match self.settings.foreground {
            Foreground::Console => self.keys_to_console.extend_from_slice(bytes),
            Foreground::Streams | Foreground::Terminal => self.outbox.send(&ToGuest::Stdin(bytes)),
        }
    }

    fn type_keys(&mut self, typed: &[u8]) {
        for what in self.escape.feed(typed) {
            match what {
                Typed::Keys(keys) => self.pass_input(&keys),
                Typed::Help => self.err.push(format!("\r\n{ESCAPES}").as_bytes()),
                Typed::Quit => self.end(Event::Escaped),
            }
        }
    }

    fn write_stdout(&mut self) {
        match self.out.flush() {
            Ok(()) if self.out.is_closed() => self.end(Event::OutputClosed),
            Ok(()) => {}
            Err(error) => self.end(Event::OutputFailed(error.to_string())),
        }
    }

    /// Ends QEMU, writes out what waits, and tells what happened.
    fn finish(mut self) -> std::io::Result<Transcript> {
        if self.settings.flush_disks && self.guest.exit()?.is_none() {
            self.quit_qemu()?;
        }
        self.guest.kill();
        while self.read_console() {}
        if self.raw.take().is_some() && !matches!(self.events.last(), Some(Event::Exit { .. })) {
            // A program that was cut off may have left colours on and the cursor hidden (ECMA-48, DECTCEM).
            self.out.push(b"\r\n\x1b[0m\x1b[?25h");
        }
        self.flush_all()?;
        let (console_tail, console) = self.console.finish();
        let (mut qemu_said, _) = self.qemu_stderr.finish();
        qemu_said.drain(..qemu_said.len().saturating_sub(QEMU_LINES));
        Ok(Transcript { events: self.events, console_tail, console, qemu_said, duration: self.start.elapsed() })
    }

    fn quit_qemu(&mut self) -> std::io::Result<()> {
        if self.guest.monitor.write(qmp::QUIT).is_ok() {
            let wait = Timespec { tv_sec: QUIT_GRACE.as_secs() as i64, tv_nsec: 0 };
            match poll(&mut [PollFd::new(&self.guest.ended, PollFlags::IN)], Some(&wait)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The guest is gone; what it wrote still has to reach its readers, however slow. A signal ends the wait.
    fn flush_all(&mut self) -> std::io::Result<()> {
        while !(self.out.is_empty() && self.err.is_empty()) {
            let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
            for outlet in [&self.out, &self.err] {
                if !outlet.is_empty() {
                    fds.push(PollFd::new(outlet, PollFlags::OUT));
                }
            }
            match poll(&mut fds, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if self.signals.pending().iter().any(|signal| *signal != Signal::WINCH.as_raw()) {
                break;
            }
            let ready = |outlet: &Outlet| {
                let mut fd = [PollFd::new(outlet, PollFlags::OUT)];
                poll(&mut fd, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|count| count > 0)
            };
            if !self.out.is_empty() && ready(&self.out) {
                self.write_stdout();
            }
            if !self.err.is_empty() && ready(&self.err) {
                drop(self.err.flush());
            }
        }
        Ok(())
    }
}
