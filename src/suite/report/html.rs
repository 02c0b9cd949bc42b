//! Self-contained HTML page: the matrix as a grid, the details of each cell, and the changes since an earlier report.
//!
//! The template is `assets/report.html`. All values are untrusted: they are escaped and contain no control characters,
//! and the page's policy forbids loading anything. A page of 10,000 cells must stay below 5 MB, so the texts of all
//! cells share a budget, and in a large matrix a passed cell has one line.

pub mod budget;
pub mod details;
pub mod escape;
pub mod grid;

use std::io::{self, Write};

use minijinja::value::Serde;
use minijinja::{Environment, escape_formatter};
use serde::Serialize;

use self::budget::Budget;
use self::details::Detail;
use self::grid::Grid;
use super::date::date;
use super::{PartResult, Report, Status, one_line};
use crate::suite::baseline::{Change, Comparison};

/// Limit of lines in each list above the grid.
const LINES: usize = 500;

/// Template values.
#[derive(Debug, Serialize)]
struct Page {
    bootling: String,
    suite: String,
    good: bool,
    verdict: String,
    date: String,
    took: String,
    qemu: Option<String>,
    shard: Option<String>,
    ended_early: Option<String>,
    shortened: bool,
    /// Command that repeats a cell, up to its id, if it is shown once for all cells.
    repeat: Option<String>,
    counts: Vec<Count>,
    compared: Option<Compared>,
    trouble: Vec<Trouble>,
    more_trouble: usize,
    #[serde(flatten)]
    grid: Grid,
    cells: Vec<Detail>,
}

/// Number of cells with a status.
#[derive(Debug, Serialize)]
struct Count {
    name: &'static str,
    label: &'static str,
    symbol: &'static str,
    number: usize,
}

/// A cell that did not pass on the first attempt.
#[derive(Debug, Serialize)]
struct Trouble {
    id: String,
    href: String,
    status: &'static str,
    symbol: &'static str,
    cause: String,
    time: String,
}

/// Comparison with an earlier report.
#[derive(Debug, Serialize)]
struct Compared {
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
    href: Option<String>,
    status: &'static str,
    symbol: &'static str,
    told: String,
}

/// Size of the markup of a list line, bytes.
const LINE: usize = 160;

impl Trouble {
    /// Returns its size in the page, bytes.
    fn bytes(&self) -> usize {
        LINE + [&self.id, &self.href, &self.cause].into_iter().map(|text| escape::bytes(text)).sum::<usize>()
    }
}

impl ChangeRow {
    /// Returns its size in the page, bytes.
    fn bytes(&self) -> usize {
        let texts = [Some(&self.id), self.href.as_ref(), Some(&self.told)];
        LINE + texts.into_iter().flatten().map(|text| escape::bytes(text)).sum::<usize>()
    }
}

/// Writes a report, with the comparison with an earlier one if available.
pub fn write(report: &Report, comparison: Option<&Comparison>, out: &mut dyn Write) -> io::Result<()> {
    let page = page(report, comparison);
    let mut environment = Environment::new();
    let added = environment.add_template("report.html", include_str!("../../../assets/report.html"));
    environment.set_formatter(|out, state, value| match value.as_str().filter(|_| !value.is_safe()) {
        Some(text) => Ok(escape::write(text, out)?),
        None => escape_formatter(out, state, value),
    });
    let mut buffered = io::BufWriter::new(out);
    added
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
    // Failures first: thousands of skipped cells must not push them out.
    let of = |is_good: bool| report.cells.iter().filter(move |cell| cell.status.is_good() == is_good);
    let troubled = of(false).chain(of(true).filter(|cell| cell.status != Status::Passed));
    let trouble: Vec<Trouble> = troubled.clone().take(LINES).map(trouble).collect();
    let compared = comparison.map(compared);
    let rows = compared.iter().flat_map(|compared| &compared.rows);
    let lists = trouble.iter().map(Trouble::bytes).chain(rows.map(ChangeRow::bytes)).sum();
    let mut budget = Budget::of(report, lists);
    let cells: Vec<_> = report.cells.iter().map(|cell| Detail::of(cell, &mut budget)).collect();
    Page {
        bootling: one_line(&header.bootling),
        suite: one_line(&header.suite),
        good: report.is_good(),
        verdict: verdict(report),
        date: date(header.started).replace('T', " ").replace('Z', " UTC"),
        took: seconds(header.duration_s),
        qemu: header.qemu.as_deref().map(one_line),
        shard: header.shard.map(|shard| shard.to_string()),
        ended_early: header.ended_early.as_deref().map(one_line),
        shortened: budget.shortened,
        counts: Status::ALL.map(|status| count(report, status)).into(),
        repeat: budget.repeat,
        compared,
        more_trouble: troubled.count().saturating_sub(LINES),
        trouble,
        grid: Grid::of(report),
        cells,
    }
}

fn verdict(report: &Report) -> String {
    let all = report.cells.len();
    let bad = report.cells.iter().filter(|cell| !cell.status.is_good()).count();
    let skipped = report.count(Status::Skipped);
    match (all, bad) {
        (0, _) => "nothing to run".to_owned(),
        (_, 0) if skipped == all && report.header.shard.is_some() => {
            "every cell of this shard was skipped; the merge decides whether anything was tested".to_owned()
        }
        (_, 0) if skipped == all => "every cell was skipped; nothing was tested".to_owned(),
        (_, 0) if skipped > 0 => format!("{} of {all} cells passed, {skipped} skipped", all - skipped),
        (1, 0) => "the only cell passed".to_owned(),
        (_, 0) => format!("all {all} cells passed"),
        _ => format!("{bad} of {all} cells did not pass"),
    }
}

fn count(report: &Report, status: Status) -> Count {
    let label = match status {
        Status::NotRun => "not run",
        Status::Passed | Status::Flaky | Status::Failed | Status::Error | Status::Skipped => status.name(),
    };
    Count { name: status.name(), label, symbol: symbol(status), number: report.count(status) }
}

fn trouble(cell: &super::CellReport) -> Trouble {
    Trouble {
        id: one_line(&cell.id),
        href: href(&cell.id),
        status: cell.status.name(),
        symbol: symbol(cell.status),
        cause: match cell.status {
            Status::Flaky => {
                let first = cell.attempts.first().and_then(|attempt| attempt.cause.as_deref()).map(one_line);
                let first = shortened(&first.unwrap_or_default());
                format!("passed on attempt {}; first failure: {first}", cell.attempts.len())
            }
            Status::NotRun | Status::Passed | Status::Failed | Status::Error | Status::Skipped => {
                shortened(&cell.reason())
            }
        },
        time: if cell.attempts.is_empty() { String::new() } else { seconds(cell.seconds()) },
    }
}

/// Shortens a sentence to a length that leaves room for others.
fn shortened(text: &str) -> String {
    let fitting = escape::beginning(text, 300);
    if fitting.len() == text.len() { text.to_owned() } else { format!("{fitting}...") }
}

fn compared(comparison: &Comparison) -> Compared {
    let cell = |kind, change: &Change| {
        let status = change.after.or(change.before).unwrap_or_default();
        let was = change.before.filter(|was| Some(*was) != change.after && change.after.is_some());
        let mut told = change.cause.as_deref().map(|cause| shortened(&one_line(cause))).unwrap_or_default();
        if let Some(was) = was {
            let separator = if told.is_empty() { "" } else { ": " };
            told = format!("was {}{separator}{told}", was.name());
        }
        let href = change.after.map(|_| href(&change.id));
        ChangeRow { kind, id: one_line(&change.id), href, status: status.name(), symbol: symbol(status), told }
    };
    let plain = |kind, id: &str, told| ChangeRow { kind, id: one_line(id), href: None, status: "", symbol: "", told };
    let mut rows: Vec<ChangeRow> = comparison
        .kernels
        .iter()
        .map(|(name, was, is)| plain("kernel", name, format!("{} -> {}", one_line(was), one_line(is))))
        .collect();
    let mut slower = comparison
        .slower
        .iter()
        .map(|slow| plain("slower", &slow.what, format!("{} -> {}", seconds(slow.before), seconds(slow.after))));
    for (kind, changes, matters) in comparison.change_lists() {
        rows.extend(changes.iter().map(|change| cell(kind, change)));
        // Slowdowns follow the changes of status and precede new and removed cells.
        if matters && kind == "newly flaky" {
            rows.extend(slower.by_ref());
        }
    }
    let more = rows.len().saturating_sub(LINES);
    rows.truncate(LINES);
    let before = date(comparison.before).replace('T', " ").replace('Z', " UTC");
    Compared { before: format!("the report of {before}"), summary: comparison.summary(), rows, more }
}

/// Returns a symbol for a status, for displays without color.
const fn symbol(status: Status) -> &'static str {
    match status {
        Status::NotRun => "\u{2013}",
        Status::Passed => "\u{2713}",
        Status::Flaky => "\u{2248}",
        Status::Failed => "\u{2717}",
        Status::Error => "!",
        Status::Skipped => "\u{bb}",
    }
}

/// Returns a symbol for a part's result, and the CSS class of its color.
const fn part_symbol(result: PartResult) -> (&'static str, &'static str) {
    match result {
        PartResult::Passed => ("\u{2713}", "passed"),
        PartResult::Failed => ("\u{2717}", "failed"),
        PartResult::Missing => ("?", "failed"),
        PartResult::Skipped => ("\u{2013}", "not-run"),
        PartResult::Todo => ("\u{2248}", "flaky"),
    }
}

/// Returns a cell's id as a URL fragment. Characters that browsers do not take literally are percent-encoded.
fn href(id: &str) -> String {
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

/// Formats a duration, such as `12.3 s` or `1 min 15 s`.
fn seconds(time: f64) -> String {
    let time = time.max(0.0);
    #[expect(clippy::cast_sign_loss, reason = "not negative after max")]
    let whole = time.round() as u64;
    match whole {
        0..10 => format!("{time:.2} s"),
        10..60 => format!("{time:.1} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::{href, seconds, write};
    use crate::suite::baseline::{Comparison, compare};
    use crate::suite::report::{CellReport, Report, Shard, Status};
    use crate::suite::tests::sample::{HOSTILE, many, sample};

    fn html(report: &Report, comparison: Option<&Comparison>) -> String {
        let mut out = Vec::new();
        write(report, comparison, &mut out).expect("memory");
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn every_cell_is_in_the_grid_and_has_details() {
        let text = html(&sample(), None);
        for cell in &sample().cells {
            assert!(text.contains(&format!("href=\"#{}\"", href(&cell.id))), "{}", cell.id);
            assert!(text.contains(&format!("<article id=\"{}\" ", cell.id)), "{}", cell.id);
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
        let reasons: [fn(usize) -> String; 4] = [
            |number| format!("kernel unhealthy: WARNING: CPU: 0 PID: {number} at fs/x.c:{number} ").repeat(40),
            // Each character takes five bytes, or four.
            |number| format!("{number} {}", "&\"'".repeat(1000)),
            |number| format!("{number} {}", "\u{1f427}".repeat(1000)),
            |number| format!("exited with {}", number % 200),
        ];
        for reason in reasons {
            let report = all_failed(reason);
            let text = html(&report, Some(&compare(&many(10_000), &report)));
            assert!(text.len() < 5_000_000, "{}: {:.20}", text.len(), reason(1));
            assert!(text.contains("[...] marks omitted text. The JSON Lines report"));
            assert!(text.contains(
                "To repeat a cell without a repeat command: <code>bootling test tests.toml --only CELL</code>"
            ));
            // The beginning of each reason is there, however many there are.
            for number in [3, 4711, 9999] {
                let cause: String = reason(number).chars().take(6).collect();
                let mut escaped = String::new();
                super::escape::write(&cause, &mut escaped).expect("memory");
                let id = &report.cells[number].id;
                let (_, article) = text.split_once(&format!("<article id=\"{id}\"")).expect("the article");
                let (article, _) = article.split_once("</article>").expect("its end");
                assert!(article.contains(&format!("<p class=\"cause failed\">{escaped}")), "{article}");
            }
        }
        // A cell with a different command shows that command.
        let mut report = all_failed(reasons[0]);
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
    fn links_are_encoded_and_durations_are_readable() {
        assert_eq!(href("boot/6.1/q35#2 \"\u{e4}"), "boot/6.1/q35%232%20%22%C3%A4");
        let told = [0.0, 0.004, 9.24, 12.34, 75.0, 7300.0, -1.0, f64::NAN].map(seconds);
        assert_eq!(told, ["0.00 s", "0.00 s", "9.24 s", "12.3 s", "1 min 15 s", "2 h 1 min", "0.00 s", "0.00 s"]);
    }
}
