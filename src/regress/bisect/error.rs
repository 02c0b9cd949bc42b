//! Error of a bisection.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use super::trial::Judgment;
use crate::output::WriteError;

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
