//! What stops a proof before its end: a signal to us, or a trial that could not be made.
//!
//! Each trial catches signals while its guest runs; this one catches them between trials, too, when nobody else would.

use std::sync::Mutex;

use bootling::process::signals::Signals;

/// Whether to go on.
#[derive(Debug)]
pub struct Stop(Mutex<State>);

#[derive(Debug)]
struct State {
    signals: Signals,
    signal: Option<i32>,
    stopped: bool,
}

impl Stop {
    /// Catches signals from now on.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self(Mutex::new(State { signals: Signals::catch()?, signal: None, stopped: false })))
    }

    /// Whether nothing new is to be begun.
    pub fn is_set(&self) -> bool {
        // Where a thread has panicked with it nothing is begun either.
        self.0.lock().map_or(true, |mut state| state.look().is_some() || state.stopped)
    }

    /// Has nothing new begun.
    pub fn set(&self) {
        if let Ok(mut state) = self.0.lock() {
            state.stopped = true;
        }
    }

    /// The signal that has come, if one has that is meant to end us.
    pub fn signal(&self) -> Option<i32> {
        self.0.lock().ok()?.look()
    }
}

impl State {
    fn look(&mut self) -> Option<i32> {
        // The first one counts; the others are taken off the pipe all the same.
        self.signal = self.signal.or(self.signals.ending());
        self.signal
    }
}
