//! Synchronous QMP queries with timeouts, for a guest that timed out.
//!
//! While a reply is pending the console is read, because the guest may block on it, and signals to bootling are
//! handled: a signal that ends bootling ends all queries.

use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};

use super::host::Pace;
use super::keep::Keep;
use super::report::seconds;
use crate::guest::launch::Guest;
use crate::process::signals::Signals;
use crate::qemu::qmp::{self, Monitor, Said};

/// First command ID: other commands have smaller IDs, except those that restore a guest.
const FIRST: u64 = 1 << 32;
/// Interval at which the time that QEMU has had is updated.
const LOOK: Duration = Duration::from_millis(50);
/// Factor between the timeout in QEMU's time and in wall-clock time, for a busy host.
const STRETCH: u32 = 10;
/// Maximum size of console output kept during the queries.
const CONSOLE_BYTES: usize = 1 << 20;

/// Reason for a missing reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// Timeout, in the time that QEMU has had.
    #[error("no reply within {}", seconds(*.0))]
    TooSlow(Duration),
    /// QEMU refused the command, with this description.
    #[error("{0}")]
    Refused(String),
    /// QEMU has exited.
    #[error("QEMU has exited")]
    Gone,
    /// A signal interrupted the queries.
    #[error("interrupted by signal {0}")]
    Interrupted(i32),
}

/// QMP query interface to a guest.
#[derive(Debug)]
pub struct Asking<'a> {
    /// Guest.
    pub guest: &'a mut Guest,
    /// Recording of the session.
    pub keep: Option<&'a mut Keep>,
    signals: Option<&'a mut Signals>,
    monitor: Monitor,
    leaving: Vec<u8>,
    next: u64,
    signal: Option<i32>,
    gone: bool,
    /// A thread of QEMU's process, which may not be the started program.
    thread: u32,
    /// Console output since the first query.
    pub console: Vec<u8>,
    /// Reply to the last query.
    reply: Option<Result<Value, String>>,
}

/// Timeout for a reply: in the time that QEMU has had, and in wall-clock time multiplied by [`STRETCH`].
#[derive(Debug)]
pub struct Patience {
    whole: Duration,
    had: Duration,
    pace: Pace,
    looked: Instant,
    end: Instant,
}

impl Patience {
    fn new(whole: Duration, thread: u32) -> Self {
        let now = Instant::now();
        Self { whole, had: Duration::ZERO, pace: Pace::new(thread), looked: now, end: now + STRETCH * whole }
    }

    /// Returns true if the timeout has expired.
    pub fn is_over(&self) -> bool {
        self.had >= self.whole || Instant::now() >= self.end
    }

    /// Adds the time that QEMU has had; rate-limited, so that a flood of messages causes no overhead.
    pub fn lap(&mut self) {
        if self.looked.elapsed() >= LOOK {
            self.had += self.pace.lap();
            self.looked = Instant::now();
        }
    }
}

impl<'a> Asking<'a> {
    /// Continues with a monitor whose earlier messages were read, and with bytes still to be written to it.
    pub fn new(
        guest: &'a mut Guest,
        signals: Option<&'a mut Signals>,
        keep: Option<&'a mut Keep>,
        monitor: Monitor,
        leaving: Vec<u8>,
    ) -> Self {
        let thread = guest.pid();
        Self {
            guest,
            keep,
            signals,
            monitor,
            leaving,
            next: FIRST,
            signal: None,
            gone: false,
            thread,
            console: Vec::new(),
            reply: None,
        }
    }

    /// Thread ID of a thread of QEMU's process.
    pub fn thread(&self) -> u32 {
        self.thread
    }

    /// Detects QEMU's process.
    pub fn learn_thread(&mut self, patience: Duration) -> Result<(), Unanswered> {
        let cpus = self.ask("query-cpus-fast", &json!({}), patience)?;
        self.thread = qmp::thread_of(&cpus).unwrap_or(self.thread);
        Ok(())
    }

    /// Returns the monitor, unwritten bytes, and the signal that ended the queries.
    pub fn done(self) -> (Monitor, Vec<u8>, Option<i32>) {
        (self.monitor, self.leaving, self.signal)
    }

    /// Signal that ended the queries.
    pub fn signal(&self) -> Option<i32> {
        self.signal
    }

    /// Sends a command and waits for its reply; `patience` counts in the time that QEMU has had ([`Pace`]).
    pub fn ask(&mut self, name: &str, arguments: &Value, patience: Duration) -> Result<Value, Unanswered> {
        self.ask_with(name, arguments, patience, None)
    }

    /// Runs a command of the human monitor, on a specific vCPU if given.
    pub fn hmp(&mut self, line: &str, cpu: Option<u64>, patience: Duration) -> Result<String, Unanswered> {
        let mut arguments = json!({"command-line": line});
        if let (Some(cpu), Some(object)) = (cpu, arguments.as_object_mut()) {
            object.insert("cpu-index".to_owned(), cpu.into());
        }
        let said = self.ask("human-monitor-command", &arguments, patience)?;
        Ok(said.as_str().unwrap_or_default().to_owned())
    }

    /// Passes a descriptor to QEMU under a name.
    pub fn give(&mut self, name: &str, fd: BorrowedFd<'_>, patience: Duration) -> Result<Value, Unanswered> {
        self.ask_with("getfd", &json!({"fdname": name}), patience, Some(fd))
    }

    fn ask_with(
        &mut self,
        name: &str,
        arguments: &Value,
        patience: Duration,
        along: Option<BorrowedFd<'_>>,
    ) -> Result<Value, Unanswered> {
        let mut patience = self.patience(patience);
        while !self.guest.has_greeted || !self.leaving.is_empty() {
            self.wait(&mut patience)?;
        }
        self.next += 1;
        // A late reply to the previous command is discarded.
        self.reply = None;
        let line = qmp::order(self.next, name, arguments);
        if let Some(keep) = &mut self.keep {
            keep.asked(&line);
        }
        match along {
            None => self.leaving.extend(line),
            Some(_) => qmp::send(&self.guest.monitor, &line, along).map_err(|_| Unanswered::Gone)?,
        }
        loop {
            self.write();
            if let Some(reply) = self.reply.take() {
                return reply.map_err(Unanswered::Refused);
            }
            self.wait(&mut patience)?;
        }
    }

    /// Starts a timeout in the time that QEMU has had.
    pub fn patience(&self, whole: Duration) -> Patience {
        Patience::new(whole, self.thread)
    }

    /// Waits for an event until the timeout expires.
    fn wait(&mut self, patience: &mut Patience) -> Result<(), Unanswered> {
        if patience.is_over() {
            return Err(Unanswered::TooSlow(patience.whole));
        }
        self.turn(Instant::now() + LOOK)?;
        patience.lap();
        Ok(())
    }

    /// Handles events for a given time. An error is a reason to stop.
    pub fn nap(&mut self, time: Duration) -> Result<(), Unanswered> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.turn(end)?;
        }
        Ok(())
    }

    /// Writes a key to the console.
    pub fn type_key(&mut self, key: u8) -> io::Result<()> {
        self.guest.keys.write_all(&[key])
    }

    /// Waits for an event until `end`, and handles it.
    fn turn(&mut self, end: Instant) -> Result<(), Unanswered> {
        let left = end.saturating_duration_since(Instant::now());
        if let Some(signal) = self.signal {
            return Err(Unanswered::Interrupted(signal));
        }
        if self.gone {
            return Err(Unanswered::Gone);
        }
        let time = Timespec::try_from(left).ok();
        let flags = if self.leaving.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
        let mut fds = vec![
            PollFd::new(self.guest.ended(), PollFlags::IN),
            PollFd::new(&self.guest.monitor, flags),
            PollFd::new(&self.guest.console, PollFlags::IN),
        ];
        fds.extend(self.signals.as_ref().map(|signals| PollFd::new(*signals, PollFlags::IN)));
        match poll(&mut fds, time.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return Err(Unanswered::Gone),
        }
        let ended = !fds[0].revents().is_empty();
        drop(fds);
        self.signal = self.signals.as_mut().and_then(|signals| signals.ending());
        self.write();
        self.read_monitor();
        self.read_console();
        self.gone |= ended;
        Ok(())
    }

    fn write(&mut self) {
        // The rest is written later; if QEMU has exited, its end is detected separately.
        if let Ok(written) = self.guest.monitor.write(&self.leaving) {
            drop(self.leaving.drain(..written));
        }
    }

    fn read_monitor(&mut self) {
        let mut buffer = [0; 16 * 1024];
        let len = match self.guest.monitor.read(&mut buffer) {
            Ok(0) => {
                self.gone = true;
                0
            }
            Ok(len) => len,
            Err(_) => 0,
        };
        let bytes = &buffer[..len];
        if let Some(keep) = &mut self.keep {
            keep.said(bytes);
        }
        for said in self.monitor.feed(bytes) {
            match said {
                Said::Greeting { .. } => {
                    self.guest.has_greeted = true;
                    self.leaving.splice(0..0, qmp::NEGOTIATE.iter().copied());
                }
                Said::Reply { id, result } if id == self.next => self.reply = Some(result),
                // The verdict is in: further events are a result of the inspection.
                Said::Reply { .. } | Said::Event(_) => {}
            }
        }
    }

    /// Reads available console output.
    pub fn read_console(&mut self) {
        let mut buffer = [0; 16 * 1024];
        // A closed console has no further output.
        let len = self.guest.console.read(&mut buffer).unwrap_or(0);
        if let Some(keep) = &mut self.keep {
            keep.console(&buffer[..len]);
        }
        let room = CONSOLE_BYTES.saturating_sub(self.console.len());
        self.console.extend_from_slice(&buffer[..len.min(room)]);
    }
}
