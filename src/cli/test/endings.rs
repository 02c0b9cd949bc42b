//! Signals that end a matrix: the first one lets reports be written, the second one does not wait for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, poll};

use bootling::guest::verdict::{code, signal_name};
use bootling::process::signals::Signals;
use bootling::suite::run::Stopper;

/// What came.
pub struct Endings(Arc<AtomicU8>);

impl Endings {
    /// Catches them from now on.
    pub fn watch(stopper: Stopper) -> anyhow::Result<Self> {
        let mut signals = Signals::catch().context("catching signals")?;
        let came = Arc::new(AtomicU8::new(0));
        let tell = Arc::clone(&came);
        let wait = move || {
            loop {
                // Interrupted by a signal, or ready: the same.
                let _ = poll(&mut [PollFd::new(&signals, PollFlags::IN)], None);
                let Some(signal) = signals.ending() else { continue };
                let number = u8::try_from(signal).unwrap_or(2);
                if tell.swap(number, Ordering::SeqCst) != 0 {
                    // Twice: whoever asks does not care for reports. Guests end with us.
                    std::process::exit(i32::from(code::SIGNAL.saturating_add(number)));
                }
                stopper.stop(format!("interrupted ({})", signal_name(signal)));
            }
        };
        thread::Builder::new().name("bootling-signals".to_owned()).spawn(wait).context("starting a thread")?;
        Ok(Self(came))
    }

    /// The signal that ended it, if one did.
    pub fn signal(&self) -> Option<u8> {
        Some(self.0.load(Ordering::SeqCst)).filter(|signal| *signal != 0)
    }
}
