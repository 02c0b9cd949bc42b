//! Since when something is broken: bisection over the commits of a repository ([`git`]) or over a list of kernels
//! ([`list`]), with a build, a boot and a verdict at each step.
//!
//! The ends are tested first, since a bisection between ends that are not what they are said to be finds a commit all the
//! same. "Does not build", "does not boot", "fails" and "flaky" are told apart ([`trial`]); what nobody can tell of is
//! skipped. Each step is in a log that `git bisect replay` reads, and from which an interrupted bisection goes on ([`log`]).

pub mod build;
pub mod drive;
pub mod git;
pub mod list;
pub mod log;
pub mod trial;
pub mod version;

use std::error::Error;
use std::io;
use std::path::PathBuf;

pub use self::drive::{Bisection, Stopped, Teller, Tester};
pub use self::trial::{Judged, Kind};

/// What a bisection makes of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is not broken yet.
    Good,
    /// It is broken.
    Bad,
    /// Nobody can tell.
    Skip,
}

impl Answer {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Good, Self::Bad, Self::Skip];

    /// git's word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Skip => "skip",
        }
    }
}

/// What to make of candidates that are neither good nor bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Of those that do not boot; `None`: bad where the bad end does not boot either, else skipped.
    pub no_boot: Option<Answer>,
    /// Of those that pass at times.
    pub flaky: Answer,
}

/// Something to test: a commit, or a kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// What it is known by: a commit's whole hash, a kernel's path.
    pub id: String,
    /// For people: the hash's begin and the subject, or a file's name.
    pub title: String,
}

/// What a history says next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// This one is to be tested, and about so many after it.
    Try(Candidate, u32),
    /// It was this one.
    Culprit(Candidate),
    /// It was one of these: what could tell them apart was skipped.
    Suspects(Vec<Candidate>),
}

/// The end of a bisection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The first bad one, or all that may be.
    pub suspects: Vec<Candidate>,
    /// How many were tested, the ends apart, and those of the bisection that was gone on with among them.
    pub steps: u32,
}

/// Candidates in an order of some kind.
pub trait History {
    /// The good end and the bad one.
    fn ends(&self) -> [Candidate; 2];
    /// Makes a candidate the one that is there to be built.
    fn visit(&mut self, candidate: &Candidate) -> Result<(), BisectError>;
    /// Begins between the ends.
    fn begin(&mut self) -> Result<(), BisectError>;
    /// What to do next.
    fn next(&mut self) -> Result<Next, BisectError>;
    /// Takes an answer.
    fn mark(&mut self, id: &str, answer: Answer) -> Result<(), BisectError>;
}

/// Why a bisection came to no end.
#[derive(Debug, thiserror::Error)]
pub enum BisectError {
    /// git is not there, or cannot be started.
    #[error("starting git")]
    NoGit(#[source] io::Error),
    /// git refused.
    #[error("asking git to {what}: {said}")]
    Git {
        /// What it was to do.
        what: String,
        /// What it said.
        said: String,
    },
    /// Changes that a checkout would lose.
    #[error("bisecting in {}: files that git knows are changed there, and would be lost", .0.display())]
    Changed(PathBuf),
    /// Somebody else's bisection.
    #[error("bisecting in {}: a bisection is under way there (`git bisect reset` ends it)", .0.display())]
    UnderWay(PathBuf),
    /// An end that is not what it is said to be.
    #[error("checking the ends: {title} is said to be {said}, and is {}: {}", judged.kind.name(), judged.why)]
    End {
        /// Which.
        title: String,
        /// What it is said to be.
        said: &'static str,
        /// What it is.
        judged: Judged,
    },
    /// Something that could not be tested for reasons of its own.
    #[error("testing {title}")]
    Test {
        /// What was tested.
        title: String,
        /// Why not.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A signal.
    #[error("interrupted by signal {0}")]
    Interrupted(i32),
    /// No list to bisect.
    #[error("bisecting a list of kernels: {0}")]
    List(String),
    /// A log that is none, or another's.
    #[error("reading log {}: {why}", path.display())]
    Log {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The file system said no.
    #[error("{doing} {}", path.display())]
    Io {
        /// A gerund.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}
