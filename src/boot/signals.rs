//! Signals to us, as something to poll.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::process::Signal;
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

/// Catches the signals that should end a guest, and window changes, from its making on.
#[derive(Debug)]
pub struct Signals(SignalDelivery<UnixStream, SignalOnly>);

impl Signals {
    /// Starts catching.
    pub fn catch() -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        let caught = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::WINCH].map(Signal::as_raw);
        Ok(Self(SignalDelivery::with_pipe(read, write, SignalOnly, caught)?))
    }

    /// Signals that came since the last call.
    pub fn pending(&mut self) -> Vec<i32> {
        self.0.pending().collect()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_read().as_fd()
    }
}
