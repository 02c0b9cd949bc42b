//! Test Anything Protocol, version 14 (<https://testanything.org/tap-version-14-specification.html>).
//!
//! One test point per cell, with a YAML block of details unless the cell passed on the first attempt, and a subtest of
//! the test's parts. A cell that did not run is `not ok`: only a test itself can report a skip.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::{Attempt, CellReport, Format, Part, PartResult, Report, Standing, Status, story};
use crate::format::guest_text::{self, one_line};

/// The format.
pub(super) static FORMAT: Format =
    Format { name: "tap", help: "Write TAP 14 to FILE", write: |report, _, out| write(report, out) };

/// Writes a report.
fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    document("TAP version 14", report, out, test_point)
}

/// Writes a version line, the plan, comments, and the lines of each cell.
pub(super) fn document(
    version: &str,
    report: &Report,
    out: &mut dyn Write,
    cell_lines: fn(&mut String, usize, &CellReport),
) -> io::Result<()> {
    let mut text = format!("{version}\n1..{}\n", report.cells.len());
    for line in header_lines(report) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# {line}");
    }
    for (at, cell) in report.cells.iter().enumerate() {
        cell_lines(&mut text, at + 1, cell);
        out.write_all(text.as_bytes())?;
        text.clear();
    }
    out.write_all(text.as_bytes())
}

/// Returns the lines common to all cells.
fn header_lines(report: &Report) -> Vec<String> {
    let header = &report.header;
    let mut lines = vec![format!("{}, by bootling {}", one_line(&header.suite), one_line(&header.bootling))];
    lines.extend(header.shard.map(|shard| format!("shard {} of {}", shard.index, shard.total)));
    lines.extend(header.ended_early.as_ref().map(|why| format!("ended early: {}", one_line(why))));
    lines
}

/// Writes a cell's subtest, test point and diagnostics.
fn test_point(text: &mut String, number: usize, cell: &CellReport) {
    let parts = cell.final_attempt().map_or(&[][..], |attempt| &attempt.parts);
    if !parts.is_empty() {
        subtest(text, &cell.id, parts);
    }
    let is_known = cell.standing() == Standing::Known;
    // A failure with TODO does not count.
    let result = if cell.is_good() && !is_known { "ok" } else { "not ok" };
    let _ = write!(text, "{result} {number} - {}", escaped(&cell.id));
    if cell.status == Status::Skipped {
        let _ = write!(text, " # SKIP {}", cell.reason());
    }
    if is_known {
        let _ = write!(text, " # TODO {}", cell.standing_reason());
    }
    text.push('\n');
    if cell.standing() != Standing::Passed {
        diagnostics(text, cell);
    }
}

/// Escapes a description: a number sign would start a directive.
fn escaped(text: &str) -> String {
    one_line(text).replace('\\', "\\\\").replace('#', "\\#")
}

fn subtest(text: &mut String, id: &str, parts: &[Part]) {
    let _ = writeln!(text, "# Subtest: {}\n    1..{}", escaped(id), parts.len());
    for (at, part) in parts.iter().map(Part::shown).enumerate() {
        let (result, directive) = match part.result {
            PartResult::Passed => ("ok", ""),
            PartResult::Failed | PartResult::Missing => ("not ok", ""),
            PartResult::Skipped => ("ok", "SKIP"),
            PartResult::Todo => ("not ok", "TODO"),
        };
        let _ = write!(text, "    {result} {} - {}", at + 1, escaped(&part.name));
        match directive {
            "" => text.push('\n'),
            directive => {
                let _ = writeln!(text, "{}", format!(" # {directive} {}", one_line(&part.detail)).trim_end());
            }
        }
        if !part.result.is_good() && !part.detail.is_empty() {
            text.push_str("      ---\n");
            yaml_string(text, "      ", "message", &part.detail);
            text.push_str("      ...\n");
        }
    }
}

/// Writes the YAML block of a test point. Strings are quoted as in JSON, which is valid YAML.
fn diagnostics(text: &mut String, cell: &CellReport) {
    text.push_str("  ---\n");
    yaml_string(text, "  ", "status", cell.status.name());
    if cell.standing() != Standing::Flaky {
        yaml_string(text, "  ", "message", &cell.standing_reason());
    }
    yaml_string(text, "  ", "repeat", &one_line(&cell.repeat));
    let _ = writeln!(text, "  duration_ms: {:.3}", cell.seconds() * 1e3);
    if !cell.attempts.is_empty() {
        text.push_str("  tries:\n");
    }
    for attempt in &cell.attempts {
        attempt_yaml(text, attempt);
    }
    text.push_str("  ...\n");
}

fn attempt_yaml(text: &mut String, attempt: &Attempt) {
    let _ = writeln!(text, "    - passed: {}", attempt.passed);
    let _ = writeln!(text, "      exit_code: {}", attempt.exit_code);
    if let Some(outcome) = &attempt.outcome {
        yaml_string(text, "      ", "outcome", outcome);
    }
    let _ = writeln!(text, "      duration_ms: {:.3}", attempt.times.total * 1e3);
    if attempt.passed || attempt.skipped {
        return;
    }
    for (key, value) in [("story", &story(attempt)), ("stdout", &attempt.stdout), ("stderr", &attempt.stderr)] {
        if !value.is_empty() {
            yaml_string(text, "      ", key, value);
        }
    }
}

/// Writes a string: as a block of lines, or quoted if it is one line or starts with blanks. A block that starts with
/// blanks needs an indentation indicator after the `|`, which the YAML reader of Perl's `prove` does not support.
fn yaml_string(text: &mut String, indent: &str, key: &str, value: &str) {
    let value = guest_text::text(value);
    let value = value.trim_end_matches('\n');
    if !value.contains('\n') || value.starts_with([' ', '\t', '\n']) {
        let _ = writeln!(text, "{indent}{key}: {}", serde_json::Value::from(value));
        return;
    }
    let _ = writeln!(text, "{indent}{key}: |");
    for line in value.lines() {
        // An empty line keeps its indentation: without it, that reader ends the block.
        let _ = writeln!(text, "{indent}  {line}");
    }
}

#[cfg(test)]
mod tests {
    use super::write;
    use crate::suite::report::Report;
    use crate::suite::tests::sample::{many, sample};
    use expect_test::expect_file;

    fn text(report: &Report) -> String {
        let mut out = Vec::new();
        write(report, &mut out).expect("memory");
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn a_cell_is_a_point_and_a_cell_that_did_not_run_is_not_ok() {
        let text = text(&sample());
        expect_file!["golden/sample.tap"].assert_eq(&text);
        assert!(text.contains("\nnot ok 5 - late/6.1/q35\n"));
    }

    #[test]
    fn guest_text_cannot_end_a_block_or_add_a_point() {
        let text = text(&sample());
        let points = text.lines().filter(|line| line.starts_with("ok ") || line.starts_with("not ok ")).count();
        assert_eq!(points, 8);
        // Six cells and two parts have details.
        for (mark, inner) in [("  ---", "      ---"), ("  ...", "      ...")] {
            let count = |mark| text.lines().filter(|line| *line == mark).count();
            assert_eq!((count(mark), count(inner)), (6, 2), "{mark}");
        }
    }

    #[test]
    fn ten_thousand_results_are_written() {
        let text = text(&many(10_000));
        assert_eq!(text.lines().filter(|line| line.starts_with("ok ") || line.starts_with("not ok ")).count(), 10_000);
    }
}
