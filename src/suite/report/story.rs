//! Text description of a failed attempt, the same in every format.

use std::fmt::Write as _;

use super::Attempt;
use crate::format::guest_text;

/// Returns the attempt's cause, findings, hang report, failed parts, notes and last console lines, most informative
/// first.
pub(crate) fn story(attempt: &Attempt) -> String {
    let mut text = String::new();
    section(&mut text, "", attempt.cause.iter().map(String::as_str));
    for finding in &attempt.health {
        headed(&mut text, &finding.title, &finding.lines);
    }
    if let Some(hang) = &attempt.hang {
        section(&mut text, "hang report", hang.summary.iter().map(String::as_str).chain([hang.report.as_str()]));
    }
    for part in attempt.parts.iter().filter(|part| part.is_bad()) {
        headed(&mut text, &format!("{}: {}", part.result.name(), part.name), [&part.detail]);
    }
    section(&mut text, "notes", attempt.notes.iter().map(String::as_str));
    section(&mut text, "last console lines", attempt.console.iter().map(String::as_str));
    text
}

/// Appends a section whose heading is useful even without lines.
fn headed<'a>(text: &mut String, heading: &str, entries: impl IntoIterator<Item = &'a String>) {
    let mut entries = entries.into_iter().map(String::as_str).filter(|entry| !entry.is_empty()).peekable();
    match entries.peek() {
        Some(_) => section(text, heading, entries),
        None => section(text, "", [heading]),
    }
}

/// Appends a heading and its lines, indented. Appends nothing if there are no lines.
fn section<'a>(text: &mut String, heading: &str, entries: impl IntoIterator<Item = &'a str>) {
    let entries: Vec<_> = entries.into_iter().filter(|entry| !entry.is_empty()).map(guest_text::text).collect();
    if entries.is_empty() {
        return;
    }
    if !text.is_empty() {
        text.push('\n');
    }
    let indent = if heading.is_empty() { "" } else { "    " };
    // Writing to a string cannot fail.
    if !heading.is_empty() {
        let _ = writeln!(text, "{}:", guest_text::text(heading));
    }
    for line in entries.iter().flat_map(|entry| entry.lines()) {
        let _ = writeln!(text, "{indent}{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::story;
    use crate::guest::hang::Hang;
    use crate::guest::health::{Finding, Kind};
    use crate::suite::report::{Attempt, Part, PartResult};
    use expect_test::expect;

    #[test]
    fn the_most_informative_section_comes_first_and_empty_ones_are_omitted() {
        let attempt = Attempt {
            cause: Some("the kernel warned".to_owned()),
            health: vec![Finding {
                kind: Kind::Warning,
                title: "WARNING: CPU: 0 PID: 1 at fs/x.c:7 f".to_owned(),
                lines: vec!["WARNING: CPU: 0 PID: 1 at fs/x.c:7 f".to_owned(), " g+0x1/0x2".to_owned()],
                at: None,
            }],
            hang: Some(Hang {
                summary: vec!["vCPU 0 spins in f".to_owned()],
                report: "rip f\nrsp 0\x1b[1m".to_owned(),
            }),
            parts: vec![
                Part {
                    name: "a > b".to_owned(),
                    result: PartResult::Failed,
                    detail: "1 != 2".to_owned(),
                    expectation: None,
                },
                Part { name: "a > c".to_owned(), result: PartResult::Passed, detail: String::new(), expectation: None },
                Part { name: "plan".to_owned(), result: PartResult::Missing, detail: String::new(), expectation: None },
            ],
            console: vec!["last".to_owned()],
            ..Attempt::default()
        };
        expect![[r"
            the kernel warned

            WARNING: CPU: 0 PID: 1 at fs/x.c:7 f:
                WARNING: CPU: 0 PID: 1 at fs/x.c:7 f
                 g+0x1/0x2

            hang report:
                vCPU 0 spins in f
                rip f
                rsp 0

            failed: a > b:
                1 != 2

            missing: plan

            last console lines:
                last
        "]]
        .assert_eq(&story(&attempt));
        assert_eq!(story(&Attempt::default()), "");
    }
}
