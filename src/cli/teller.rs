//! Notes and progress of `run` before the boot; each note is printed once.

use std::collections::BTreeSet;

use super::output;
use super::progress::Progress;
use bootling::guest::Listener;

/// Prints notes and progress.
#[derive(Debug)]
pub struct Teller {
    quiet: bool,
    progress: Progress,
    /// Notes printed in this round and in the previous one.
    told: [BTreeSet<String>; 2],
}

impl Teller {
    /// Creates a reporter. `quiet`: print nothing.
    pub fn new(quiet: bool) -> Self {
        Self { quiet, progress: Progress::new(quiet), told: Default::default() }
    }

    /// Starts another round. Notes from the previous round are not repeated.
    pub fn begin(&mut self) {
        self.told.swap(0, 1);
        self.told[0].clear();
    }
}

impl Listener for Teller {
    fn note(&mut self, text: &str) {
        self.progress.clear();
        let is_known = self.told[1].contains(text);
        if self.told[0].insert(text.to_owned()) && !is_known && !self.quiet {
            output::note(text);
        }
    }

    fn progress(&mut self, doing: &str) {
        self.progress.show(doing);
    }
}
