//! Cells as the page shows them: with texts of limited length.

use std::ops::RangeInclusive;
use std::slice;

use serde::Serialize;

use crate::format::guest_text::{self, head, one_line, tail};
use crate::guest::hang::Hang;
use crate::guest::health::Finding;
use crate::suite::report::{Attempt, CellReport, Part, PartResult, Report, Standing};

/// Number of cells from which on passed cells have one line, without details.
pub(super) const LARGE: usize = 400;
/// Limit of parts listed for an attempt.
const MAX_PARTS: usize = 300;
/// Length of one text, bytes, if all cells together had this much text.
const ALL_TEXTS: usize = 1 << 20;
/// Range of the length limit of one text, bytes.
const TEXT: RangeInclusive<usize> = 100..=16 << 10;
/// Length limit below which a cell has its cause, but no logs.
const MIN_LOG: usize = 1 << 10;

/// A cell.
#[derive(Debug, Serialize)]
pub(super) struct Cell {
    id: String,
    status: Standing,
    seconds: f64,
    /// True if the cell ran.
    ran: bool,
    tags: Vec<String>,
    cause: Option<String>,
    /// Command that repeats it; `None` if the page shows it once for all cells.
    repeat: Option<String>,
    /// Number of attempts.
    total_attempts: usize,
    /// The attempts that are shown, the last one first.
    attempts: Vec<ShownAttempt>,
}

/// An attempt.
#[derive(Debug, Serialize)]
struct ShownAttempt {
    #[serde(flatten)]
    attempt: Attempt,
    /// True if it has more than a line.
    has_details: bool,
    parts_summary: String,
}

/// Limits of the texts of a page.
#[derive(Debug)]
pub(super) struct Limits {
    /// Length limit of one text, bytes.
    text: usize,
    is_large: bool,
    /// Command that repeats a cell, up to its id, if the page shows it once for all cells.
    pub(super) repeat: Option<String>,
    /// True if any text was shortened.
    pub(super) shortened: bool,
}

impl Limits {
    /// Returns the limits for a report: the more cells have details, the shorter is each text.
    pub(super) fn new(report: &Report) -> Self {
        let is_large = report.cells.len() > LARGE;
        let has_details = |cell: &&CellReport| !is_large || cell.standing() != Standing::Passed;
        let detailed = report.cells.iter().filter(has_details).count().max(1);
        let repeat = is_large.then(|| report.cells.iter().find_map(command_before_id)).flatten().map(one_line);
        Self { text: (ALL_TEXTS / detailed).clamp(*TEXT.start(), *TEXT.end()), is_large, repeat, shortened: false }
    }

    /// Returns the start of a text, as one line.
    fn start(&mut self, text: &str) -> String {
        let line = one_line(text);
        let shown = head(&line, self.text);
        if shown.len() == line.len() {
            return line;
        }
        self.shortened = true;
        format!("{shown}[...]")
    }

    /// Returns the end of a text.
    fn end(&mut self, text: &str) -> String {
        let text = guest_text::text(text);
        let text = text.trim_end();
        let shown = tail(text, self.text);
        if shown.len() == text.len() {
            return text.to_owned();
        }
        self.shortened = true;
        format!("[...]{shown}")
    }

    /// Returns the end of several lines, as one text; none if it is empty.
    fn lines(&mut self, lines: &[String]) -> Vec<String> {
        let text = self.end(&lines.join("\n"));
        if text.trim().is_empty() { Vec::new() } else { vec![text] }
    }

    /// Returns a cell as it is shown.
    pub(super) fn cell(&mut self, cell: &CellReport) -> Cell {
        let has_details = !self.is_large || cell.standing() != Standing::Passed;
        let has_logs = has_details && self.text >= MIN_LOG;
        let is_common = self.repeat.is_some() && command_before_id(cell).map(one_line) == self.repeat;
        let shown = if has_logs { cell.attempts.len() } else { 1 };
        Cell {
            id: one_line(&cell.id),
            status: cell.standing(),
            seconds: cell.seconds(),
            ran: !cell.attempts.is_empty(),
            tags: if has_details { cell.tags.iter().map(|tag| one_line(tag)).collect() } else { Vec::new() },
            cause: self.cause(cell),
            repeat: (has_details && !is_common && !cell.repeat.is_empty()).then(|| one_line(&cell.repeat)),
            total_attempts: cell.attempts.len(),
            attempts: cell.attempts.iter().rev().take(shown).map(|attempt| self.attempt(attempt, has_logs)).collect(),
        }
    }

    /// Returns the cause, unless the cell passed as expected.
    fn cause(&mut self, cell: &CellReport) -> Option<String> {
        let has_cause = !cell.status.has_passed() || cell.standing() == Standing::Unexpected;
        has_cause.then(|| self.start(&cell.standing_reason()))
    }

    fn attempt(&mut self, attempt: &Attempt, has_logs: bool) -> ShownAttempt {
        let facts = Attempt {
            passed: attempt.passed,
            skipped: attempt.skipped,
            cause: attempt.cause.as_deref().map(|cause| self.start(cause)),
            outcome: attempt.outcome.as_deref().map(one_line),
            exit_code: attempt.exit_code,
            boot: attempt.boot,
            times: attempt.times,
            max_rss_kib: attempt.max_rss_kib,
            ..Attempt::default()
        };
        if !has_logs {
            return ShownAttempt { attempt: facts, has_details: false, parts_summary: String::new() };
        }
        let finding = |finding: &Finding| {
            let lines = if finding.lines.is_empty() { slice::from_ref(&finding.title) } else { &finding.lines };
            Finding { title: self.start(&finding.title), lines: self.lines(lines), ..finding.clone() }
        };
        let shown = Attempt {
            health: attempt.health.iter().map(finding).collect(),
            hang: attempt
                .hang
                .as_ref()
                .map(|hang| Hang { summary: self.lines(&hang.summary), report: self.end(&hang.report) }),
            stdout: self.end(&attempt.stdout),
            stderr: self.end(&attempt.stderr),
            console: self.lines(&attempt.console),
            notes: self.lines(&attempt.notes),
            parts: self.parts(&attempt.parts),
            ..facts
        };
        ShownAttempt { attempt: shown, has_details: true, parts_summary: parts_summary(&attempt.parts) }
    }

    /// Returns the parts, failed ones first.
    fn parts(&mut self, parts: &[Part]) -> Vec<Part> {
        let (bad, good): (Vec<&Part>, Vec<&Part>) = parts.iter().partition(|part| part.is_bad());
        self.shortened |= parts.len() > MAX_PARTS;
        let shown = bad.into_iter().chain(good).take(MAX_PARTS);
        shown
            .map(|part| part.shown())
            .map(|part| Part { name: self.start(&part.name), detail: self.end(&part.detail), ..part.into_owned() })
            .collect()
    }
}

/// Returns the number of parts by result, as text.
fn parts_summary(parts: &[Part]) -> String {
    let names = [
        (PartResult::Failed, "failed"),
        (PartResult::Missing, "missing"),
        (PartResult::Passed, "passed"),
        (PartResult::Skipped, "skipped"),
        (PartResult::Todo, "known to fail"),
    ];
    let counts = names.into_iter().filter_map(|(result, name)| {
        let count = parts.iter().filter(|part| part.shown().result == result).count();
        (count > 0).then(|| format!("{count} {name}"))
    });
    format!("Parts: {}", counts.collect::<Vec<_>>().join(", "))
}

/// Returns the command that repeats a cell without the cell's id at its end, which may be quoted.
fn command_before_id(cell: &CellReport) -> Option<&str> {
    let line = cell.repeat.as_str();
    let command = line.strip_suffix('\'').unwrap_or(line).strip_suffix(cell.id.as_str())?;
    let command = command.strip_suffix('\'').unwrap_or(command);
    command.ends_with(' ').then(|| command.trim_end())
}
