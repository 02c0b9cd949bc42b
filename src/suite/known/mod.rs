//! Known failures: a TOML file that people commit. Each entry names results that are expected to fail, and the reason.
//!
//! A pattern is matched with cell ids, test names, and results of parts (`CELL > PART`). As in LLVM's lit, a result that
//! passes although it is listed (`XPASS`) counts as a failure: otherwise lists would never be cleaned up, and an entry
//! that is too broad would hide the next regression.

mod read;
mod release;
mod update;

use std::collections::BTreeSet;

use glob::Pattern;

use self::release::Kernels;
pub use self::update::{Update, update};
use super::manifest::ManifestError;
use super::report::{CellReport, Expectation, ExpectationKind, Part, PartResult, Report, Standing, Status};

/// Outcomes of a failure, as in reports.
const OUTCOMES: [&str; 12] = [
    "exited",
    "signaled",
    "not-executed",
    "panic",
    "kernel-crashed",
    "unhealthy",
    "reset",
    "watchdog",
    "timed-out",
    "went-away",
    "powered-off",
    "could-not-test",
];

/// List of known failures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownFailures {
    /// File name, for messages.
    file: String,
    entries: Vec<Entry>,
    /// Current date, `YYYY-MM-DD`.
    today: String,
}

/// Entry of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    pattern: Pattern,
    /// `None` for all kernels.
    kernels: Option<Kernels>,
    reason: String,
    /// Last day on which the entry counts, `YYYY-MM-DD`.
    until: Option<String>,
    /// Outcome of the failure; `None` for any.
    outcome: Option<String>,
    /// True if the results sometimes pass.
    flaky: bool,
    /// Line in the file, from 1.
    line: usize,
}

impl KnownFailures {
    /// Parses a list. `file` is its name in messages, `today` the current date, seconds since 1970.
    pub fn parse(text: &str, file: &str, today: f64) -> Result<Self, ManifestError> {
        Ok(Self { file: file.to_owned(), entries: read::entries(text, file)?, today: super::report::day(today) })
    }

    /// Judges a cell and its parts. `release` is the release of its kernel, if known.
    pub fn judge(&self, cell: &mut CellReport, release: Option<&str>) {
        let names = [cell.id.clone(), cell.test.clone()];
        let kernel = cell.kernel.clone();
        let find = |names: &[String], outcome: Option<&str>| {
            let applies =
                |entry: &&Entry| entry.is_active(&self.today) && entry.applies(names, &kernel, release, outcome);
            self.entries.iter().find(applies)
        };
        let outcome = outcome(cell).to_owned();
        let mut unexpected_part = None;
        if let Some(last) = cell.attempts.last_mut() {
            for part in &mut last.parts {
                let entry = find(&part_names(&names, part), None);
                part.expectation = entry.and_then(|entry| entry.expectation(part_fails(part)?));
                if entry.is_some_and(|entry| !entry.flaky) && part.result == PartResult::Passed {
                    unexpected_part =
                        unexpected_part.or_else(|| part.expectation.clone().map(|it| (part.name.clone(), it)));
                }
            }
        }
        cell.expectation = match cell.status {
            Status::NotRun | Status::Skipped => None,
            Status::Failed | Status::Error => {
                let entry = find(&names, Some(&outcome));
                let known = entry.and_then(|entry| entry.expectation(true)).or_else(|| known_by_parts(cell));
                Some(known.unwrap_or(Expectation { kind: ExpectationKind::NewlyFailing, reason: String::new() }))
            }
            Status::Passed | Status::Flaky => match find(&names, None) {
                Some(entry) => entry.expectation(false),
                None => unexpected_part.map(|(part, expectation)| Expectation {
                    reason: format!("{part}: {}", expectation.reason),
                    ..expectation
                }),
            },
        };
    }

    /// Judges all cells of a report.
    pub fn judge_all(&self, report: &mut Report) {
        for cell in &mut report.cells {
            self.judge(cell, report.header.kernels.get(&cell.kernel).map(String::as_str));
        }
    }

    /// Describes the expired entries that match failures of a report.
    pub fn expired(&self, report: &Report) -> Vec<String> {
        let mut seen = BTreeSet::new();
        for cell in report.cells.iter().filter(|cell| !cell.is_good()) {
            seen.extend(self.expired_entries(cell, report).map(|entry| entry.line));
        }
        let entries = self.entries.iter().filter(|entry| seen.contains(&entry.line));
        let describe = |entry: &Entry| {
            let until = entry.until.as_deref().unwrap_or_default();
            let Entry { line, pattern, reason, .. } = entry;
            format!(
                "{}:{line}: entry {:?} expired after {until} and no longer counts: {reason}",
                self.file,
                pattern.as_str()
            )
        };
        entries.map(describe).collect()
    }

    /// Returns the expired entries that match a cell or one of its failed parts.
    fn expired_entries<'a>(&'a self, cell: &'a CellReport, report: &'a Report) -> impl Iterator<Item = &'a Entry> {
        let release = report.header.kernels.get(&cell.kernel).map(String::as_str);
        let names = [cell.id.clone(), cell.test.clone()];
        let parts = cell.final_attempt().map_or(&[][..], |last| &last.parts);
        let bad = parts.iter().filter(|part| part.is_bad()).map(|part| part_names(&names, part));
        let all: Vec<Vec<String>> = std::iter::once(names.to_vec()).chain(bad).collect();
        let outcome = outcome(cell);
        self.entries
            .iter()
            .filter(|entry| !entry.is_active(&self.today))
            .filter(move |entry| all.iter().any(|names| entry.applies(names, &cell.kernel, release, Some(outcome))))
    }
}

/// Returns the number of cells and one line for each that fails newly, passes unexpectedly, or is a known failure, for
/// a terminal. At most `limit` cells of each kind are listed.
pub fn lines(report: &Report, limit: usize) -> Vec<String> {
    let kinds = [
        (Standing::Failed, "newly failing"),
        (Standing::Unexpected, "unexpectedly passing"),
        (Standing::Known, "known"),
    ];
    let of = |standing: Standing| {
        // An error is a failure, too.
        let is = move |cell: &&CellReport| match cell.standing() {
            Standing::Error => standing == Standing::Failed,
            other => other == standing,
        };
        report.cells.iter().filter(is)
    };
    let counts = kinds.iter().map(|(standing, name)| format!("{} {name}", of(*standing).count()));
    let mut lines = vec![counts.collect::<Vec<_>>().join(", ")];
    for (standing, name) in kinds {
        let line = |cell: &CellReport| {
            let cause = match (&cell.expectation, standing) {
                (Some(expectation), Standing::Unexpected | Standing::Known) => expectation.reason.clone(),
                _ => cell.reason(),
            };
            format!("  {name:<20} {}: {}", cell.id, crate::format::guest_text::one_line(&cause))
        };
        lines.extend(of(standing).take(limit).map(line));
        let more = of(standing).count().saturating_sub(limit);
        lines.extend((more > 0).then(|| format!("  {:<20} and {more} more", "")));
    }
    lines
}

/// Returns the outcome of a cell's last attempt.
fn outcome(cell: &CellReport) -> &str {
    cell.final_attempt().and_then(|attempt| attempt.outcome.as_deref()).unwrap_or("could-not-test")
}

/// Returns the names of a part that patterns are matched with.
fn part_names(cell: &[String], part: &Part) -> Vec<String> {
    cell.iter().map(|cell| format!("{cell} > {}", part.name)).chain([part.name.clone()]).collect()
}

/// Returns true if the part fails, false if it passes, and `None` if it was not tested.
fn part_fails(part: &Part) -> Option<bool> {
    match part.result {
        PartResult::Passed => Some(false),
        PartResult::Failed | PartResult::Missing => Some(true),
        PartResult::Skipped | PartResult::Todo => None,
    }
}

/// Returns the reason of the failed parts if the cell failed only because of them and all of them are known.
fn known_by_parts(cell: &CellReport) -> Option<Expectation> {
    let last = cell.final_attempt().filter(|last| last.other_cause.is_none())?;
    let failed: Vec<&Part> = last.parts.iter().filter(|part| !part.result.is_good()).collect();
    let known = || failed.iter().filter_map(|part| part.expectation.as_ref());
    if known().count() < failed.len() {
        return None;
    }
    let reasons: BTreeSet<&str> = known().map(|expectation| expectation.reason.as_str()).collect();
    let first = known().next()?;
    let more = if reasons.len() > 1 { format!(" (and {} more)", reasons.len() - 1) } else { String::new() };
    Some(Expectation { reason: format!("{}{more}", first.reason), ..first.clone() })
}

impl Entry {
    fn is_active(&self, today: &str) -> bool {
        self.until.as_deref().is_none_or(|until| today <= until)
    }

    /// Returns true if the entry concerns a result with one of these names. A part's own name, without its cell, must be
    /// equal to the pattern.
    fn applies(&self, names: &[String], kernel: &str, release: Option<&str>, outcome: Option<&str>) -> bool {
        let is_part = names.len() > 2;
        let matches = |(at, name): (usize, &String)| {
            if at == 2 { self.pattern.as_str() == name } else { self.matches_whole(name, is_part) }
        };
        let is_outcome = |expected: &String| outcome.is_none_or(|outcome| outcome == expected);
        names.iter().enumerate().any(matches)
            && self.outcome.as_ref().is_none_or(is_outcome)
            && self.kernels.as_ref().is_none_or(|kernels| kernels.contains(kernel, release))
    }

    /// Matches a cell, or a part with its cell. A pattern concerns parts only if it contains ` > `.
    fn matches_whole(&self, name: &str, is_part: bool) -> bool {
        self.pattern.as_str().contains(" > ") == is_part && self.pattern.matches(name)
    }

    /// Returns the judgment of a result; `None` if a flaky one passes.
    fn expectation(&self, fails: bool) -> Option<Expectation> {
        let kind = match (fails, self.flaky) {
            (true, _) => ExpectationKind::Known,
            (false, false) => ExpectationKind::UnexpectedlyPassing,
            (false, true) => return None,
        };
        Some(Expectation { kind, reason: self.reason.clone() })
    }
}

#[cfg(test)]
mod tests;
