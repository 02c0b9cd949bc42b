//! Candidates of a bisection, and the steps between them.

use serde::{Deserialize, Serialize};

use super::trial::Judgment;
use crate::guest::verdict::BisectAnswer;

/// A candidate: a commit or a kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Identifier: a full commit hash, or a kernel's path.
    pub id: String,
    /// Display name: abbreviated hash and subject, or a file name.
    pub title: String,
}

/// A tested candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Candidate.
    #[serde(flatten)]
    pub candidate: Candidate,
    /// Result of its test.
    #[serde(flatten)]
    pub judgment: Judgment,
    /// Answer drawn from the result.
    pub answer: BisectAnswer,
}

/// Next step of a bisection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// Test this candidate; the number estimates how many follow.
    Test(Candidate, u32),
    /// The bisection is complete: the first bad candidate, or all possible ones.
    Found(Vec<Candidate>),
}
