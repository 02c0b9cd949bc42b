//! Saves a machine that waits for commands: its device state as QEMU streams it (`docs/devel/migration.rst`); its
//! memory is already in a file of bootling.
//!
//! QEMU does not stream shared memory (`x-ignore-shared`), and writes the rest to a pipe, so that it needs no
//! permission to open files. QEMU may refuse, because some devices cannot be saved.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::RawFd;
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use serde_json::{Value, json};

use crate::guest::launch::{Guest, PIPE_BYTES};
use crate::guest::monitor::{Monitor, MonitorError};
use crate::process::signals::Signals;

/// Timeout for saving about a megabyte of device state, which normally takes milliseconds.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum size of the state. A machine with graphics includes 16 MiB of video memory.
const LIMIT: usize = 512 << 20;
/// Interval between two progress queries.
const POLL_INTERVAL: Duration = Duration::from_millis(2);
/// QEMU's name of bootling's pipe.
const PIPE_NAME: &str = "bootling";

/// Error: a machine could not be saved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    /// A QMP command failed.
    #[error("QEMU failed to save the machine: {0}")]
    Monitor(#[from] MonitorError),
    /// The state exceeds the limit.
    #[error("the device state is larger than {} MiB", LIMIT >> 20)]
    TooLarge,
    /// A system call failed.
    #[error("failed to communicate with QEMU: {0}")]
    Io(#[from] io::Error),
}

impl From<rustix::io::Errno> for SnapshotError {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// Saves the device state of a machine. The machine is stopped afterwards; [`resume`] resumes it.
pub(crate) fn save(guest: &mut Guest, signals: Option<&mut Signals>) -> Result<Vec<u8>, SnapshotError> {
    let (pipe, end) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setfl(&pipe, fcntl_getfl(&pipe)? | OFlags::NONBLOCK)?;
    // The default size is sufficient, but slower.
    let _ = fcntl_setpipe_size(&pipe, PIPE_BYTES);
    let mut pipe = File::from(pipe);
    let mut state = Vec::new();
    let mut monitor = Monitor::new(guest, signals, None);
    monitor.execute("migrate-set-capabilities", &ignore_shared(), TIMEOUT)?;
    // bootling's copy is closed when it is sent: the state is complete when QEMU closes its copy.
    monitor.send_fd(PIPE_NAME, end, TIMEOUT)?;
    monitor.execute("migrate", &json!({"uri": format!("fd:{PIPE_NAME}")}), TIMEOUT)?;
    let mut timeout = monitor.timeout(TIMEOUT);
    loop {
        let is_complete = read_available(&mut pipe, &mut state)?;
        let progress = monitor.execute("query-migrate", &json!({}), TIMEOUT)?;
        match progress.get("status").and_then(Value::as_str) {
            Some("completed") if is_complete => return Ok(state),
            Some("failed" | "cancelled") => {
                let why = progress.get("error-desc").and_then(Value::as_str).unwrap_or("no reason reported");
                return Err(MonitorError::Refused(why.to_owned()).into());
            }
            Some(_) | None => monitor.wait_for(POLL_INTERVAL)?,
        }
        timeout.check()?;
    }
}

/// Queues the QMP commands that resume a saved machine.
pub(crate) fn resume(guest: &mut Guest) {
    guest.start_commands.push(guest.qmp.execute("cont", &json!({})));
}

/// Queues the QMP commands that restore a machine from a pipe, whose descriptor QEMU has inherited.
pub(crate) fn restore(guest: &mut Guest, state_fd: RawFd) {
    let source = json!({"uri": format!("fd:{state_fd}")});
    for (name, arguments) in [("migrate-set-capabilities", ignore_shared()), ("migrate-incoming", source)] {
        guest.start_commands.push(guest.qmp.execute(name, &arguments));
    }
}

fn ignore_shared() -> Value {
    json!({"capabilities": [{"capability": "x-ignore-shared", "state": true}]})
}

/// Reads the available state. Returns true at its end.
fn read_available(pipe: &mut File, state: &mut Vec<u8>) -> Result<bool, SnapshotError> {
    let left = (LIMIT + 1 - state.len()) as u64;
    let is_end = match pipe.take(left).read_to_end(state) {
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
        Err(error) => return Err(error.into()),
    };
    if state.len() > LIMIT { Err(SnapshotError::TooLarge) } else { Ok(is_end) }
}

#[cfg(test)]
mod tests {
    use super::read_available;
    use std::fs::File;
    use std::io::Write;

    #[test]
    fn available_state_is_read_without_blocking_up_to_its_end() {
        let (pipe, end) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).expect("a pipe");
        let (mut pipe, mut end, mut state) = (File::from(pipe), File::from(end), Vec::new());
        assert!(!read_available(&mut pipe, &mut state).expect("nothing yet"));
        end.write_all(b"state").expect("written");
        assert!(!read_available(&mut pipe, &mut state).expect("a part"));
        assert_eq!(state, b"state");
        drop(end);
        assert!(read_available(&mut pipe, &mut state).expect("the end"));
    }
}
