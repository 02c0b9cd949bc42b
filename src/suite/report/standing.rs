//! Standing of a cell: its status, combined with the judgment of the list of known failures. All formats for people
//! show it.

use std::borrow::Cow;

use serde::Serialize;

use super::expectation::{Expectation, ExpectationKind};
use super::schema::{CellReport, Part, PartResult, Report, Status};
use crate::format::guest_text::one_line;

/// Standing of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Passed on the first attempt.
    Passed,
    /// Failed, then passed on a retry.
    Flaky,
    /// The test reported that there is nothing to test.
    Skipped,
    /// Failed, or could not be tested, as a list of known failures states.
    Known,
    /// Failed on every attempt.
    Failed,
    /// Passed, although a list of known failures states that it fails.
    Unexpected,
    /// Could not be tested.
    Error,
    /// Not run.
    NotRun,
}

impl Standing {
    /// All standings, the good ones first.
    pub const ALL: [Self; 8] = [
        Self::Passed,
        Self::Flaky,
        Self::Skipped,
        Self::Known,
        Self::Failed,
        Self::Unexpected,
        Self::Error,
        Self::NotRun,
    ];
}

impl CellReport {
    /// Returns the standing of the cell.
    pub fn standing(&self) -> Standing {
        let kind = self.expectation.as_ref().map(|expectation| expectation.kind);
        match (kind, self.status) {
            (Some(ExpectationKind::Known), _) => Standing::Known,
            (Some(ExpectationKind::UnexpectedlyPassing), _) => Standing::Unexpected,
            (Some(ExpectationKind::NewlyFailing) | None, status) => match status {
                Status::Passed => Standing::Passed,
                Status::Flaky => Standing::Flaky,
                Status::Skipped => Standing::Skipped,
                Status::Failed => Standing::Failed,
                Status::Error => Standing::Error,
                Status::NotRun => Standing::NotRun,
            },
        }
    }
}

impl CellReport {
    /// Returns the reason why the cell is not good, or why it is good although it failed, as a sentence.
    pub fn standing_reason(&self) -> String {
        let cause = self.reason();
        let Some(Expectation { kind, reason }) = &self.expectation else { return cause };
        match kind {
            ExpectationKind::Known => format!("known failure: {} ({cause})", one_line(reason)),
            ExpectationKind::NewlyFailing => format!("newly failing: {cause}"),
            ExpectationKind::UnexpectedlyPassing => {
                format!("unexpectedly passing; known to fail: {}", one_line(reason))
            }
        }
    }
}

impl Part {
    /// Returns the part as reports show it: a known failure as one that does not count.
    pub(crate) fn shown(&self) -> Cow<'_, Self> {
        match &self.expectation {
            Some(Expectation { kind: ExpectationKind::Known, reason }) => {
                let detail = format!("known failure: {reason}");
                Cow::Owned(Self { result: PartResult::Todo, detail, ..self.clone() })
            }
            Some(_) | None => Cow::Borrowed(self),
        }
    }
}

impl Report {
    /// Returns the number of cells with a standing.
    pub fn count_standing(&self, standing: Standing) -> usize {
        self.cells.iter().filter(|cell| cell.standing() == standing).count()
    }
}
