//! Saves a machine that waits for commands: its device state as QEMU streams it (`docs/devel/migration.rst`); its
//! memory is already in a file of bootling.
//!
//! QEMU does not stream shared memory (`x-ignore-shared`), and writes the rest to a pipe, so that it needs no
//! permission to open files. QEMU may refuse, because some devices cannot be saved.

use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pipe::{PipeFlags, pipe_with};
use serde_json::{Value, json};

use crate::guest::launch::Guest;
use crate::guest::session::RESTORING;
use crate::process::signals::Signals;
use crate::qemu::qmp::{Monitor, Said, order, send};

/// Timeout for saving about a megabyte of device state, which normally takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// Maximum size of the state. A machine with graphics includes 16 MiB of video memory.
const LIMIT: usize = 512 << 20;
/// Interval between two progress queries.
const NAP: Duration = Duration::from_millis(2);
/// QEMU's name of bootling's pipe.
const PIPE_NAME: &str = "bootling";

/// Error: a machine could not be saved.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// QEMU refused a command, with this description.
    #[error("{0}")]
    Refused(String),
    /// QEMU exited.
    #[error("QEMU exited during the save")]
    Gone,
    /// Timeout.
    #[error("QEMU did not save the machine within {} s", PATIENCE.as_secs())]
    TooSlow,
    /// The state exceeds the limit.
    #[error("the device state is larger than {} MiB", LIMIT >> 20)]
    TooLarge,
    /// A signal interrupted the save.
    #[error("interrupted by signal {0}")]
    Interrupted(i32),
    /// A system call failed.
    #[error("failed to communicate with QEMU: {0}")]
    Io(#[from] io::Error),
}

impl From<rustix::io::Errno> for SnapshotError {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// Saves the device state of a machine. The machine is stopped afterwards; [`goes_on`] resumes it.
pub fn save(guest: &mut Guest, signals: Option<&mut Signals>) -> Result<Vec<u8>, SnapshotError> {
    let (state, end) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setfl(&state, fcntl_getfl(&state)? | OFlags::NONBLOCK)?;
    let mut saving = Saving {
        guest,
        signals,
        monitor: Monitor::default(),
        pipe: Some(state.into()),
        state: Vec::new(),
        next: 0,
        deadline: Instant::now() + PATIENCE,
    };
    saving.ask("migrate-set-capabilities", &ignore_shared(), None)?;
    saving.ask("getfd", &json!({"fdname": PIPE_NAME}), Some(end.as_fd()))?;
    // Only QEMU's end remains open: the state is complete when QEMU closes it.
    drop(end);
    saving.ask("migrate", &json!({"uri": format!("fd:{PIPE_NAME}")}), None)?;
    loop {
        let told = saving.ask("query-migrate", &json!({}), None)?;
        match told.get("status").and_then(Value::as_str) {
            Some("completed") => break,
            Some("failed" | "cancelled") => {
                let why = told.get("error-desc").and_then(Value::as_str).unwrap_or("no reason reported");
                return Err(SnapshotError::Refused(why.to_owned()));
            }
            Some(_) | None => saving.turn(Some(NAP))?,
        }
    }
    while saving.pipe.is_some() {
        // Events also arrive on the monitor; they must be read, or poll would return immediately.
        let _ = saving.heard()?;
        saving.turn(None)?;
    }
    Ok(saving.state)
}

/// QMP commands that resume a saved machine.
pub fn goes_on() -> Vec<u8> {
    order(RESTORING, "cont", &json!({}))
}

/// QMP commands that restore a machine from this pipe end, which QEMU has inherited.
pub fn restores(state: &OwnedFd) -> Vec<u8> {
    let state = state.as_raw_fd();
    let mut orders = order(RESTORING, "migrate-set-capabilities", &ignore_shared());
    orders.extend(order(RESTORING, "migrate-incoming", &json!({"uri": format!("fd:{state}")})));
    orders
}

fn ignore_shared() -> Value {
    json!({"capabilities": [{"capability": "x-ignore-shared", "state": true}]})
}

struct Saving<'a> {
    guest: &'a mut Guest,
    signals: Option<&'a mut Signals>,
    monitor: Monitor,
    pipe: Option<std::fs::File>,
    state: Vec<u8>,
    next: u64,
    deadline: Instant,
}

impl Saving<'_> {
    /// Sends a command, with a descriptor if given, and waits for its reply.
    fn ask(&mut self, name: &str, arguments: &Value, along: Option<BorrowedFd<'_>>) -> Result<Value, SnapshotError> {
        self.next += 1;
        let line = order(self.next, name, arguments);
        send(&self.guest.monitor, &line, along)?;
        loop {
            if let Some(reply) = self.heard()? {
                return reply.map_err(SnapshotError::Refused);
            }
            self.turn(None)?;
        }
    }

    /// Returns the reply to the last command, if received.
    fn heard(&mut self) -> Result<Option<Result<Value, String>>, SnapshotError> {
        let mut buffer = [0; 4096];
        let len = match self.guest.monitor.read(&mut buffer) {
            Ok(0) => return Err(SnapshotError::Gone),
            Ok(len) => len,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => 0,
            Err(error) => return Err(error.into()),
        };
        let mut replies = self.monitor.feed(&buffer[..len]).into_iter().filter_map(|said| match said {
            Said::Reply { id, result } if id == self.next => Some(result),
            Said::Reply { .. } | Said::Greeting { .. } | Said::Event(_) => None,
        });
        Ok(replies.next_back())
    }

    /// Waits for an event, and reads available device state.
    fn turn(&mut self, nap: Option<Duration>) -> Result<(), SnapshotError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(SnapshotError::TooSlow);
        }
        let left = nap.unwrap_or(left);
        let time = Timespec::try_from(left).ok();
        let mut fds = vec![
            PollFd::new(&self.guest.monitor, PollFlags::IN),
            PollFd::new(self.guest.ended(), PollFlags::IN),
            PollFd::new(&self.guest.console, PollFlags::IN),
        ];
        fds.extend(self.pipe.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        fds.extend(self.signals.as_ref().map(|signals| PollFd::new(*signals, PollFlags::IN)));
        match poll(&mut fds, time.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ended = !fds[1].revents().is_empty();
        drop(fds);
        if let Some(signal) = self.signals.as_mut().and_then(|signals| signals.ending()) {
            return Err(SnapshotError::Interrupted(signal));
        }
        // The console output of a waiting kernel is discarded; it is read only so that the kernel does not block.
        let _ = self.guest.console.read(&mut [0; 4096]);
        self.take_state()?;
        if ended { Err(SnapshotError::Gone) } else { Ok(()) }
    }

    fn take_state(&mut self) -> Result<(), SnapshotError> {
        let Some(pipe) = &mut self.pipe else { return Ok(()) };
        let mut buffer = [0; 16 * 1024];
        loop {
            match pipe.read(&mut buffer) {
                Ok(0) => {
                    self.pipe = None;
                    return Ok(());
                }
                Ok(len) if self.state.len() + len > LIMIT => return Err(SnapshotError::TooLarge),
                Ok(len) => self.state.extend_from_slice(&buffer[..len]),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}
