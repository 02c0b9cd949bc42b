//! Types of the JSON Lines report: a [`Header`], then one [`CellReport`] per line.
//!
//! All formats are written from these types, and `--merge` and `--baseline` read them. Fields may be added, never
//! removed; a missing field has its default value. Other changes need another [`VERSION`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::expectation::{Expectation, ExpectationKind};
use crate::format::guest_text::one_line;
use crate::guest::hang::Hang;
use crate::guest::health::Finding;
use crate::guest::verdict::code;

/// Format name in the header.
pub const FORMAT: &str = "bootling-report";
/// Format version in the header.
pub const VERSION: u32 = 1;

/// Report of a matrix or of a shard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Data common to all cells.
    pub header: Header,
    /// All planned cells, in the manifest's order, including those that did not run.
    pub cells: Vec<CellReport>,
}

/// Data common to all cells.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Header {
    /// Format name, always [`FORMAT`].
    pub format: String,
    /// Format version, [`VERSION`].
    pub version: u32,
    /// Version of bootling.
    pub bootling: String,
    /// Suite name: the manifest's `name`, or the name of its directory.
    pub suite: String,
    /// Start, seconds since 1970.
    pub started: f64,
    /// Duration, seconds.
    pub duration_s: f64,
    /// Shard; `None` for the whole matrix.
    pub shard: Option<Shard>,
    /// Run of a job system (`slurm 123`), if the environment contains one. Reports of different runs are not merged.
    pub run: Option<String>,
    /// Digest of the ids of all shards' cells, after filters. Only reports with equal digests can be merged.
    pub plan: String,
    /// Number of cells of all shards.
    pub planned: usize,
    /// Kernel releases (`uname -r`) by the names in the manifest, for kernels that ran.
    pub kernels: BTreeMap<String, String>,
    /// QEMU version, if it ran.
    pub qemu: Option<String>,
    /// Reason why the matrix ended early, as a sentence (`interrupted (SIGINT)`).
    pub ended_early: Option<String>,
}

/// `--shard INDEX/TOTAL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Shard {
    /// Index, from 1.
    pub index: u32,
    /// Number of shards.
    pub total: u32,
}

/// Report of a cell.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CellReport {
    /// `TEST/KERNEL/MACHINE`, followed by `#N` if the test is repeated; unique in a plan.
    pub id: String,
    /// Test name.
    pub test: String,
    /// Kernel name.
    pub kernel: String,
    /// Machine name.
    pub machine: String,
    /// Repetition, from 1; `None` if the test is not repeated.
    pub repetition: Option<u32>,
    /// Position among the cells of all shards, from 0; `--merge` sorts by it.
    pub place: usize,
    /// Tags.
    pub tags: Vec<String>,
    /// Status.
    pub status: Status,
    /// Reason why it did not pass or was skipped, as one sentence; `None` if it passed or did not run.
    pub cause: Option<String>,
    /// All attempts, in order; the last one decides. Empty if the cell did not run.
    pub attempts: Vec<Attempt>,
    /// Shell command that repeats this cell.
    pub repeat: String,
    /// Judgment by the list of known failures, if there is a list and the cell failed or is in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expectation: Option<Expectation>,
}

/// Status of a cell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Not run (yet). Never a success.
    #[default]
    NotRun,
    /// Passed on the first attempt.
    Passed,
    /// Failed, then passed on a retry.
    Flaky,
    /// Failed on every attempt.
    Failed,
    /// Could not be tested: no kernel, no QEMU, a module that failed to load.
    Error,
    /// The test reported that there is nothing to test. Neither a failure nor a success.
    Skipped,
}

/// One attempt at a cell.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attempt {
    /// True if it passed.
    pub passed: bool,
    /// True if the test reported that there is nothing to test. Then `passed` is false.
    pub skipped: bool,
    /// Reason why it did not pass, as one sentence.
    pub cause: Option<String>,
    /// Outcome name, as in `run --json`: `exited`, `panic`, `timed-out`, ...; `None` if there was no guest.
    pub outcome: Option<String>,
    /// Exit code that `bootling run` would return.
    pub exit_code: u8,
    /// Whether the guest was booted, restored, or shared with earlier tests.
    pub boot: StartMode,
    /// Timestamps and durations.
    pub times: Times,
    /// Maximum resident set size of the command, KiB.
    pub max_rss_kib: Option<u64>,
    /// Findings in the kernel log.
    pub health: Vec<Finding>,
    /// Hang report, if it hung.
    pub hang: Option<Hang>,
    /// End of standard output, at most [`STREAM_LIMIT`] bytes of text.
    pub stdout: String,
    /// End of standard error, at most [`STREAM_LIMIT`] bytes of text.
    pub stderr: String,
    /// Last console lines.
    pub console: Vec<String>,
    /// Notes of bootling and of the guest's pid 1.
    pub notes: Vec<String>,
    /// Results of the test's parts, if its output is TAP or KTAP.
    pub parts: Vec<Part>,
    /// If parts failed: why it would not have passed without them, as one sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_cause: Option<String>,
}

/// Size limit of a stream in a report, bytes; its end is kept.
pub const STREAM_LIMIT: usize = 16 << 10;

/// Start of an attempt's guest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartMode {
    /// Booted.
    #[default]
    Cold,
    /// Restored from a snapshot.
    Warm,
    /// Already used by other tests.
    Shared,
}

/// Timestamps and durations of an attempt, seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Times {
    /// From the start of the matrix to the start of this attempt.
    #[serde(rename = "begun")]
    pub start: f64,
    /// From then to the start of QEMU: building, unpacking.
    pub prepared: f64,
    /// From the start of QEMU to the first message of pid 1; `None` if there was no boot or it did not get that far.
    pub hello: Option<f64>,
    /// From the start of QEMU, or from the delivery to a shared guest, to the start of the command.
    pub command: Option<f64>,
    /// From the same point to the verdict.
    pub verdict: f64,
    /// From the start of this attempt to its end.
    pub total: f64,
}

/// One part of a test whose output is TAP or KTAP.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Part {
    /// Name, after the names of its parents: `suite > case`.
    pub name: String,
    /// Result.
    pub result: PartResult,
    /// Reason of its directive, or its diagnostic lines.
    pub detail: String,
    /// Judgment by the list of known failures, if the part is in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expectation: Option<Expectation>,
}

/// Result of a part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartResult {
    /// `ok`
    Passed,
    /// `not ok`
    Failed,
    /// `ok ... # SKIP`
    Skipped,
    /// `not ok ... # TODO`: known failure, does not count.
    Todo,
    /// Planned but never reported, or the plan itself is missing.
    #[default]
    Missing,
}

impl CellReport {
    /// Returns the deciding attempt; `None` if the cell did not run.
    pub fn final_attempt(&self) -> Option<&Attempt> {
        self.attempts.last()
    }

    /// Returns why the cell is not good, as a sentence, even if no cause was recorded.
    pub fn reason(&self) -> String {
        let cause = self.cause.as_deref().map(one_line).filter(|cause| !cause.is_empty());
        cause.unwrap_or_else(|| match self.status {
            Status::NotRun => "not run".to_owned(),
            Status::Passed | Status::Flaky => String::new(),
            Status::Failed => "failed".to_owned(),
            Status::Error => "could not be tested".to_owned(),
            Status::Skipped => "skipped".to_owned(),
        })
    }

    /// Returns true if the matrix may be good with this cell: its status is good or known.
    pub fn is_good(&self) -> bool {
        match self.expectation.as_ref().map(|expectation| expectation.kind) {
            Some(ExpectationKind::Known) => true,
            Some(ExpectationKind::UnexpectedlyPassing) => false,
            Some(ExpectationKind::NewlyFailing) | None => self.status.is_good(),
        }
    }

    /// Returns true if the cell shows that something was tested: it passed, or failed as expected.
    fn is_result(&self) -> bool {
        self.status.has_passed() || (self.status == Status::Failed && self.is_good())
    }

    /// Returns the total duration of all attempts, seconds.
    pub fn seconds(&self) -> f64 {
        // An empty sum would be negative zero.
        self.attempts.iter().fold(0.0, |sum, attempt| sum + attempt.times.total)
    }
}

impl Report {
    /// Returns the number of cells with a status.
    pub fn count(&self, status: Status) -> usize {
        self.cells.iter().filter(|cell| cell.status == status).count()
    }

    /// Returns true if every cell is good and at least one passed; otherwise nothing was tested. A shard may have
    /// nothing to test: the merge decides whether anything was tested.
    pub fn is_good(&self) -> bool {
        let mut cells = self.cells.iter();
        cells.all(CellReport::is_good) && (self.header.shard.is_some() || self.cells.iter().any(CellReport::is_result))
    }

    /// Exit code: 0 if the report is good, 125 if no cell could be tested, else 1.
    pub fn exit_code(&self) -> u8 {
        let untested = |status| matches!(status, Status::Error | Status::Skipped);
        match self.is_good() {
            true => 0,
            false if self.cells.iter().all(|cell| untested(cell.status)) => code::COULD_NOT_TEST,
            false => 1,
        }
    }
}

impl Status {
    /// All statuses, the good ones first.
    pub const ALL: [Self; 6] = [Self::Passed, Self::Flaky, Self::Skipped, Self::Failed, Self::Error, Self::NotRun];

    /// Returns the name used in reports.
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

    /// Returns true if the matrix may be good with such a cell.
    pub const fn is_good(self) -> bool {
        match self {
            Self::Passed | Self::Flaky | Self::Skipped => true,
            Self::NotRun | Self::Failed | Self::Error => false,
        }
    }

    /// Returns true if something was tested and passed.
    pub const fn has_passed(self) -> bool {
        match self {
            Self::Passed | Self::Flaky => true,
            Self::NotRun | Self::Failed | Self::Error | Self::Skipped => false,
        }
    }
}

impl Part {
    /// Returns true if the part failed and is no known failure.
    pub fn is_bad(&self) -> bool {
        !self.result.is_good() && !Expectation::is_known(self.expectation.as_ref())
    }
}

impl PartResult {
    /// Returns true if the test may pass with such a part.
    pub const fn is_good(self) -> bool {
        match self {
            Self::Passed | Self::Skipped | Self::Todo => true,
            Self::Failed | Self::Missing => false,
        }
    }

    /// Returns the name used in reports.
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

#[cfg(test)]
mod tests {
    use super::{Report, Shard, Status};
    use crate::guest::verdict::code::COULD_NOT_TEST;
    use crate::suite::tests::sample::sample;

    const FAILED: u8 = 1;

    #[test]
    fn a_run_that_tested_nothing_fails_unless_it_is_a_shard() {
        use Status::{Error, Failed, Flaky, NotRun, Passed, Skipped};
        let shard = Some(Shard { index: 1, total: 2 });
        // Cell statuses, exit code of a whole run, exit code of a shard.
        let cases: [(&[Status], u8, u8); 9] = [
            (&[Passed, Flaky, Skipped], 0, 0),
            (&[Skipped, Skipped], COULD_NOT_TEST, 0),
            (&[], COULD_NOT_TEST, 0),
            (&[Skipped, Error], COULD_NOT_TEST, COULD_NOT_TEST),
            (&[Error], COULD_NOT_TEST, COULD_NOT_TEST),
            (&[Passed, Error], FAILED, FAILED),
            (&[Skipped, Failed], FAILED, FAILED),
            (&[Skipped, NotRun], FAILED, FAILED),
            (&[Passed, NotRun], FAILED, FAILED),
        ];
        for (statuses, whole, of_shard) in cases {
            let Report { header, cells } = sample();
            let cells = statuses.iter().map(|&status| {
                let cell = cells.iter().find(|cell| cell.status == status).expect("a sample cell with this status");
                cell.clone()
            });
            let mut report = Report { header, cells: cells.collect() };
            assert_eq!(report.exit_code(), whole, "{statuses:?}");
            report.header.shard = shard;
            assert_eq!(report.exit_code(), of_shard, "shard: {statuses:?}");
            assert_eq!(report.is_good(), of_shard == 0, "verdict of the HTML page: {statuses:?}");
        }
    }
}
