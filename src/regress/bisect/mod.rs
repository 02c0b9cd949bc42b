//! Bisection over the commits of a repository ([`git`]) or over a list of kernels ([`list`]): builds, boots and judges
//! each candidate.
//!
//! The ends are tested first, since a bisection between wrong ends still reports a commit. [`trial`] distinguishes "not
//! built", "not booting", "bad" and "flaky"; untestable candidates are skipped. The log ([`log`]) is in the format of
//! `git bisect replay`; an interrupted bisection resumes from it.

pub mod bisection;
pub mod build;
pub mod git;
pub mod list;
pub mod log;
pub mod trial;
pub mod version;

use std::error::Error;
use std::io;
use std::path::PathBuf;

pub use self::bisection::{Bisection, Stopped, Teller, Tester};
pub use self::trial::{Judged, Kind};

/// Answer for a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The candidate is good.
    Good,
    /// The candidate is bad.
    Bad,
    /// The candidate cannot be judged.
    Skip,
}

impl Answer {
    /// All answers.
    pub const ALL: [Self; 3] = [Self::Good, Self::Bad, Self::Skip];

    /// Returns git's name for the answer.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Skip => "skip",
        }
    }
}

/// Answers for candidates that are neither good nor bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Answer for candidates that do not boot; `None`: bad if the bad end does not boot either, otherwise skip.
    pub no_boot: Option<Answer>,
    /// Answer for flaky candidates.
    pub flaky: Answer,
}

/// A candidate: a commit or a kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Identifier: a full commit hash, or a kernel's path.
    pub id: String,
    /// Display name: abbreviated hash and subject, or a file name.
    pub title: String,
}

/// Next step of a bisection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Test this candidate; the number estimates how many follow.
    Try(Candidate, u32),
    /// First bad candidate.
    Culprit(Candidate),
    /// Possible first bad candidates: those between them were skipped.
    Suspects(Vec<Candidate>),
}

/// Result of a bisection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The first bad candidate, or all possible ones.
    pub suspects: Vec<Candidate>,
    /// Number of candidates tested without the ends, including those of a resumed bisection.
    pub steps: u32,
}

/// Ordered candidates.
pub trait History {
    /// Returns the good end and the bad end.
    fn ends(&self) -> [Candidate; 2];
    /// Checks out a candidate for its build.
    fn visit(&mut self, candidate: &Candidate) -> Result<(), BisectError>;
    /// Starts a bisection between the ends.
    fn begin(&mut self) -> Result<(), BisectError>;
    /// Returns the next step.
    fn next(&mut self) -> Result<Next, BisectError>;
    /// Records an answer.
    fn mark(&mut self, id: &str, answer: Answer) -> Result<(), BisectError>;
}

/// A failed bisection.
#[derive(Debug, thiserror::Error)]
pub enum BisectError {
    /// git is not available.
    #[error("failed to start git")]
    NoGit(#[source] io::Error),
    /// git failed.
    #[error("git failed to {what}: {said}")]
    Git {
        /// Requested operation.
        what: String,
        /// Error message of git.
        said: String,
    },
    /// Uncommitted changes that a checkout would lose.
    #[error("{}: uncommitted changes would be lost; commit or stash them", .0.display())]
    Changed(PathBuf),
    /// The user is already bisecting in this work tree.
    #[error("{}: a bisection is in progress (end it with `git bisect reset`)", .0.display())]
    UnderWay(PathBuf),
    /// An end that does not match its declaration.
    #[error("wrong end: {title} is expected to be {said}, but is {}: {}", judged.kind.name(), judged.why)]
    End {
        /// Display name of the end.
        title: String,
        /// Declared answer.
        said: &'static str,
        /// Actual result.
        judged: Judged,
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
    #[error("interrupted by signal {0}")]
    Interrupted(i32),
    /// An invalid list of kernels.
    #[error("invalid list of kernels: {0}")]
    List(String),
    /// An invalid log, or a log of another bisection.
    #[error("failed to read log {}: {why}", path.display())]
    Log {
        /// Log file.
        path: PathBuf,
        /// Reason.
        why: String,
    },
    /// File system error.
    #[error("{doing} {}", path.display())]
    Io {
        /// Action, as a gerund.
        doing: &'static str,
        /// File.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
}
