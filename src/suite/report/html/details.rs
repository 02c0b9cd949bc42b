//! What the page tells of a cell when it is opened.

use std::slice;

use serde::Serialize;

use super::budget::Budget;
use super::{part_symbol, seconds, shortened, symbol};
use crate::suite::report::{Attempt, Boot, CellReport, Part, PartResult, one_line};

/// Parts that are listed of a try.
const PARTS: usize = 300;

/// A cell.
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

/// A try.
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

/// A piece of the timeline.
#[derive(Debug, Serialize)]
struct Bar {
    class: &'static str,
    percent: String,
    label: String,
}

/// Lines below a heading.
#[derive(Debug, Serialize)]
struct Block {
    heading: String,
    text: String,
}

/// A part.
#[derive(Debug, Serialize)]
struct PartRow {
    symbol: &'static str,
    class: &'static str,
    name: String,
    detail: String,
}

/// What it wrote.
#[derive(Debug, Serialize)]
struct Stream {
    heading: &'static str,
    text: String,
    open: bool,
}

impl Detail {
    /// Of a cell.
    pub fn of(cell: &CellReport, budget: &mut Budget) -> Self {
        budget.begin();
        let is_short = budget.is_short(cell);
        let several = cell.attempts.len() > 1;
        let repeat = budget.repeat(cell);
        let cause = (!cell.status.has_passed()).then(|| budget.start(&cell.why()));
        // The last try decides, and is told first where there is little room.
        let mut tries: Vec<Try> = Vec::new();
        let most = if budget.is_small() { 1 } else { usize::MAX };
        for (at, attempt) in cell.attempts.iter().enumerate().rev().take(most) {
            let heading = several.then(|| format!("Try {} of {}", at + 1, cell.attempts.len()));
            // A cell's own cause is that of its last try.
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
    /// In one line.
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

/// What is known of a try in a few words.
fn facts(attempt: &Attempt) -> String {
    let mut facts = Vec::new();
    facts.extend(attempt.outcome.as_deref().map(|outcome| match outcome {
        "exited" => format!("exited with {}", attempt.exit_code),
        other => one_line(other),
    }));
    facts.push(
        match attempt.boot {
            Boot::Cold => "booted",
            Boot::Warm => "restored",
            Boot::Shared => "shared its guest",
        }
        .to_owned(),
    );
    facts.push(seconds(attempt.times.total));
    facts.extend(attempt.max_rss_kib.map(|kib| format!("{kib} KiB at most")));
    facts.join(" \u{b7} ")
}

/// Where the time went.
fn bars(attempt: &Attempt) -> Vec<Bar> {
    let times = &attempt.times;
    let began = match attempt.boot {
        Boot::Cold => "booted",
        Boot::Warm => "restored",
        Boot::Shared => "waited",
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

/// Findings, hang report, remarks, console.
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
        block("When it hung", &hang.summary, budget);
        block("Hang report", slice::from_ref(&hang.report), budget);
    }
    block("Remarks", &attempt.notes, budget);
    if !attempt.passed {
        block("The console's last lines", &attempt.console, budget);
    }
    blocks
}

/// How its parts went.
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

/// The parts: those that failed first, as far as there is room.
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
    for (heading, text) in [
        ("Standard error", &attempt.stderr),
        ("Standard output", &attempt.stdout),
        ("The console's last lines", &console),
    ] {
        if !text.trim().is_empty() && !budget.is_spent() {
            streams.push(Stream { heading, text: budget.end(text), open: !attempt.passed });
        }
    }
    streams
}
