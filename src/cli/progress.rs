//! Progress of slow operations, on a terminal only.

use std::io::{self, IsTerminal, Write};

/// A progress line that is overwritten.
#[derive(Debug)]
pub(crate) struct Progress {
    visible: bool,
    shown: bool,
}

impl Progress {
    /// Creates a progress line. It is invisible if `quiet`, or if standard error is not a terminal.
    pub(crate) fn new(quiet: bool) -> Self {
        Self { visible: !quiet && io::stderr().is_terminal(), shown: false }
    }

    /// Shows the current operation.
    pub(crate) fn show(&mut self, doing: &str) {
        if self.visible {
            self.shown = true;
            // ECMA-48: carriage return, erase line. Errors are ignored, since progress is not essential.
            let _ = write!(io::stderr(), "\r\x1b[Kbootling: {doing}...");
        }
    }

    /// Erases the line.
    pub(crate) fn clear(&mut self) {
        if self.shown {
            self.shown = false;
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
