//! Bisection over the commits of a repository ([`git`]) or over a list of kernels ([`list`]): builds, boots and judges
//! each candidate.
//!
//! The ends are tested first, since a bisection between wrong ends still reports a commit. [`trial`] distinguishes "not
//! built", "not booting", "bad" and "flaky"; untestable candidates are skipped. The log ([`log`]) contains git's own
//! log, which `git bisect replay` accepts; an interrupted bisection resumes from it.

pub(crate) mod bisection;
pub mod git;
pub mod list;
pub mod log;
pub(crate) mod tester;
pub(crate) mod trial;
pub mod version;

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use self::git::Git;
use self::list::Kernels;
use crate::output::WriteError;

pub use self::bisection::{Bisection, Progress};
pub use self::log::Log;
pub use self::tester::{NotTested, Tester};
pub use self::trial::{Attempt, CandidateKind, Judgment};
pub use crate::guest::verdict::BisectAnswer;

/// Answers for candidates that are neither good nor bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SkipPolicy {
    /// Answer for candidates that do not boot; `None`: bad if the bad end does not boot either, otherwise skip.
    pub no_boot: Option<BisectAnswer>,
    /// Answer for flaky candidates.
    pub flaky: BisectAnswer,
}

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

/// Next step of a bisection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// Test this candidate; the number estimates how many follow.
    Test(Candidate, u32),
    /// The bisection is complete: the first bad candidate, or all possible ones.
    Found(Vec<Candidate>),
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

/// A failed bisection.
#[derive(Debug, thiserror::Error)]
pub enum BisectError {
    /// git is not available.
    #[error("failed to start git")]
    NoGit(#[source] io::Error),
    /// git failed.
    #[error("git failed to {action}: {stderr}")]
    Git {
        /// Requested operation.
        action: String,
        /// Error message of git.
        stderr: String,
    },
    /// Uncommitted changes that a checkout would lose.
    #[error("{}: uncommitted changes would be lost; commit or stash them", .0.display())]
    UncommittedChanges(PathBuf),
    /// The user is already bisecting in this work tree.
    #[error("{}: a bisection is in progress (end it with `git bisect reset`)", .0.display())]
    BisectInProgress(PathBuf),
    /// An end that does not match its declaration.
    #[error("wrong end: {title} is expected to be {expected}, but is {}: {}", judgment.kind.name(), judgment.reason)]
    WrongEnd {
        /// Display name of the end.
        title: String,
        /// Declared answer.
        expected: &'static str,
        /// Actual result.
        judgment: Judgment,
    },
    /// A candidate's test failed for a reason unrelated to the candidate.
    #[error("failed to test {title}")]
    Test {
        /// Display name of the candidate.
        title: String,
        /// Cause.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A signal interrupted the bisection.
    #[error("interrupted by signal {signal}")]
    Interrupted {
        /// Signal.
        signal: i32,
        /// True if the log can be resumed.
        is_logged: bool,
    },
    /// An invalid list of kernels.
    #[error("invalid list of kernels: {0}")]
    List(String),
    /// An unusable log.
    #[error("invalid --log {}: {reason}", path.display())]
    Log {
        /// Log file.
        path: PathBuf,
        /// Reason.
        reason: &'static str,
    },
    /// The log belongs to an unfinished bisection, which would be lost.
    #[error("invalid --log {}: it belongs to an unfinished bisection", .0.display())]
    Unfinished(PathBuf),
    /// The log cannot be read.
    #[error("failed to read {}", .0.display())]
    ReadLog(PathBuf, #[source] io::Error),
    /// The log cannot be written.
    #[error(transparent)]
    WriteLog(#[from] WriteError),
    /// The lock of a temporary tree cannot be acquired.
    #[error("failed to lock {}", .0.display())]
    Lock(PathBuf, #[source] io::Error),
}
