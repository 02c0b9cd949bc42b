//! What goes on where it takes longer than a moment, on a terminal; silence elsewhere.

use std::io::{self, IsTerminal, Write};

/// One line that is overwritten.
#[derive(Debug)]
pub struct Progress {
    visible: bool,
    shown: bool,
}

impl Progress {
    /// Shows nothing where standard error is not a terminal, or where quiet was asked for.
    pub fn new(quiet: bool) -> Self {
        Self { visible: !quiet && io::stderr().is_terminal(), shown: false }
    }

    /// What is being done now.
    pub fn show(&mut self, doing: &str) {
        if self.visible {
            self.shown = true;
            // ECMA-48: back to the line's start, erase it. Failing to show progress harms nobody.
            let _ = write!(io::stderr(), "\r\x1b[Kbootling: {doing}...");
        }
    }

    /// Takes the line away.
    pub fn clear(&mut self) {
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
