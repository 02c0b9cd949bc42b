//! What was looked at, in a line each: the facts that a reader of the findings wants to know.

use serde::Serialize;

/// Something that a check looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Subject {
    /// What it is: `disk`, `ESP`, `EFI/BOOT/BOOTX64.EFI`, `initrd`.
    pub name: String,
    /// What is to be said of it.
    pub facts: String,
}

impl Subject {
    /// One line.
    pub fn new(name: impl Into<String>, facts: impl Into<String>) -> Self {
        Self { name: name.into(), facts: facts.into() }
    }
}
