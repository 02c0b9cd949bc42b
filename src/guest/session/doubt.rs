//! Checks a console message about the guest's end before it is believed: see [`super::last_words`].

use std::time::Instant;

use serde_json::{Value, json};

use super::last_words::{LastWords, Step};
use super::{Phase, Session};

impl Session<'_> {
    /// Notes a message about the guest's end on the console.
    pub(super) fn note_last_words(&mut self) {
        let signs = self.console.signs();
        if signs.panic.is_some() || signs.halted {
            self.last_words.note(Instant::now());
        }
    }

    /// Takes the next step if it is due.
    pub(super) fn verify_last_words(&mut self) {
        match self.last_words.step(Instant::now()) {
            Step::Wait => {}
            Step::Sample => {
                let arguments = json!({"command-line": "info registers -a"});
                self.last_words.note_command(self.guest.qmp.execute("human-monitor-command", &arguments));
            }
            Step::End => self.phase = Phase::Over,
        }
    }

    /// Handles the reply to a sample.
    pub(super) fn handle_registers(&mut self, id: u64, registers: &Value) {
        if self.last_words.refutes(id, registers.as_str().unwrap_or_default(), Instant::now()) {
            self.discard_last_words();
        }
    }

    /// Handles channel data that arrives after such a message.
    pub(super) fn handle_data_after_last_words(&mut self) {
        if self.last_words.is_refuted_by_data(self.congested, Instant::now()) {
            self.discard_last_words();
        }
    }

    /// Discards the message, because the guest still runs. A later message counts again.
    pub(super) fn discard_last_words(&mut self) {
        self.console.discard_end();
        self.last_words = LastWords::default();
    }
}
