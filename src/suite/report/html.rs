//! Self-contained HTML page: the matrix as a grid, the details of each cell, and the changes since an earlier report.
//!
//! The template is `assets/report.html`. All values are untrusted: they are escaped and contain no control characters,
//! and the page's policy forbids loading anything. Texts are shortened, so that a page of 10,000 cells has about 5 MB.

mod cell;
mod grid;

use std::borrow::Cow;
use std::io::{self, Write};

use minijinja::value::Serde;
use minijinja::{Environment, Value, escape_formatter};
use serde::Serialize;

use self::cell::{Cell, Limits};
use self::grid::Grid;
use super::date::date;
use super::{CellReport, Format, Report, Standing, Status};
use crate::format::duration::seconds;
use crate::format::guest_text::head;
use crate::format::guest_text::{self, one_line};
use crate::suite::baseline::{Change, Comparison};

/// The format.
pub(super) static FORMAT: Format = Format { name: "html", help: "Write a self-contained HTML page to FILE", write };

/// Limit of rows in each list above the grid.
const MAX_ROWS: usize = 500;
/// Length limit of a sentence in these lists, bytes.
const MAX_SENTENCE: usize = 300;

/// Template values.
#[derive(Debug, Serialize)]
struct Page {
    bootling: String,
    suite: String,
    good: bool,
    verdict: String,
    date: String,
    duration: f64,
    qemu: Option<String>,
    shard: Option<String>,
    ended_early: Option<String>,
    shortened: bool,
    /// Command that repeats a cell, up to its id, if it is shown once for all cells.
    repeat: Option<String>,
    counts: Vec<(Standing, usize)>,
    comparison: Option<ComparisonSection>,
    problems: Vec<ProblemRow>,
    more_problems: usize,
    large: bool,
    #[serde(flatten)]
    grid: Grid,
    cells: Vec<Cell>,
}

/// A cell that did not pass on the first attempt.
#[derive(Debug, Serialize)]
struct ProblemRow {
    cell: usize,
    cause: String,
}

/// Comparison with an earlier report.
#[derive(Debug, Serialize)]
struct ComparisonSection {
    before: String,
    summary: String,
    rows: Vec<ChangeRow>,
    more: usize,
}

/// A change.
#[derive(Debug, Serialize)]
struct ChangeRow {
    kind: &'static str,
    id: String,
    /// True if the page contains the cell.
    linked: bool,
    status: Option<Status>,
    text: String,
}

/// Writes a report, with the comparison with an earlier one if available.
fn write(report: &Report, comparison: Option<&Comparison>, out: &mut dyn Write) -> io::Result<()> {
    let page = page(report, comparison);
    let mut environment = Environment::new();
    environment.add_filter("seconds", seconds);
    environment.add_filter("fragment", |id: &str| Value::from_safe_string(fragment(id)));
    // The values that the template prints contain no control characters.
    environment.set_formatter(|out, state, value| match value.as_str().map(guest_text::text) {
        Some(Cow::Owned(text)) if !value.is_safe() => escape_formatter(out, state, &Value::from(text)),
        _ => escape_formatter(out, state, value),
    });
    let mut buffered = io::BufWriter::new(out);
    environment
        .add_template("report.html", include_str!("../../../assets/report.html"))
        .and_then(|()| environment.get_template("report.html"))
        .and_then(|template| template.render_captured_to(Serde(&page), &mut buffered).map(drop))
        .map_err(|error| failure(&error))?;
    buffered.flush()
}

/// Converts an error of the template engine or of its writer.
fn failure(error: &minijinja::Error) -> io::Error {
    let below = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    // Preserve the error kind: callers ignore a closed pipe.
    below.map_or_else(|| io::Error::other(error.to_string()), |below| io::Error::new(below.kind(), error.to_string()))
}

fn page(report: &Report, comparison: Option<&Comparison>) -> Page {
    let header = &report.header;
    let mut limits = Limits::new(report);
    let cells: Vec<Cell> = report.cells.iter().map(|cell| limits.cell(cell)).collect();
    // Failures first: thousands of skipped cells must not push them out.
    let of = |is_good: bool| report.cells.iter().enumerate().filter(move |(_, cell)| cell.is_good() == is_good);
    let problems = of(false).chain(of(true).filter(|(_, cell)| cell.standing() != Standing::Passed));
    Page {
        bootling: one_line(&header.bootling),
        suite: one_line(&header.suite),
        good: report.is_good(),
        verdict: verdict(report),
        date: readable_date(header.started),
        duration: header.duration_s,
        qemu: header.qemu.as_deref().map(one_line),
        shard: header.shard.map(|shard| shard.to_string()),
        ended_early: header.ended_early.as_deref().map(one_line),
        shortened: limits.shortened,
        repeat: limits.repeat,
        counts: Standing::ALL.map(|standing| (standing, report.count_standing(standing))).into(),
        comparison: comparison.map(comparison_section),
        problems: problems.clone().take(MAX_ROWS).map(|(at, cell)| problem_row(at, cell)).collect(),
        more_problems: problems.count().saturating_sub(MAX_ROWS),
        large: report.cells.len() > cell::LARGE,
        grid: Grid::new(report),
        cells,
    }
}

/// Formats a date for people.
fn readable_date(seconds: f64) -> String {
    date(seconds).replace('T', " ").replace('Z', " UTC")
}

fn verdict(report: &Report) -> String {
    let all = report.cells.len();
    let bad = report.cells.iter().filter(|cell| !cell.is_good()).count();
    let known = report.count_standing(Standing::Known);
    let skipped = report.count(Status::Skipped);
    match (all, bad) {
        (0, _) => "nothing to run".to_owned(),
        (_, 0) if skipped == all && report.header.shard.is_some() => {
            "every cell of this shard was skipped; the merge decides whether anything was tested".to_owned()
        }
        (_, 0) if skipped == all => "every cell was skipped; nothing was tested".to_owned(),
        (_, 0) if skipped + known > 0 => {
            let counts = [(known, "failed as known"), (skipped, "skipped")];
            let others = counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!(", {count} {what}"));
            format!("{} of {all} cells passed{}", all - skipped - known, others.collect::<String>())
        }
        (1, 0) => "the only cell passed".to_owned(),
        (_, 0) => format!("all {all} cells passed"),
        _ => format!("{bad} of {all} cells did not pass"),
    }
}

fn problem_row(at: usize, cell: &CellReport) -> ProblemRow {
    let cause = if cell.status == Status::Flaky {
        let first = cell.attempts.first().and_then(|attempt| attempt.cause.as_deref()).unwrap_or_default();
        format!("passed on attempt {}; first failure: {}", cell.attempts.len(), sentence(first))
    } else {
        sentence(&cell.standing_reason())
    };
    ProblemRow { cell: at, cause }
}

/// Shortens a sentence.
fn sentence(text: &str) -> String {
    let line = one_line(text);
    let start = head(&line, MAX_SENTENCE);
    if start.len() == line.len() { line } else { format!("{start}...") }
}

fn comparison_section(comparison: &Comparison) -> ComparisonSection {
    let cell = |kind, change: &Change| {
        let cause = change.cause.as_deref().map(sentence).filter(|cause| !cause.is_empty());
        let before = change.before.filter(|before| change.after.is_some_and(|after| after != *before));
        let before = before.map(|before| format!("was {}", before.name()));
        ChangeRow {
            kind,
            id: one_line(&change.id),
            linked: change.after.is_some(),
            status: Some(change.after.or(change.before).unwrap_or_default()),
            text: before.into_iter().chain(cause).collect::<Vec<_>>().join(": "),
        }
    };
    let plain = |kind, id: &str, text| ChangeRow { kind, id: one_line(id), linked: false, status: None, text };
    let kernels = comparison.kernels.iter();
    let mut rows: Vec<ChangeRow> = kernels
        .map(|(name, before, after)| plain("kernel", name, format!("{} -> {}", one_line(before), one_line(after))))
        .collect();
    for (kind, changes, _) in comparison.change_lists() {
        rows.extend(changes.iter().map(|change| cell(kind, change)));
        // Slowdowns follow the changes from passed and precede the others.
        if kind == "newly flaky" {
            rows.extend(comparison.slower.iter().map(|slower| {
                plain("slower", &slower.what, format!("{} -> {}", seconds(slower.before), seconds(slower.after)))
            }));
        }
    }
    let more = rows.len().saturating_sub(MAX_ROWS);
    rows.truncate(MAX_ROWS);
    let before = format!("the report of {}", readable_date(comparison.before));
    ComparisonSection { before, summary: comparison.summary(), rows, more }
}

/// Returns a cell's id as a URL fragment. Characters that browsers do not take literally are percent-encoded.
fn fragment(id: &str) -> String {
    let mut link = String::with_capacity(id.len());
    for byte in one_line(id).bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~' | b':' | b'@' | b'+' => {
                link.push(char::from(byte));
            }
            byte => {
                let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or('0').to_ascii_uppercase();
                link.extend(['%', digit(byte >> 4), digit(byte & 15)]);
            }
        }
    }
    link
}

#[cfg(test)]
mod tests {
    use super::{fragment, write};
    use crate::suite::baseline::{Comparison, compare};
    use crate::suite::report::{CellReport, Report, Shard, Status};
    use crate::suite::tests::sample::{HOSTILE, many, sample};

    fn html(report: &Report, comparison: Option<&Comparison>) -> String {
        let mut out = Vec::new();
        write(report, comparison, &mut out).expect("memory");
        String::from_utf8(out).expect("UTF-8")
    }

    /// Escapes a text as the template engine does.
    fn escaped(text: &str) -> String {
        ["&", "<", ">", "\"", "'", "/"]
            .iter()
            .zip(["&amp;", "&lt;", "&gt;", "&quot;", "&#x27;", "&#x2f;"])
            .fold(text.to_owned(), |text, (letter, reference)| text.replace(letter, reference))
    }

    #[test]
    fn every_cell_is_in_the_grid_and_has_details() {
        let text = html(&sample(), None);
        for cell in &sample().cells {
            assert!(text.contains(&format!("href=\"#{}\"", fragment(&cell.id))), "{}", cell.id);
            assert!(text.contains(&format!("<article id=\"{}\" ", escaped(&cell.id))), "{}", cell.id);
        }
        assert!(text.contains("3 of 8 cells did not pass"));
        assert!(text.contains("vCPU 0 spins in native_safe_halt"));
        assert!(text.contains("6 planned, 4 reported"));
    }

    #[test]
    fn the_mark_of_a_page_agrees_with_the_exit_status_if_all_cells_were_skipped() {
        let mut report = sample();
        report.cells.retain(|cell| cell.status == Status::Skipped);
        let mark = |report: &Report, mark, verdict: &str| {
            let text = html(report, None);
            assert!(text.contains(&format!("<title>{mark} smoke</title>")) && text.contains(verdict), "{text:.2000}");
        };
        mark(&report, "\u{2717}", "every cell was skipped; nothing was tested");
        report.header.shard = Some(Shard { index: 1, total: 2 });
        mark(
            &report,
            "\u{2713}",
            "every cell of this shard was skipped; the merge decides whether anything was tested",
        );
    }

    #[test]
    fn guest_text_is_escaped_and_the_page_loads_nothing() {
        let mut report = sample();
        HOSTILE.clone_into(&mut report.header.suite);
        report.header.kernels.insert("6.1".to_owned(), HOSTILE.to_owned());
        report.header.ended_early = Some(HOSTILE.to_owned());
        for cell in &mut report.cells {
            cell.tags = vec![HOSTILE.to_owned()];
            cell.repeat = HOSTILE.to_owned();
            cell.test = format!("{HOSTILE}{}", cell.test);
            cell.id = format!("{}{HOSTILE}", cell.id);
        }
        let text = html(&report, Some(&compare(&sample(), &report)));
        assert_eq!(text.matches("</script>").count(), 1, "the page's script");
        assert!(!text.contains("<b>\"'") && !text.contains('\u{1b}') && !text.contains('\0'));
        assert!(!text.contains("http:") && !text.contains("https:") && !text.contains("url("));
    }

    #[test]
    fn ten_thousand_cells_stay_small() {
        let text = html(&many(10_000), None);
        assert!(text.len() < 5_000_000, "{}", text.len());
        assert_eq!(text.matches("<article ").count(), 10_000);
    }

    /// Returns a report of ten thousand failed cells, each with every kind of detail.
    fn all_failed(cause: impl Fn(usize) -> String) -> Report {
        let mut report = many(10_000);
        let story = report.cells[7].clone();
        for (number, cell) in report.cells.iter_mut().enumerate() {
            let cause = cause(number);
            let mut attempts = story.attempts.clone();
            for attempt in &mut attempts {
                attempt.cause = Some(cause.clone());
                attempt.console = vec![format!("[{number}.0] {cause}"); 60];
                attempt.stdout = format!("{cause}\n").repeat(4);
            }
            *cell = CellReport { attempts, status: Status::Failed, cause: Some(cause), ..cell.clone() };
            cell.repeat = format!("bootling test tests.toml --only {}", cell.id);
        }
        report
    }

    #[test]
    fn ten_thousand_cells_that_failed_with_long_causes_stay_small() {
        // The size of text without markup is limited; each character of markup takes five bytes or more.
        type Reason = fn(usize) -> String;
        let reasons: [(Reason, usize); 4] = [
            (
                |number| format!("kernel unhealthy: WARNING: CPU: 0 PID: {number} at fs/x.c:{number} ").repeat(40),
                6_000_000,
            ),
            (|number| format!("{number} {}", "&\"'".repeat(1000)), 12_000_000),
            (|number| format!("{number} {}", "\u{1f427}".repeat(1000)), 6_000_000),
            (|number| format!("exited with {}", number % 200), 5_000_000),
        ];
        for (reason, limit) in reasons {
            let report = all_failed(reason);
            let text = html(&report, Some(&compare(&many(10_000), &report)));
            assert!(text.len() < limit, "{}: {:.20}", text.len(), reason(1));
            assert_eq!(text.contains("[...] marks omitted text. The JSON Lines report"), reason(1).len() > 100);
            assert!(text.contains(
                "To repeat a cell without a repeat command: <code>bootling test tests.toml --only CELL</code>"
            ));
            // The start of each cause is on the page, however many there are.
            for number in [3, 4711, 9999] {
                let cause: String = reason(number).chars().take(6).collect();
                let id = &report.cells[number].id;
                let (_, article) = text.split_once(&format!("<article id=\"{}\"", escaped(id))).expect("the article");
                let (article, _) = article.split_once("</article>").expect("its end");
                assert!(article.contains(&format!("<p class=\"cause failed\">{}", escaped(&cause))), "{article}");
            }
        }
        // A cell with a different command shows that command.
        let mut report = all_failed(reasons[0].0);
        "make test".clone_into(&mut report.cells[9].repeat);
        assert!(html(&report, None).contains("<pre>make test</pre>"));
    }

    #[test]
    fn changes_precede_the_matrix() {
        let before = sample();
        let mut after = sample();
        after.cells[0].status = Status::Failed;
        after.cells.pop();
        let text = html(&after, Some(&compare(&before, &after)));
        assert!(
            text.contains(
                "Compared with the report of 2026-01-02 03:04:05 UTC: 1 newly failing, 3 still failing, 1 gone"
            )
        );
        assert!(text.contains("<th>newly failing</th>") && text.contains("<th>gone</th>"));
    }

    #[test]
    fn failed_cells_precede_skipped_ones() {
        let mut report = many(1000);
        let skipped = sample().cells[6].clone();
        for cell in report.cells.iter_mut().take(900) {
            *cell = CellReport { status: Status::Skipped, attempts: skipped.attempts.clone(), ..cell.clone() };
        }
        let text = html(&report, None);
        let (_, list) = text.split_once("Cells that did not pass").expect("a list");
        let symbol = |status| list.find(&format!("<tr data-s=\"{status}\">")).expect("it is there");
        assert!(symbol("failed") < symbol("skipped"));
        assert!(text.contains("2 of 1000 cells did not pass"), "{text:.3000}");
    }

    #[test]
    fn a_report_without_cells_is_a_valid_page() {
        let mut report = sample();
        report.cells.clear();
        assert!(html(&report, None).contains("nothing to run"));
    }

    #[test]
    fn links_are_encoded() {
        assert_eq!(fragment("boot/6.1/q35#2 \"\u{e4}"), "boot/6.1/q35%232%20%22%C3%A4");
    }
}
