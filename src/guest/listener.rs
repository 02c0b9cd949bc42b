//! Who hears what a person may want to know while a guest is prepared.

/// Hears of it; does nothing unless told to.
pub trait Listener {
    /// One line about what was decided or found: `using TCG: ...`.
    fn note(&mut self, text: &str) {
        let _ = text;
    }

    /// What takes longer than a moment, while it goes on: a gerund and its object.
    fn progress(&mut self, doing: &str) {
        let _ = doing;
    }
}

/// Nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Listener for Silent {}
