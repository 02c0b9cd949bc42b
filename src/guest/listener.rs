//! Receiver of notes and progress.

/// Receives notes and progress for the user while a guest is prepared and started. Every method does nothing by default.
pub trait Listener {
    /// One line about a decision or a finding: `using TCG: ...`.
    fn note(&mut self, text: &str) {
        let _ = text;
    }

    /// An action that takes a noticeable time: a gerund and its object.
    fn progress(&mut self, action: &str) {
        let _ = action;
    }

    /// QEMU is about to start; `kernel` is the kernel's origin, empty for a disk.
    fn starting(&mut self, kernel: &str) {
        let _ = kernel;
    }
}

/// A listener that ignores everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Listener for Silent {}

/// A listener that collects notes.
#[derive(Debug, Default)]
pub(crate) struct Notes(pub(crate) Vec<String>);

impl Listener for Notes {
    fn note(&mut self, text: &str) {
        self.0.push(text.to_owned());
    }
}
