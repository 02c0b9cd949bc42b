//! Extracts the results of `KUnit` from a kernel's log.
//!
//! Suites print nested KTAP. Above them, a kernel prints a version line and a plan for each module, for all built-in
//! suites, or (before Linux 6.6) for built-in suites only; the suites of modules then continue the numbers. The plan is
//! therefore replaced by the suites that are known to be in the module.

use std::fmt::Write as _;

use super::line::{Line, LineKind};
use super::{TapMode, lines, parse as parse_tap};
use crate::suite::report::{Part, PartResult};

/// Parses a kernel's log. Each of the `suites` that has no result in it is a missing part; if none are named, at least
/// one result is required.
pub(in crate::suite) fn parse(log: &str, suites: &[String]) -> Vec<Part> {
    let Document { text, reported } = document(log);
    let mut parts = if text.is_empty() { Vec::new() } else { parse_tap(text.as_bytes(), TapMode::Required) };
    let missing = |name: &str| Part {
        name: name.to_owned(),
        result: PartResult::Missing,
        detail: "no result in the kernel log".to_owned(),
        expectation: None,
    };
    parts.extend(suites.iter().filter(|suite| !reported.contains(*suite)).map(|suite| missing(suite)));
    if suites.is_empty() && reported.is_empty() {
        parts.push(missing("KUnit"));
    }
    parts
}

/// Returns the names of the suites that a kernel lists at boot (`kunit.action=list`): lines `SUITE.CASE` after a version
/// line.
pub(in crate::suite) fn listed(log: &str) -> Vec<String> {
    let mut suites: Vec<String> = Vec::new();
    let mut is_list = false;
    for line in lines(log.as_bytes()) {
        let Line { prefix, kind } = Line::of(&line);
        match kind {
            LineKind::Version { .. } => is_list = true,
            LineKind::Other(text) if is_list && prefix.is_empty() => {
                let Some((suite, case)) = text.rsplit_once('.') else { continue };
                if is_identifier(case) && is_suite(suite) && suites.last().is_none_or(|last| last != suite) {
                    suites.push(suite.to_owned());
                }
            }
            LineKind::Other(_)
            | LineKind::Plan { .. }
            | LineKind::Result(_)
            | LineKind::BailOut(_)
            | LineKind::Subtest(_)
            | LineKind::Yaml { .. } => {}
        }
    }
    suites
}

/// Returns true for the name of a C function.
fn is_identifier(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.bytes().all(is_letter) && !text.is_empty() && !text.starts_with(|first: char| first.is_ascii_digit())
}

/// Returns true for a possible name of a suite, false for the start of a message of the kernel.
fn is_suite(text: &str) -> bool {
    !text.is_empty() && !text.contains([':', '/', '(', '[', '='])
}

/// The lines of `KUnit` as one document of KTAP.
struct Document {
    text: String,
    /// Names of the suites with a result.
    reported: Vec<String>,
}

fn document(log: &str) -> Document {
    let mut body = String::new();
    let mut reported = Vec::new();
    for line in lines(log.as_bytes()) {
        let Line { prefix, kind } = Line::of(&line);
        let is_top = prefix.is_empty();
        match kind {
            LineKind::Version { .. } | LineKind::Plan { .. } if is_top => {}
            // Messages of the kernel before the first suite are no diagnostics.
            LineKind::Other(_) | LineKind::Yaml { .. } | LineKind::Plan { .. } | LineKind::Result(_)
                if body.is_empty() => {}
            LineKind::Result(point) if is_top && point.number.is_some() => {
                reported.push(point.name.to_owned());
                let (result, directive) = match point.result {
                    PartResult::Passed => ("ok", ""),
                    PartResult::Skipped => ("ok", "SKIP "),
                    PartResult::Todo => ("not ok", "TODO "),
                    PartResult::Failed | PartResult::Missing => ("not ok", ""),
                };
                let comment = format!("{directive}{}", point.reason);
                let comment = if comment.is_empty() { comment } else { format!(" # {comment}") };
                // Writing to a string cannot fail.
                let _ = writeln!(body, "{result} {} {}{comment}", reported.len(), point.name);
            }
            LineKind::Version { .. }
            | LineKind::Plan { .. }
            | LineKind::Result(_)
            | LineKind::BailOut(_)
            | LineKind::Subtest(_)
            | LineKind::Yaml { .. }
            | LineKind::Other(_) => {
                body.push_str(&line);
                body.push('\n');
            }
        }
    }
    let text = if body.is_empty() { body } else { format!("KTAP version 1\n1..{}\n{body}", reported.len()) };
    Document { text, reported }
}

#[cfg(test)]
mod tests {
    use super::{listed, parse};
    use crate::suite::report::PartResult;

    fn parts(log: &str, suites: &[&str]) -> Vec<String> {
        let suites: Vec<String> = suites.iter().map(|suite| (*suite).to_owned()).collect();
        let line = |part: crate::suite::report::Part| format!("{}: {}", part.result.name(), part.name);
        parse(log, &suites).into_iter().map(line).collect()
    }

    /// Log of a module of Linux 6.12.
    const NEW: &str = "[    1.2] random: crng init done\n\
        [    1.3] ok 7 not a result\n\
        [    1.4] KTAP version 1\n\
        [    1.4] 1..2\n\
        [    1.4]     KTAP version 1\n\
        [    1.4]     # Subtest: one\n\
        [    1.4]     # module: one_test\n\
        [    1.4]     1..2\n\
        [    1.4]     ok 1 a\n\
        [    1.4]     ok 2 b # SKIP no device\n\
        [    1.4] # one: pass:1 fail:0 skip:1 total:2\n\
        [    1.4] ok 1 one\n\
        [    1.4]     KTAP version 1\n\
        [    1.4]     # Subtest: two\n\
        [    1.4]     1..1\n\
        [    1.4]     # c: EXPECTATION FAILED at lib/two.c:9\n\
        [    1.4]     not ok 1 c\n\
        [    1.4] not ok 2 two\n\
        [    1.5] reboot: Power down\n";

    /// Log of a module of Linux 6.1: no version line, no plan, and numbers that continue those of the built-in suites.
    const OLD: &str = "[    0.9] TAP version 14\n\
        [    0.9] 1..0\n\
        [    1.4]     # Subtest: one\n\
        [    1.4]     1..1\n\
        [    1.4]     ok 1 - a\n\
        [    1.4] ok 3 - one\n\
        [    1.4]     # Subtest: two\n\
        [    1.4]     1..1\n\
        [    1.4]     ok 1 - b\n\
        [    1.4] ok 4 - two\n";

    #[test]
    fn suites_of_new_and_old_kernels_are_parsed() {
        assert_eq!(parts(NEW, &["one", "two"]), ["passed: one > a", "skipped: one > b", "failed: two > c"]);
        assert_eq!(parts(OLD, &["one", "two"]), ["passed: one > a", "passed: two > b"]);
        assert_eq!(parts(OLD, &[]), ["passed: one > a", "passed: two > b"]);
    }

    #[test]
    fn a_suite_without_a_result_is_missing_and_keeps_the_results_of_its_cases() {
        assert_eq!(parts(NEW, &["one", "two", "three"])[3], "missing: three");
        let crashed = NEW.split_inclusive('\n').take(15).collect::<String>();
        let crashed = crashed + "[    1.4]     ok 1 c\n[    1.5] BUG: kernel NULL pointer dereference\n";
        assert_eq!(
            parts(&crashed, &["one", "two"]),
            ["passed: one > a", "skipped: one > b", "passed: two > c", "missing: two"]
        );
        assert_eq!(parts("[    1.0] Linux\n", &["one"]), ["missing: one"]);
        assert_eq!(parts("[    1.0] Linux\n", &[]), ["missing: KUnit"]);
        assert_eq!(parse("", &[])[0].result, PartResult::Missing);
    }

    #[test]
    fn a_skipped_suite_is_skipped() {
        let log = "KTAP version 1\n1..1\n    KTAP version 1\n    # Subtest: s\n    1..1\n    ok 1 a # SKIP x\nok 1 s # SKIP x\n";
        assert_eq!(parts(log, &["s"]), ["skipped: s > a"]);
        assert_eq!(parse(log, &["s".to_owned()])[0].detail, "x");
    }

    #[test]
    fn suites_are_listed_once_and_messages_of_the_kernel_are_no_suites() {
        let log = "[    0.1] Linux version 6.12.0 x.y\n\
            [    0.5] KTAP version 1\n\
            [    0.5] list-kunit-test\n\
            [    0.5] list-kunit-test.list_test_list_init\n\
            [    0.5] list-kunit-test.list_test_list_add\n\
            [    0.5] Handshake API tests.req_alloc_tests\n\
            [    0.6] clocksource: Switched to clocksource tsc.x\n\
            [    0.6] Freeing unused memory: 4.5K\n";
        assert_eq!(listed(log), ["list-kunit-test", "Handshake API tests"]);
        assert_eq!(listed("a.b\n"), Vec::<String>::new());
    }
}
