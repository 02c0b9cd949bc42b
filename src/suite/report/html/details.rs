//! Details of a cell in the HTML page.

use std::slice;

use serde::Serialize;

use super::budget::Budget;
use super::{part_symbol, seconds, shortened, symbol};
use crate::suite::report::{Attempt, CellReport, Part, PartResult, StartMode, one_line};

/// Limit of parts listed for an attempt.
const PARTS: usize = 300;

/// Details of a cell.
#[derive(Debug, Serialize)]
pub struct Detail {
    id: String,
    status: &'static str,
    symbol: &'static str,
    tags: Vec<String>,
    cause: Option<String>,
    repeat: Option<String>,
    tries: Vec<Try>,
}

/// An attempt.
#[derive(Debug, Serialize)]
struct Try {
    heading: Option<String>,
    cause: Option<String>,
    facts: String,
    bars: Vec<Bar>,
    blocks: Vec<Block>,
    parts: Vec<PartRow>,
    parts_bad: bool,
    parts_summary: String,
    streams: Vec<Stream>,
}

/// A segment of the timeline.
#[derive(Debug, Serialize)]
struct Bar {
    class: &'static str,
    percent: String,
    label: String,
}

/// Text below a heading.
#[derive(Debug, Serialize)]
struct Block {
    heading: String,
    text: String,
}

/// A part of the test.
#[derive(Debug, Serialize)]
struct PartRow {
    symbol: &'static str,
    class: &'static str,
    name: String,
    detail: String,
}

/// An output stream.
#[derive(Debug, Serialize)]
struct Stream {
    heading: &'static str,
    text: String,
    open: bool,
}

impl Detail {
    /// Builds the details of a cell, within the budget.
    pub fn of(cell: &CellReport, budget: &mut Budget) -> Self {
        budget.begin();
        let is_short = budget.is_short(cell);
        let several = cell.attempts.len() > 1;
        let repeat = budget.repeat(cell);
        let cause = (!cell.status.has_passed()).then(|| budget.start(&cell.reason()));
        // The last attempt decides, so it gets the budget first.
        let mut tries: Vec<Try> = Vec::new();
        let most = if budget.is_small() { 1 } else { usize::MAX };
        for (at, attempt) in cell.attempts.iter().enumerate().rev().take(most) {
            let heading = several.then(|| format!("Attempt {} of {}", at + 1, cell.attempts.len()));
            // The cell's cause is that of its last attempt.
            let is_told = at + 1 == cell.attempts.len() && attempt.cause == cell.cause;
            tries.push(if is_short { Try::short(attempt) } else { Try::of(attempt, heading, is_told, budget) });
        }
        Self {
            id: one_line(&cell.id),
            status: cell.status.name(),
            symbol: symbol(cell.status),
            tags: if is_short { Vec::new() } else { cell.tags.iter().map(|tag| one_line(tag)).collect() },
            cause,
            repeat,
            tries,
        }
    }
}

impl Try {
    /// Builds a one-line description.
    fn short(attempt: &Attempt) -> Self {
        Self {
            heading: None,
            cause: None,
            facts: facts(attempt),
            bars: Vec::new(),
            blocks: Vec::new(),
            parts: Vec::new(),
            parts_bad: false,
            parts_summary: String::new(),
            streams: Vec::new(),
        }
    }

    fn of(attempt: &Attempt, heading: Option<String>, cause_is_told: bool, budget: &mut Budget) -> Self {
        let cause = attempt.cause.as_deref().filter(|_| !cause_is_told && !attempt.passed);
        Self {
            heading,
            cause: cause.map(|cause| budget.start(cause)),
            facts: facts(attempt),
            bars: if budget.is_small() { Vec::new() } else { bars(attempt) },
            blocks: blocks(attempt, budget),
            parts_bad: attempt.parts.iter().any(|part| !part.result.is_good()),
            parts_summary: summary(&attempt.parts),
            parts: parts(attempt, budget),
            streams: streams(attempt, budget),
        }
    }
}

/// Returns a short description of an attempt.
fn facts(attempt: &Attempt) -> String {
    let mut facts = Vec::new();
    facts.extend(attempt.outcome.as_deref().map(|outcome| match outcome {
        "exited" => format!("exited with {}", attempt.exit_code),
        other => one_line(other),
    }));
    facts.push(
        match attempt.boot {
            StartMode::Cold => "booted",
            StartMode::Warm => "restored",
            StartMode::Shared => "shared its guest",
        }
        .to_owned(),
    );
    facts.push(seconds(attempt.times.total));
    facts.extend(attempt.max_rss_kib.map(|kib| format!("{kib} KiB max RSS")));
    facts.join(" \u{b7} ")
}

/// Returns the timeline of an attempt.
fn bars(attempt: &Attempt) -> Vec<Bar> {
    let times = &attempt.times;
    let began = match attempt.boot {
        StartMode::Cold => "booted",
        StartMode::Warm => "restored",
        StartMode::Shared => "waited",
    };
    let command = times.command.unwrap_or(times.verdict);
    let pieces = [("b1", "prepared", times.prepared), ("b2", began, command), ("b3", "ran", times.verdict - command)];
    let all: f64 = pieces.iter().map(|(_, _, time)| time.max(0.0)).sum();
    if all.is_nan() || all <= 0.0 || all.is_infinite() {
        return Vec::new();
    }
    let bar = |(class, what, time): (&'static str, &str, f64)| Bar {
        class,
        percent: format!("{:.1}", time.max(0.0) / all * 100.0),
        label: format!("{what} {}", seconds(time)),
    };
    pieces.into_iter().map(bar).collect()
}

/// Returns the findings, the hang report, the notes and the console.
fn blocks(attempt: &Attempt, budget: &mut Budget) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut block = |heading: &str, lines: &[String], budget: &mut Budget| {
        if lines.iter().any(|line| !line.trim().is_empty()) && !budget.is_spent() {
            let heading = budget.heading(shortened(&one_line(heading)));
            blocks.push(Block { heading, text: budget.end(&lines.join("\n")) });
        }
    };
    for finding in &attempt.health {
        let lines = if finding.lines.is_empty() { slice::from_ref(&finding.title) } else { &finding.lines };
        block(&finding.title, lines, budget);
    }
    if let Some(hang) = &attempt.hang {
        block("Hang summary", &hang.summary, budget);
        block("Hang report", slice::from_ref(&hang.report), budget);
    }
    block("Notes", &attempt.notes, budget);
    if !attempt.passed {
        block("Last console lines", &attempt.console, budget);
    }
    blocks
}

/// Returns a summary of the parts.
fn summary(parts: &[Part]) -> String {
    let all = [
        (PartResult::Failed, "failed"),
        (PartResult::Missing, "missing"),
        (PartResult::Passed, "passed"),
        (PartResult::Skipped, "skipped"),
        (PartResult::Todo, "known to fail"),
    ];
    let told = all.into_iter().filter_map(|(result, name)| {
        let count = parts.iter().filter(|part| part.result == result).count();
        (count > 0).then(|| format!("{count} {name}"))
    });
    format!("Parts: {}", told.collect::<Vec<_>>().join(", "))
}

/// Returns the parts, failed ones first, as far as the budget allows.
fn parts(attempt: &Attempt, budget: &mut Budget) -> Vec<PartRow> {
    let (bad, good): (Vec<_>, Vec<_>) = attempt.parts.iter().partition(|part| !part.result.is_good());
    let mut rows = Vec::new();
    for part in bad.into_iter().chain(good) {
        if rows.len() == PARTS || budget.is_spent() {
            budget.shortened = true;
            break;
        }
        budget.line();
        let (symbol, class) = part_symbol(part.result);
        rows.push(PartRow { symbol, class, name: budget.start(&part.name), detail: budget.end(&part.detail) });
    }
    rows
}

fn streams(attempt: &Attempt, budget: &mut Budget) -> Vec<Stream> {
    let mut streams = Vec::new();
    let console = if attempt.passed { attempt.console.join("\n") } else { String::new() };
    for (heading, text) in
        [("Standard error", &attempt.stderr), ("Standard output", &attempt.stdout), ("Last console lines", &console)]
    {
        if !text.trim().is_empty() && !budget.is_spent() {
            streams.push(Stream { heading, text: budget.end(text), open: !attempt.passed });
        }
    }
    streams
}
