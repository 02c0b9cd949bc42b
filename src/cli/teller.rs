//! What `run` tells people while it prepares: notes, each once, and progress.

use std::collections::BTreeSet;

use super::output;
use super::progress::Progress;
use bootling::guest::Listener;

/// Tells people what goes on before the boot.
#[derive(Debug)]
pub struct Teller {
    quiet: bool,
    progress: Progress,
    /// What was told in this round, and in the one before.
    told: [BTreeSet<String>; 2],
}

impl Teller {
    /// `quiet`: tells nothing.
    pub fn new(quiet: bool) -> Self {
        Self { quiet, progress: Progress::new(quiet), told: Default::default() }
    }

    /// Another round: what the last one told need not be told again.
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
