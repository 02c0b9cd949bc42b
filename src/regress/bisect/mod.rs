//! Bisection over the commits of a repository ([`git`]) or over a list of kernels ([`list`]): builds, boots and judges
//! each candidate.
//!
//! The ends are tested first, since a bisection between wrong ends still reports a commit. `trial` distinguishes "not
//! built", "not booting", "bad" and "flaky"; untestable candidates are skipped. The log ([`log`]) contains git's own
//! log, which `git bisect replay` accepts; an interrupted bisection resumes from it.

pub(crate) mod bisection;
pub mod candidate;
pub mod error;
mod excerpt;
pub mod git;
pub mod list;
pub mod log;
pub(crate) mod tester;
pub(crate) mod trial;
pub mod version;

use std::path::Path;

use serde::{Deserialize, Serialize};

use self::git::Git;
use self::list::Kernels;

pub use self::bisection::{Bisection, Progress};
pub(crate) use self::candidate::Next;
pub use self::candidate::{Candidate, Step};
pub use self::error::BisectError;
pub use self::log::Log;
pub use self::tester::{NotTested, Tester};
pub use self::trial::{Attempt, CandidateKind, Judgment, SkipPolicy};
pub use crate::guest::verdict::BisectAnswer;

/// Result of a bisection, as written by `bisect --json`. New versions only add fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BisectResult {
    /// First bad candidate, if found.
    pub first_bad: Option<Candidate>,
    /// The first bad candidate, or all possible ones if those between them were skipped.
    pub suspects: Vec<Candidate>,
    /// Tested candidates in order, including the ends and those of a resumed bisection.
    pub steps: Vec<Step>,
}

/// Ordered candidates and the state of the search.
#[derive(Debug)]
pub enum History {
    /// Commits of a repository.
    Git(Git),
    /// List of kernels.
    List(Kernels),
}

impl History {
    /// Returns the tree in which commits are checked out.
    pub fn tree(&self) -> Option<&Path> {
        match self {
            Self::Git(git) => Some(&git.tree),
            Self::List(_) => None,
        }
    }

    /// Returns the good end and the bad end.
    fn ends(&self) -> [Candidate; 2] {
        match self {
            Self::Git(git) => git.ends.clone(),
            Self::List(kernels) => kernels.ends(),
        }
    }

    /// Checks out a candidate for its build.
    fn check_out(&mut self, candidate: &Candidate) -> Result<(), BisectError> {
        match self {
            Self::Git(git) => git.check_out(candidate),
            Self::List(_) => Ok(()),
        }
    }

    /// Starts the search, or resumes that of a log.
    fn start(&mut self, log: &Log) -> Result<Next, BisectError> {
        match self {
            Self::Git(git) => git.start(log.is_on_disk.then_some(&log.path)),
            Self::List(kernels) => kernels.start(&log.steps),
        }
    }

    /// Records an answer.
    fn record(&mut self, id: &str, answer: BisectAnswer) -> Result<Next, BisectError> {
        match self {
            Self::Git(git) => git.record(id, answer),
            Self::List(kernels) => kernels.record(id, answer),
        }
    }

    /// Returns the log of the search, from which it can be resumed.
    fn log(&self) -> &str {
        match self {
            Self::Git(git) => &git.log,
            Self::List(kernels) => &kernels.log,
        }
    }
}
