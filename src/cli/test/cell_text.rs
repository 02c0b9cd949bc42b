//! Terminal text for cells: one line each, and details of failed ones. Pure.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use bootling::format::duration::seconds;
use bootling::guest::health::{Kind, excerpt, is_detail};
use bootling::suite::report::{Attempt, CellReport, Part, Report, Standing};

/// Limit of lines of the console and of each stream shown for a failed cell.
const MAX_LINES: usize = 20;
/// Limit of lines of a health finding.
const MAX_FINDING_LINES: usize = 12;
/// Limit of failed parts listed for a failed cell.
const MAX_PARTS: usize = 20;
/// Limit of diagnostic lines of a failed part.
const MAX_PART_LINES: usize = 8;
/// Number of cells listed as slowest.
const MAX_SLOWEST: usize = 3;

/// Label of a standing and its color.
fn label(standing: Standing) -> (&'static str, Style) {
    let color = |color: AnsiColor| color.on_default().bold();
    match standing {
        Standing::Passed => ("PASS", color(AnsiColor::Green)),
        Standing::Flaky => ("FLAKY", color(AnsiColor::Yellow)),
        Standing::Known => ("KNOWN", color(AnsiColor::Cyan)),
        Standing::Unexpected => ("XPASS", color(AnsiColor::Red)),
        Standing::Failed => ("FAIL", color(AnsiColor::Red)),
        Standing::Error => ("ERROR", color(AnsiColor::Red)),
        Standing::Skipped => ("SKIP", color(AnsiColor::Cyan)),
        Standing::NotRun => ("NOT RUN", Style::new().dimmed()),
    }
}

/// Formats a cell as one line.
pub(crate) fn line(report: &CellReport, verbose: bool) -> String {
    let (word, style) = label(report.standing());
    let mut line = format!("{style}{word:5}{style:#} {}", replace_controls(&report.id));
    if let Some(last) = report.attempts.last() {
        // Writing to a String cannot fail.
        let _ = write!(line, "  {}", seconds(last.times.total));
        if verbose {
            let times = last.times;
            let command = times.command.map_or_else(|| "-".to_owned(), seconds);
            let (prepared, verdict) = (seconds(times.prepared), seconds(times.verdict));
            let _ = write!(line, "  (prepared {prepared}, command after {command}, verdict after {verdict})");
        }
    }
    let tries = report.attempts.len();
    match (&report.cause, report.standing()) {
        (_, Standing::Unexpected) => {
            let _ = write!(line, "  {}", replace_controls(&report.standing_reason()));
        }
        (_, Standing::Flaky) => {
            let first = report.attempts.first().and_then(|attempt| attempt.cause.as_deref()).unwrap_or_default();
            let _ = write!(line, "  passed on attempt {tries}; first failure: {}", replace_controls(first));
        }
        (Some(cause), _) => {
            let reason = if report.expectation.is_some() { report.standing_reason() } else { cause.clone() };
            let _ = write!(line, "  {}", replace_controls(&reason));
            if tries > 1 {
                let _ = write!(line, " ({tries} attempts)");
            }
        }
        (None, _) => {}
    }
    line.push('\n');
    line
}

/// Formats the details of a failed cell. `run` is the `bootling run` command that repeats it without the manifest.
pub(crate) fn details(report: &CellReport, run: &str) -> String {
    let mut text = String::new();
    if let Some(last) = report.attempts.last() {
        text.push_str(&attempt_details(last));
    }
    let _ = writeln!(text, "      reproduce: {}", printable_command(&report.repeat));
    let _ = writeln!(text, "      or:        {}", printable_command(run));
    text
}

fn attempt_details(attempt: &Attempt) -> String {
    let mut text = String::new();
    let has_panicked = attempt.outcome.as_deref() == Some("panic");
    // The lines of a panic are also the last console lines.
    for finding in attempt.health.iter().filter(|finding| !(has_panicked && finding.kind == Kind::Panic)) {
        let _ = writeln!(text, "      kernel: {}", replace_controls(&finding.title));
        block(&mut text, &excerpt(&finding.lines, MAX_FINDING_LINES));
    }
    if let Some(hang) = &attempt.hang {
        hang.summary.iter().for_each(|line| {
            let _ = writeln!(text, "      hang: {}", replace_controls(line));
        });
    }
    failed_parts(&mut text, &attempt.parts);
    let streams = [("standard output", &attempt.stdout), ("standard error", &attempt.stderr)];
    for (name, stream) in streams {
        // Passed parts explain nothing.
        let lines: Vec<&str> =
            stream.lines().filter(|line| attempt.parts.is_empty() || !is_passed_part(line)).collect();
        if !lines.is_empty() {
            let _ = writeln!(text, "      {name}:");
            block(&mut text, &lines[lines.len().saturating_sub(MAX_LINES)..]);
        }
    }
    let console: Vec<&str> = attempt.console.iter().map(String::as_str).filter(|line| !is_detail(line)).collect();
    // The output of a command that ran to its end is enough.
    let has_ended = attempt.outcome.as_deref().is_some_and(|outcome| matches!(outcome, "exited" | "not-executed"));
    if !console.is_empty() && !has_ended {
        let _ = writeln!(text, "      console:");
        block(&mut text, &console[console.len().saturating_sub(MAX_LINES)..]);
    }
    for note in &attempt.notes {
        let _ = writeln!(text, "      note: {}", replace_controls(note));
    }
    text
}

/// Lists failed and missing parts with their diagnostic lines.
fn failed_parts(text: &mut String, parts: &[Part]) {
    let bad: Vec<&Part> = parts.iter().filter(|part| part.is_bad()).collect();
    for part in bad.iter().take(MAX_PARTS) {
        let _ = writeln!(text, "      {}: {}", part.result.name(), replace_controls(&part.name));
        let lines: Vec<&str> = part.detail.lines().collect();
        // The last ones are closest to the failure.
        block(text, &lines[lines.len().saturating_sub(MAX_PART_LINES)..]);
    }
    if bad.len() > MAX_PARTS {
        let _ = writeln!(text, "      and {} more failed or missing parts", bad.len() - MAX_PARTS);
    }
}

/// Returns true if a line of TAP or KTAP output reports a passed part.
fn is_passed_part(line: &str) -> bool {
    line.trim_start_matches([' ', '#']).starts_with("ok ")
}

fn block(text: &mut String, lines: &[&str]) {
    for line in lines {
        let _ = writeln!(text, "      | {}", replace_controls(line));
    }
}

/// Formats the summary of a report.
pub(crate) fn summary(report: &Report) -> String {
    let counted = [
        (Standing::Passed, "passed"),
        (Standing::Flaky, "flaky"),
        (Standing::Skipped, "skipped"),
        (Standing::Known, "known to fail"),
        (Standing::Failed, "failed"),
        (Standing::Unexpected, "unexpectedly passed"),
        (Standing::Error, "could not be tested"),
        (Standing::NotRun, "not run"),
    ];
    let parts = counted.into_iter().filter_map(|(standing, words)| {
        let style = label(standing).1;
        let number = report.count_standing(standing);
        (number > 0).then(|| format!("{style}{number} {words}{style:#}"))
    });
    let parts: Vec<String> = parts.collect();
    let cells = if report.cells.len() == 1 { "1 cell".to_owned() } else { format!("{} cells", report.cells.len()) };
    let shard = report.header.shard.map(|shard| format!(" of shard {}/{}", shard.index, shard.total));
    let mut text = String::new();
    if let Some(why) = &report.header.ended_early {
        let _ = writeln!(text, "bootling: ended early: {}", replace_controls(why));
    }
    let (shard, time) = (shard.unwrap_or_default(), seconds(report.header.duration_s));
    let parts = if parts.is_empty() { "nothing to do".to_owned() } else { parts.join(", ") };
    let _ = writeln!(text, "bootling: {cells}{shard} in {time}: {parts}");
    text
}

/// Formats the line of the slowest cells, if there are enough cells.
pub(crate) fn slowest(report: &Report) -> Option<String> {
    let total = |cell: &CellReport| cell.attempts.iter().map(|attempt| attempt.times.total).sum::<f64>();
    let mut cells: Vec<(f64, &CellReport)> = report
        .cells
        .iter()
        .filter(|cell| cell.attempts.iter().any(|attempt| attempt.outcome.is_some()))
        .map(|cell| (total(cell), cell))
        .collect();
    if cells.len() <= MAX_SLOWEST {
        return None;
    }
    cells.sort_by(|one, other| other.0.total_cmp(&one.0));
    let named: Vec<String> = cells
        .iter()
        .take(MAX_SLOWEST)
        .map(|(time, cell)| format!("{} {}", replace_controls(&cell.id), seconds(*time)))
        .collect();
    Some(format!("bootling: slowest: {}\n", named.join(", ")))
}

/// Makes a shell command safe to print. Newlines are preserved, so that it can be pasted.
fn printable_command(line: &str) -> String {
    line.split('\n').map(replace_controls).collect::<Vec<_>>().join("\n")
}

/// Replaces control characters in untrusted text. Backslashes are preserved, since shell commands contain them.
fn replace_controls(text: &str) -> String {
    let printable = |letter: char| match letter {
        '\t' => ' ',
        control if control.is_control() => '\u{FFFD}',
        printable => printable,
    };
    text.chars().map(printable).collect()
}

#[cfg(test)]
mod tests {
    use super::{details, printable_command};
    use bootling::suite::report::{Attempt, CellReport, Part, PartResult, Status};

    #[test]
    fn every_failed_part_is_shown_with_its_diagnostics_instead_of_a_tail_of_passes() {
        let part = |number: usize, result| Part {
            name: format!("p{number}"),
            result,
            detail: format!("why {number}"),
            expectation: None,
        };
        let parts =
            (1..=30).map(|number| part(number, if number <= 25 { PartResult::Failed } else { PartResult::Passed }));
        let attempt = Attempt {
            parts: parts.collect(),
            stdout: format!("1..60\nnot ok 1 p1\n{}", "# ok 30 p30\n".repeat(30)),
            outcome: Some("exited".to_owned()),
            ..Attempt::default()
        };
        let cell = CellReport { status: Status::Failed, attempts: vec![attempt], ..CellReport::default() };
        let text = details(&cell, "run");
        assert!(text.contains("      failed: p1\n      | why 1\n      failed: p2\n"), "{text}");
        assert!(
            text.contains("      failed: p20\n      | why 20\n      and 5 more failed or missing parts\n"),
            "{text}"
        );
        assert!(text.contains("      | not ok 1 p1\n") && !text.contains("p30"), "{text}");
    }

    #[test]
    fn a_multi_line_shell_command_keeps_its_newlines_but_no_escape_sequences() {
        assert_eq!(printable_command("bootling run --run 'a\nb\x1b[0m'"), "bootling run --run 'a\nb\u{FFFD}[0m'");
    }
}
