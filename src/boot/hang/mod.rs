//! What a guest that hangs was doing, as QEMU tells it before it is killed.

use serde::{Deserialize, Serialize};

/// A hang report.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hang {
    /// What it comes to, the most telling first: a sentence each.
    pub summary: Vec<String>,
    /// The whole report, as text for people: lines without control characters.
    pub report: String,
}
