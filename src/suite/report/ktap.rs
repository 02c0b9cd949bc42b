//! KTAP version 1, the kernel's dialect of TAP (`Documentation/dev-tools/ktap.rst`).
//!
//! KTAP has no YAML: diagnostics precede the result, as lines that start with `#`. A cell that did not run is an
//! `ERROR`.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::{CellReport, Format, Part, PartResult, Report, Standing, story, tap};
use crate::format::guest_text::{self, one_line};

/// The format.
pub(super) static FORMAT: Format = Format {
    name: "ktap",
    help: "Write KTAP, the kernel's dialect of TAP, to FILE",
    write: |report, _, out| write(report, out),
};

/// Writes a report.
fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    tap::document("KTAP version 1", report, out, result)
}

/// Formats a description, which must not contain a number sign.
fn description(text: &str) -> String {
    one_line(text).replace('#', ":")
}

fn result(text: &mut String, number: usize, cell: &CellReport) {
    let parts = cell.final_attempt().map_or(&[][..], |attempt| &attempt.parts);
    if !parts.is_empty() {
        let _ = writeln!(text, "  KTAP version 1\n  1..{}", parts.len());
        parts.iter().enumerate().for_each(|(at, part)| part_result(text, at + 1, &part.shown()));
    }
    for attempt in cell.attempts.iter().filter(|attempt| !(attempt.passed || attempt.skipped)) {
        comment(text, "", &story(attempt));
    }
    if !cell.is_good() {
        comment(text, "", &format!("reproduce with: {}", cell.repeat));
    }
    let name = description(&cell.id);
    // Any one-line text may follow the number sign.
    let why = cell.standing_reason();
    let timed_out = cell.final_attempt().is_some_and(|attempt| attempt.outcome.as_deref() == Some("timed-out"));
    let _ = match cell.standing() {
        Standing::Passed => writeln!(text, "ok {number} {name}"),
        Standing::Flaky => writeln!(text, "ok {number} {name} # flaky: passed on attempt {}", cell.attempts.len()),
        Standing::Skipped => writeln!(text, "ok {number} {name} # SKIP {why}"),
        // As kselftest reports its expected failures.
        Standing::Known => writeln!(text, "ok {number} {name} # XFAIL {why}"),
        Standing::Failed if timed_out => writeln!(text, "not ok {number} {name} # TIMEOUT {why}"),
        // A cause that starts with a directive's name would be parsed as that directive.
        Standing::Failed | Standing::Unexpected => writeln!(text, "not ok {number} {name} # failed: {why}"),
        Standing::Error | Standing::NotRun => writeln!(text, "not ok {number} {name} # ERROR {why}"),
    };
}

fn part_result(text: &mut String, number: usize, part: &Part) {
    let (result, directive) = match part.result {
        PartResult::Passed => ("ok", ""),
        PartResult::Skipped => ("ok", "SKIP"),
        PartResult::Todo => ("not ok", "TODO"),
        PartResult::Failed => ("not ok", ""),
        PartResult::Missing => ("not ok", "ERROR"),
    };
    if part.result == PartResult::Failed {
        comment(text, "  ", &part.detail);
    }
    let _ = match directive {
        "" => writeln!(text, "  {result} {number} {}", description(&part.name)),
        directive => {
            let line =
                format!("  {result} {number} {} # {directive} {}", description(&part.name), one_line(&part.detail));
            writeln!(text, "{}", line.trim_end())
        }
    };
}

fn comment(text: &mut String, indent: &str, lines: &str) {
    for line in guest_text::text(lines).lines() {
        // Nested kselftest output looks the same: a second blank keeps comments from being parsed as results.
        let _ = writeln!(text, "{}", format!("{indent}#  {line}").trim_end());
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
    fn a_cell_is_a_result_and_a_cell_that_did_not_run_is_not_ok() {
        let text = text(&sample());
        expect_file!["golden/sample.ktap"].assert_eq(&text);
        assert!(text.contains("\nnot ok 5 late/6.1/q35 # ERROR not run\n"));
    }

    #[test]
    fn ten_thousand_results_are_written() {
        let text = text(&many(10_000));
        assert_eq!(text.lines().filter(|line| line.starts_with("ok ") || line.starts_with("not ok ")).count(), 10_000);
    }
}
