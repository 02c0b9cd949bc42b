//! Signals to bootling as a pollable descriptor.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustix::process::Signal;
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

/// Catches, from its creation on, the signals that end a guest, and those for window size and job control.
#[derive(Debug)]
pub struct Signals(SignalDelivery<UnixStream, SignalOnly>);

impl Signals {
    /// Installs the handlers.
    pub fn catch() -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        let wanted = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::WINCH, Signal::CONT];
        let ignored = ignored();
        // A signal that was ignored at startup (nohup, a shell's background job) stays ignored.
        let caught = wanted.map(Signal::as_raw).into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0);
        let caught: Vec<i32> = caught.collect();
        Ok(Self(SignalDelivery::with_pipe(read, write, SignalOnly, caught)?))
    }

    /// Returns the signals received since the last call.
    pub(crate) fn pending(&mut self) -> Vec<i32> {
        self.0.pending().collect()
    }

    /// Returns the first received signal that ends bootling; discards the others.
    pub fn ending(&mut self) -> Option<i32> {
        self.pending().into_iter().find(|signal| ends(*signal))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_read().as_fd()
    }
}

/// Makes a write beyond the file size limit (`ulimit -f`) an error, `EFBIG`, instead of the end of this process.
///
/// A handler is installed, instead of ignoring the signal, because `execve(2)` resets handlers: programs that bootling
/// starts have the disposition that it was started with.
pub fn survive_size_limit() -> io::Result<()> {
    let signal = Signal::XFSZ.as_raw();
    if ignored() & (1 << (signal - 1)) == 0 {
        signal_hook::flag::register(signal, Arc::default())?;
    }
    Ok(())
}

/// Returns true if the signal ends bootling, false for window size and job control.
pub(crate) fn ends(signal: i32) -> bool {
    signal != Signal::WINCH.as_raw() && signal != Signal::CONT.as_raw()
}

/// Returns the mask of ignored signals from `/proc/self/status` (proc(5), `SigIgn`); 0 if it cannot be read.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
