//! Signals to us, as something to poll.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::process::Signal;
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

/// Catches the signals that should end a guest, and those that tell of windows and jobs, from its making on.
#[derive(Debug)]
pub struct Signals(SignalDelivery<UnixStream, SignalOnly>);

impl Signals {
    /// Starts catching.
    pub fn catch() -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        let wanted = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::WINCH, Signal::CONT];
        let ignored = ignored();
        // Who started us with a signal ignored (nohup, a shell's background job) means it.
        let caught = wanted.map(Signal::as_raw).into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0);
        let caught: Vec<i32> = caught.collect();
        Ok(Self(SignalDelivery::with_pipe(read, write, SignalOnly, caught)?))
    }

    /// Signals that came since the last call.
    pub fn pending(&mut self) -> Vec<i32> {
        self.0.pending().collect()
    }

    /// The first of them that is meant to end us; all of them count as seen.
    pub fn ending(&mut self) -> Option<i32> {
        self.pending().into_iter().find(|signal| ends(*signal))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_read().as_fd()
    }
}

/// Whether a signal is meant to end us. The others tell of windows and jobs.
pub fn ends(signal: i32) -> bool {
    signal != Signal::WINCH.as_raw() && signal != Signal::CONT.as_raw()
}

/// Signals that are ignored, as the mask in `/proc/self/status` (proc(5), `SigIgn`); none where that cannot be read.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
