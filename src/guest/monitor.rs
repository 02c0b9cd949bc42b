//! Synchronous use of QEMU's monitor: each command waits for its reply.
//!
//! Meanwhile the console is read, because the guest may block on it, and signals to bootling are handled: a signal that ends
//! bootling ends the wait.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};

use super::launch::Guest;
use super::qemu_process::ScheduledTime;
use crate::format::duration::duration;
use crate::output::bounded::BoundedFile;
use crate::process::signals::Signals;
use crate::qemu::qmp::{self, Reply};

/// Interval at which timeouts are checked.
const INTERVAL: Duration = Duration::from_millis(50);
/// Factor between a timeout in QEMU's time and in wall-clock time, for a busy host.
const STRETCH: u32 = 10;
/// Maximum size of console output that is kept.
const CONSOLE_BYTES: usize = 1 << 20;

/// Reason for a missing reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MonitorError {
    /// Timeout, in the time that QEMU was scheduled.
    #[error("no reply within {}", duration(*.0))]
    Timeout(Duration),
    /// QEMU refused the command, with this description.
    #[error("{0}")]
    Refused(String),
    /// QEMU has exited.
    #[error("QEMU has exited")]
    Gone,
    /// The deadline of this monitor has expired.
    #[error("the time for it was up")]
    Late,
    /// A signal ended the wait.
    #[error("interrupted by signal {0}")]
    Interrupted(i32),
}

/// Monitor of a guest outside a session, or during its inspection.
#[derive(Debug)]
pub(crate) struct Monitor<'a> {
    /// Guest.
    pub(crate) guest: &'a mut Guest,
    signals: Option<&'a mut Signals>,
    console_log: Option<&'a mut BoundedFile>,
    /// Console output so far.
    pub(crate) console: Vec<u8>,
    /// A thread of QEMU's process, which may not be the started program.
    thread: u32,
    /// Time until which it may be used; `None`: no limit.
    deadline: Option<Instant>,
    signal: Option<i32>,
    is_gone: bool,
    /// ID of the last command, and its reply.
    command: u64,
    reply: Option<Reply>,
}

/// Timeout in the time that QEMU was scheduled, and in wall-clock time multiplied by [`STRETCH`].
#[derive(Debug)]
pub(crate) struct Timeout {
    limit: Duration,
    elapsed: Duration,
    scheduled: ScheduledTime,
    checked: Instant,
    end: Instant,
}

impl Timeout {
    /// Adds the time that QEMU was scheduled; rate-limited, so that a flood of messages causes no overhead. Fails if the
    /// timeout has expired.
    pub(crate) fn check(&mut self) -> Result<(), MonitorError> {
        if self.checked.elapsed() >= INTERVAL {
            self.elapsed += self.scheduled.lap();
            self.checked = Instant::now();
        }
        let is_over = self.elapsed >= self.limit || Instant::now() >= self.end;
        if is_over { Err(MonitorError::Timeout(self.limit)) } else { Ok(()) }
    }
}

impl<'a> Monitor<'a> {
    /// Uses the monitor of `guest`. Console output is also written to `console_log`.
    pub(crate) fn new(
        guest: &'a mut Guest,
        signals: Option<&'a mut Signals>,
        console_log: Option<&'a mut BoundedFile>,
    ) -> Self {
        let (thread, console) = (guest.pid(), Vec::new());
        let deadline = None;
        Self {
            guest,
            signals,
            console_log,
            console,
            thread,
            deadline,
            signal: None,
            is_gone: false,
            command: 0,
            reply: None,
        }
    }

    /// Limits all later commands to the time until `deadline`, in wall-clock time.
    pub(crate) fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// Measures the time that QEMU is scheduled.
    pub(crate) fn scheduled_time(&self) -> ScheduledTime {
        ScheduledTime::new(self.thread)
    }

    /// Starts a timeout.
    pub(crate) fn timeout(&self, limit: Duration) -> Timeout {
        let now = Instant::now();
        let scheduled = self.scheduled_time();
        Timeout { limit, elapsed: Duration::ZERO, scheduled, checked: now, end: now + STRETCH * limit }
    }

    /// Finds a thread of QEMU's process.
    pub(crate) fn find_qemu_thread(&mut self, limit: Duration) -> Result<(), MonitorError> {
        let cpus = self.execute("query-cpus-fast", &json!({}), limit)?;
        self.thread = qmp::vcpu_thread_id(&cpus).unwrap_or(self.thread);
        Ok(())
    }

    /// Signal that ended the wait.
    pub(crate) fn signal(&self) -> Option<i32> {
        self.signal
    }

    /// Sends a command and waits for its reply.
    pub(crate) fn execute(&mut self, name: &str, arguments: &Value, limit: Duration) -> Result<Value, MonitorError> {
        self.execute_with(name, arguments, None, limit)
    }

    /// Runs a command of the human monitor, on a specific vCPU if given.
    pub(crate) fn hmp(&mut self, line: &str, cpu: Option<u64>, limit: Duration) -> Result<String, MonitorError> {
        let mut arguments = json!({"command-line": line});
        if let (Some(cpu), Some(object)) = (cpu, arguments.as_object_mut()) {
            object.insert("cpu-index".to_owned(), cpu.into());
        }
        let output = self.execute("human-monitor-command", &arguments, limit)?;
        Ok(output.as_str().unwrap_or_default().to_owned())
    }

    /// Passes a descriptor to QEMU under a name.
    pub(crate) fn send_fd(&mut self, name: &str, fd: OwnedFd, limit: Duration) -> Result<(), MonitorError> {
        self.execute_with("getfd", &json!({"fdname": name}), Some(fd), limit).map(drop)
    }

    fn execute_with(
        &mut self,
        name: &str,
        arguments: &Value,
        fd: Option<OwnedFd>,
        limit: Duration,
    ) -> Result<Value, MonitorError> {
        let mut timeout = self.timeout(limit);
        self.reply = None;
        self.command = self.guest.qmp.execute_with(name, arguments, fd);
        self.guest.qmp.flush().map_err(|_| MonitorError::Gone)?;
        loop {
            self.poll_once(Instant::now() + INTERVAL)?;
            if let Some(reply) = self.reply.take() {
                return reply.map_err(MonitorError::Refused);
            }
            timeout.check()?;
        }
    }

    /// Handles events for a given time.
    pub(crate) fn wait_for(&mut self, time: Duration) -> Result<(), MonitorError> {
        let end = Instant::now() + time;
        self.poll_once(end)?;
        while Instant::now() < end {
            self.poll_once(end)?;
        }
        Ok(())
    }

    /// Waits for an event until `end`, and handles it. Data that arrived before QEMU's end is handled first.
    fn poll_once(&mut self, end: Instant) -> Result<(), MonitorError> {
        if let Some(signal) = self.signal {
            return Err(MonitorError::Interrupted(signal));
        }
        if self.is_gone {
            return Err(MonitorError::Gone);
        }
        let now = Instant::now();
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            return Err(MonitorError::Late);
        }
        let end = self.deadline.map_or(end, |deadline| deadline.min(end));
        let mut fds = vec![
            PollFd::new(self.guest.ended(), PollFlags::IN),
            PollFd::new(&self.guest.qmp, self.guest.qmp.interest()),
            PollFd::new(&self.guest.console, PollFlags::IN),
        ];
        fds.extend(self.signals.as_ref().map(|signals| PollFd::new(*signals, PollFlags::IN)));
        let left = Timespec::try_from(end.saturating_duration_since(now)).ok();
        match poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return Err(MonitorError::Gone),
        }
        let has_ended = !fds[0].revents().is_empty();
        drop(fds);
        self.signal = self.signals.as_mut().and_then(|signals| signals.ending());
        // Events are not evaluated here: the verdict is already determined, or the guest is being saved.
        match self.guest.qmp.receive_reply(self.command) {
            Ok(reply) => self.reply = reply.or(self.reply.take()),
            Err(_) => self.is_gone = true,
        }
        self.read_console();
        self.is_gone |= has_ended;
        Ok(())
    }

    /// Reads available console output.
    pub(crate) fn read_console(&mut self) {
        let mut buffer = [0; 16 * 1024];
        // A closed console has no further output.
        let len = self.guest.console.read(&mut buffer).unwrap_or(0);
        if let Some(log) = &mut self.console_log {
            log.write(&buffer[..len]);
        }
        let room = CONSOLE_BYTES.saturating_sub(self.console.len());
        self.console.extend_from_slice(&buffer[..len.min(room)]);
    }
}
