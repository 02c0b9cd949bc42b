//! Stops the remaining boot tests after a signal to bootling, or if a test could not be run.
//!
//! Each test catches signals while its guest runs; this module also catches signals that arrive between the tests.

use std::sync::Mutex;

use bootling::process::signals::Signals;

/// Stop condition.
#[derive(Debug)]
pub(crate) struct Stop(Mutex<State>);

#[derive(Debug)]
struct State {
    signals: Signals,
    signal: Option<i32>,
    stopped: bool,
}

impl Stop {
    /// Starts to catch signals.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self(Mutex::new(State { signals: Signals::catch()?, signal: None, stopped: false })))
    }

    /// Returns true if no further test must start.
    pub(crate) fn is_set(&self) -> bool {
        // If a thread panicked while it held the lock, no further test starts.
        self.0.lock().map_or(true, |mut state| state.poll_signal().is_some() || state.stopped)
    }

    /// Prevents further tests.
    pub(crate) fn set(&self) {
        if let Ok(mut state) = self.0.lock() {
            state.stopped = true;
        }
    }

    /// Returns the signal that ends bootling, if one arrived.
    pub(crate) fn signal(&self) -> Option<i32> {
        self.0.lock().ok()?.poll_signal()
    }
}

impl State {
    fn poll_signal(&mut self) -> Option<i32> {
        // The first signal is kept; others are removed from the pipe.
        self.signal = self.signal.or(self.signals.ending());
        self.signal
    }
}
