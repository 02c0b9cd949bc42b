//! What came of a matrix, as a value: what all formats are written from, and what `--merge` and `--baseline` read.
//!
//! Its own format is JSON Lines ([`jsonl`]): a [`Header`], then one [`CellReport`] a line. Fields are only ever added, and
//! one that is missing has its default. The other formats are for other people's programs: [`Format`] lists them.

pub mod date;
pub mod format;
pub mod html;
pub mod jsonl;
pub mod junit;
pub mod ktap;
pub mod plain;
#[cfg(test)]
pub mod sample;
pub mod story;
pub mod tap;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::guest::hang::Hang;
use crate::guest::health::Finding;

pub use self::format::Format;
pub use self::plain::{one_line, plain};
pub use self::story::story;

/// All of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What is said once.
    pub header: Header,
    /// Every cell that was planned, in the manifest's order: also those that did not run.
    pub cells: Vec<CellReport>,
}

/// What is said once for all cells.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Header {
    /// `bootling-report`, always.
    pub format: String,
    /// 1.
    pub version: u32,
    /// bootling's own version.
    pub bootling: String,
    /// A name for the whole: the manifest's `name`, or its directory's.
    pub suite: String,
    /// When it began: seconds since 1970.
    pub started: f64,
    /// How long it took.
    pub duration_s: f64,
    /// Which part of the matrix this is; `None`: all of it.
    pub shard: Option<Shard>,
    /// Which run of a job system this is a part of (`slurm 123`), where the environment says: parts of different runs are not
    /// merged.
    pub run: Option<String>,
    /// A digest of the ids of all cells of all shards, after filters: only what has the same one can be merged.
    pub plan: String,
    /// How many cells all shards have together.
    pub planned: usize,
    /// Kernels by their names in the manifest: the release that they turned out to be (`uname -r`), where one ran.
    pub kernels: BTreeMap<String, String>,
    /// QEMU's version, where it ran.
    pub qemu: Option<String>,
    /// What ended the matrix early, as a sentence (`interrupted (SIGINT)`).
    pub ended_early: Option<String>,
}

/// `--shard INDEX/TOTAL`: INDEX counts from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Shard {
    /// Which, from 1.
    pub index: u32,
    /// Of how many.
    pub total: u32,
}

/// One cell.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CellReport {
    /// `TEST/KERNEL/MACHINE`, with `#N` behind it where it is repeated; unique in a plan.
    pub id: String,
    /// The test's name.
    pub test: String,
    /// The kernel's name.
    pub kernel: String,
    /// The machine's name.
    pub machine: String,
    /// Which repetition, from 1; `None`: it is not repeated.
    pub repetition: Option<u32>,
    /// Its place among the cells of all shards, from 0: what `--merge` puts them in order by.
    pub place: usize,
    /// The test's tags.
    pub tags: Vec<String>,
    /// What came of it.
    pub status: Status,
    /// Why it did not pass, or was skipped, in one sentence; `None`: it passed, or did not run.
    pub cause: Option<String>,
    /// Every try, in order: the last one decides. Empty: it did not run.
    pub attempts: Vec<Attempt>,
    /// A shell line that repeats it by itself.
    pub repeat: String,
}

/// What came of a cell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It has not been run (yet). Never a success.
    #[default]
    NotRun,
    /// It passed at the first try.
    Passed,
    /// It failed, and passed when it was tried again.
    Flaky,
    /// It failed, and each time.
    Failed,
    /// It could not be tested: no kernel, no QEMU, a module that would not load.
    Error,
    /// It said that there is nothing for it to test here. No failure, and no success.
    Skipped,
}

/// One try.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attempt {
    /// Whether it passed.
    pub passed: bool,
    /// Whether it said that there was nothing to test; it has not passed then.
    pub skipped: bool,
    /// Why it did not pass, in one sentence.
    pub cause: Option<String>,
    /// The outcome's name, as `run --json` has it: `exited`, `panic`, `timed-out`, ...; `None`: there was no guest.
    pub outcome: Option<String>,
    /// What `bootling run` would have exited with.
    pub exit_code: u8,
    /// Whether the guest was restored, booted, or shared with the test before.
    pub boot: Boot,
    /// When things happened.
    pub times: Times,
    /// Largest resident set of the command, KiB.
    pub max_rss_kib: Option<u64>,
    /// What the kernel's log says.
    pub health: Vec<Finding>,
    /// What it was doing when it hung.
    pub hang: Option<Hang>,
    /// The end of its standard output: text, at most [`TEXT`] bytes.
    pub stdout: String,
    /// The end of its standard error: the same.
    pub stderr: String,
    /// The console's last lines.
    pub console: Vec<String>,
    /// Remarks of bootling and of the guest's pid 1.
    pub notes: Vec<String>,
    /// What the test itself said of its parts, where it speaks TAP or KTAP.
    pub parts: Vec<Part>,
}

/// How much of a stream a report keeps: its end, bytes.
pub const TEXT: usize = 16 << 10;

/// How a guest came to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Boot {
    /// It booted.
    #[default]
    Cold,
    /// It was restored.
    Warm,
    /// It had run other tests.
    Shared,
}

/// When things happened, seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Times {
    /// From the matrix's start to this try's.
    pub begun: f64,
    /// From then to QEMU's start: building, unpacking.
    pub prepared: f64,
    /// From QEMU's start to pid 1's first word; `None`: it did not come to that, or there was no boot.
    pub hello: Option<f64>,
    /// From QEMU's start (or when it was given) to the command's.
    pub command: Option<f64>,
    /// The same to the verdict.
    pub verdict: f64,
    /// From this try's start to its end.
    pub total: f64,
}

/// One part of a test that speaks TAP or KTAP.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Part {
    /// Its name, behind those of the parts it is in: `suite > case`.
    pub name: String,
    /// What it said.
    pub result: PartResult,
    /// Its directive's reason, or its diagnostic lines.
    pub detail: String,
}

/// What a part said of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartResult {
    /// `ok`
    Passed,
    /// `not ok`
    Failed,
    /// `ok ... # SKIP`
    Skipped,
    /// `not ok ... # TODO`: known, does not count.
    Todo,
    /// Promised by the plan, and never told; or the plan itself is missing.
    #[default]
    Missing,
}

impl CellReport {
    /// The try that decided; `None`: it did not run.
    pub fn last(&self) -> Option<&Attempt> {
        self.attempts.last()
    }

    /// Why it is not good, as a sentence: also where nobody gave a cause.
    pub fn why(&self) -> String {
        let cause = self.cause.as_deref().map(one_line).filter(|cause| !cause.is_empty());
        cause.unwrap_or_else(|| match self.status {
            Status::NotRun => "it was not run".to_owned(),
            Status::Passed | Status::Flaky => String::new(),
            Status::Failed => "it failed".to_owned(),
            Status::Error => "it could not be tested".to_owned(),
            Status::Skipped => "it was skipped".to_owned(),
        })
    }

    /// How long all of its tries took, seconds.
    pub fn seconds(&self) -> f64 {
        // The sum of nothing would be a negative zero.
        self.attempts.iter().fold(0.0, |sum, attempt| sum + attempt.times.total)
    }
}

impl Report {
    /// How many cells ended so.
    pub fn count(&self, status: Status) -> usize {
        self.cells.iter().filter(|cell| cell.status == status).count()
    }

    /// Whether every cell is good: also false where none passed, since then nothing was tested. A shard by itself may have
    /// nothing to test: whether that is all is for the merge to say.
    pub fn is_good(&self) -> bool {
        let statuses = || self.cells.iter().map(|cell| cell.status);
        statuses().all(Status::is_good) && (self.header.shard.is_some() || statuses().any(Status::has_passed))
    }
}

impl Status {
    /// All of them, the good ones first.
    pub const ALL: [Self; 6] = [Self::Passed, Self::Flaky, Self::Skipped, Self::Failed, Self::Error, Self::NotRun];

    /// Its name, as reports have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotRun => "not-run",
            Self::Passed => "passed",
            Self::Flaky => "flaky",
            Self::Failed => "failed",
            Self::Error => "error",
            Self::Skipped => "skipped",
        }
    }

    /// Whether the matrix may be called good with it.
    pub const fn is_good(self) -> bool {
        match self {
            Self::Passed | Self::Flaky | Self::Skipped => true,
            Self::NotRun | Self::Failed | Self::Error => false,
        }
    }

    /// Whether something was tested, and passed.
    pub const fn has_passed(self) -> bool {
        match self {
            Self::Passed | Self::Flaky => true,
            Self::NotRun | Self::Failed | Self::Error | Self::Skipped => false,
        }
    }
}

impl PartResult {
    /// Whether its test may pass with it.
    pub const fn is_good(self) -> bool {
        match self {
            Self::Passed | Self::Skipped | Self::Todo => true,
            Self::Failed | Self::Missing => false,
        }
    }

    /// Its name, as reports have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Todo => "todo",
            Self::Missing => "missing",
        }
    }
}
