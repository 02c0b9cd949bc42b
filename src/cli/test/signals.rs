//! Signals that end a matrix: after the first, running cells end with a report of their progress, and reports are still
//! written; the second exits immediately.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, poll};

use bootling::guest::verdict::{code, signal_name};
use bootling::process::signals::Signals;
use bootling::suite::run::StopHandle;

/// Watcher for termination signals.
pub(crate) struct SignalWatcher(Arc<AtomicU8>);

impl SignalWatcher {
    /// Starts to catch termination signals.
    pub(crate) fn start(stop_handle: StopHandle) -> anyhow::Result<Self> {
        let mut signals = Signals::catch().context("failed to catch signals")?;
        let received = Arc::new(AtomicU8::new(0));
        let received_by_thread = Arc::clone(&received);
        let wait = move || {
            loop {
                // An interrupted poll and a ready one need the same check.
                let _ = poll(&mut [PollFd::new(&signals, PollFlags::IN)], None);
                let Some(signal) = signals.ending() else { continue };
                let number = u8::try_from(signal).unwrap_or(2);
                if received_by_thread.swap(number, Ordering::SeqCst) != 0 {
                    // A second signal: exit without reports. The guests end with this process.
                    std::process::exit(i32::from(code::SIGNAL.saturating_add(number)));
                }
                stop_handle.interrupt(format!("interrupted ({})", signal_name(signal)));
            }
        };
        thread::Builder::new().name("bootling-signals".to_owned()).spawn(wait).context("failed to start a thread")?;
        Ok(Self(received))
    }

    /// Returns the signal that ended the matrix, if any.
    pub(crate) fn signal(&self) -> Option<u8> {
        Some(self.0.load(Ordering::SeqCst)).filter(|signal| *signal != 0)
    }
}
