//! Judgment of a result by a list of known failures. Part of the JSON Lines format.

use serde::{Deserialize, Serialize};

/// Judgment of a cell or of a part by a list of known failures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expectation {
    /// The judgment.
    pub kind: ExpectationKind,
    /// Reason in the list; empty if it has no entry.
    #[serde(default)]
    pub reason: String,
}

/// Kind of a judgment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExpectationKind {
    /// Fails, as the list states. Does not count as a failure.
    Known,
    /// Fails, and the list has no entry for it.
    NewlyFailing,
    /// Passes, although the list states that it fails. Counts as a failure.
    UnexpectedlyPassing,
}

impl Expectation {
    /// Returns true if the list states that the result fails, and it does.
    pub(crate) fn is_known(expectation: Option<&Self>) -> bool {
        expectation.is_some_and(|expectation| expectation.kind == ExpectationKind::Known)
    }
}
