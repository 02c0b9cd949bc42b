//! Questions to QEMU's monitor, one after the other, each with an end: for a guest whose time is up.
//!
//! While an answer is waited for the console is read, since a guest may wait for that, and signals to us are heard: one
//! that is meant to end us ends all questions.

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

/// Numbers of questions start here: other orders' are smaller, but for that of those that restore a guest.
const FIRST: u64 = 1 << 32;
/// How often it is looked whether QEMU has had the time that it may take.
const LOOK: Duration = Duration::from_millis(50);
/// How many times its time an answer may take in all, on a host that has none to spare.
const STRETCH: u32 = 10;
/// What is kept of what the console says meanwhile.
const CONSOLE_BYTES: usize = 1 << 20;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// None came in the time that QEMU has had for it.
    #[error("no answer within {}", seconds(*.0))]
    TooSlow(Duration),
    /// QEMU does not do it; its words.
    #[error("{0}")]
    Refused(String),
    /// QEMU has ended.
    #[error("QEMU has ended")]
    Gone,
    /// A signal wants an end.
    #[error("interrupted by signal {0}")]
    Interrupted(i32),
}

/// Asks a guest's QEMU.
#[derive(Debug)]
pub struct Asking<'a> {
    /// The guest.
    pub guest: &'a mut Guest,
    /// What is kept of it all.
    pub keep: Option<&'a mut Keep>,
    signals: Option<&'a mut Signals>,
    monitor: Monitor,
    leaving: Vec<u8>,
    next: u64,
    signal: Option<i32>,
    gone: bool,
    /// A thread of QEMU's: it may not be the program that we have started.
    thread: u32,
    /// What the console has said since the first question.
    pub console: Vec<u8>,
    /// To the last question.
    reply: Option<Result<Value, String>>,
}

/// How long an answer is waited for: so much of the time that QEMU has, and by the clock some times that.
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

    /// Whether there is none left.
    pub fn is_over(&self) -> bool {
        self.had >= self.whole || Instant::now() >= self.end
    }

    /// Counts what QEMU has had; a flood of what it says does not make us look all the time.
    pub fn lap(&mut self) {
        if self.looked.elapsed() >= LOOK {
            self.had += self.pace.lap();
            self.looked = Instant::now();
        }
    }
}

impl<'a> Asking<'a> {
    /// Over a monitor that was read so far, and to which these bytes are still to be written.
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

    /// A thread of QEMU's process.
    pub fn thread(&self) -> u32 {
        self.thread
    }

    /// Learns which process QEMU is.
    pub fn learn_thread(&mut self, patience: Duration) -> Result<(), Unanswered> {
        let cpus = self.ask("query-cpus-fast", &json!({}), patience)?;
        self.thread = qmp::thread_of(&cpus).unwrap_or(self.thread);
        Ok(())
    }

    /// What the questions have left: the monitor, the signal that ended them.
    pub fn done(self) -> (Monitor, Vec<u8>, Option<i32>) {
        (self.monitor, self.leaving, self.signal)
    }

    /// The signal that wants an end.
    pub fn signal(&self) -> Option<i32> {
        self.signal
    }

    /// Asks, and waits for the answer for so long as QEMU has had this time for it ([`Pace`]).
    pub fn ask(&mut self, name: &str, arguments: &Value, patience: Duration) -> Result<Value, Unanswered> {
        self.ask_with(name, arguments, patience, None)
    }

    /// Asks in the words of the monitor for people, about one vCPU or none in particular.
    pub fn hmp(&mut self, line: &str, cpu: Option<u64>, patience: Duration) -> Result<String, Unanswered> {
        let mut arguments = json!({"command-line": line});
        if let (Some(cpu), Some(object)) = (cpu, arguments.as_object_mut()) {
            object.insert("cpu-index".to_owned(), cpu.into());
        }
        let said = self.ask("human-monitor-command", &arguments, patience)?;
        Ok(said.as_str().unwrap_or_default().to_owned())
    }

    /// Hands a descriptor over, under a name.
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
        // The answer to the last question came too late, if it did.
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

    /// So much patience with QEMU from now on.
    pub fn patience(&self, whole: Duration) -> Patience {
        Patience::new(whole, self.thread)
    }

    /// Waits for something, as long as there is patience.
    fn wait(&mut self, patience: &mut Patience) -> Result<(), Unanswered> {
        if patience.is_over() {
            return Err(Unanswered::TooSlow(patience.whole));
        }
        self.turn(Instant::now() + LOOK)?;
        patience.lap();
        Ok(())
    }

    /// Lets time go by, and hears what there is to hear. The error is a reason to stop.
    pub fn nap(&mut self, time: Duration) -> Result<(), Unanswered> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.turn(end)?;
        }
        Ok(())
    }

    /// Types on the console.
    pub fn type_key(&mut self, key: u8) -> io::Result<()> {
        self.guest.keys.write_all(&[key])
    }

    /// Waits for something until `end`, and takes it in.
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
        // What is not taken now is taken later; where QEMU is gone its end tells.
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
                // The verdict is in: what happens now is our own doing.
                Said::Reply { .. } | Said::Event(_) => {}
            }
        }
    }

    /// Reads what the console has said.
    pub fn read_console(&mut self) {
        let mut buffer = [0; 16 * 1024];
        // One that is closed says nothing more.
        let len = self.guest.console.read(&mut buffer).unwrap_or(0);
        if let Some(keep) = &mut self.keep {
            keep.console(&buffer[..len]);
        }
        let room = CONSOLE_BYTES.saturating_sub(self.console.len());
        self.console.extend_from_slice(&buffer[..len.min(room)]);
    }
}
