//! Notes and progress of `run` before the boot; each note is printed once.

use std::collections::BTreeSet;

use super::output;
use super::progress::Progress;
use bootling::guest::Listener;

/// Prints notes and progress.
#[derive(Debug)]
pub(crate) struct Reporter {
    quiet: bool,
    /// True to note that a guest starts on the terminal.
    pub announces: bool,
    progress: Progress,
    /// Notes printed in this round and in the previous one.
    noted: [BTreeSet<String>; 2],
}

impl Reporter {
    /// Creates a reporter. `quiet`: print nothing.
    pub(crate) fn new(quiet: bool) -> Self {
        Self { quiet, announces: false, progress: Progress::new(quiet), noted: Default::default() }
    }

    /// Starts another round. Notes from the previous round are not repeated.
    pub(crate) fn begin(&mut self) {
        self.noted.swap(0, 1);
        self.noted[0].clear();
    }
}

impl Listener for Reporter {
    fn note(&mut self, text: &str) {
        self.progress.clear();
        let is_known = self.noted[1].contains(text);
        if self.noted[0].insert(text.to_owned()) && !is_known && !self.quiet {
            output::note(text);
        }
    }

    fn progress(&mut self, action: &str) {
        self.progress.show(action);
    }

    fn starting(&mut self, kernel: &str) {
        if self.announces && !self.quiet {
            output::note(&format!("booting {kernel}; Ctrl-a x ends the guest, Ctrl-a h shows the keys"));
        }
    }
}
