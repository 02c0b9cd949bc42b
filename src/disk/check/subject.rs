//! Checked objects, with one line of facts each.

use serde::Serialize;

/// Checked object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Subject {
    /// Name: `disk`, `ESP`, `EFI/BOOT/BOOTX64.EFI`, `initrd`.
    pub name: String,
    /// Facts about the object, in one line.
    pub facts: String,
}

impl Subject {
    /// Returns the subject `name` with its facts.
    pub(crate) fn new(name: impl Into<String>, facts: impl Into<String>) -> Self {
        Self { name: name.into(), facts: facts.into() }
    }
}
