//! Time for the files of a command that reached a time limit.

use std::time::{Duration, Instant};

/// Time without data after which the guest counts as gone.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time for all files.
const LONGEST: Duration = Duration::from_secs(300);

/// A collection after a time limit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Overtime {
    /// End, unless more data arrives.
    pub(super) until: Instant,
    last: Instant,
}

impl Overtime {
    /// A collection that starts now.
    pub(super) fn new(now: Instant) -> Self {
        Self { until: now + PATIENCE, last: now + LONGEST }
    }

    /// Extends the collection after data has arrived.
    pub(super) fn extend(&mut self, now: Instant) {
        self.until = self.last.min(now + PATIENCE);
    }
}
