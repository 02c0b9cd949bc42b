//! Judges an attempt by its outcome, output, console, kernel health and parts. Pure.

use regex::Regex;

use super::manifest::{Ending, Patterns, Test};
use super::report::{Attempt, Part, PartResult, STREAM_LIMIT, StartMode, Times};
use super::tap_parser;
use crate::guest::health::{Finding, Rules};
use crate::guest::plain::blanked;
use crate::guest::verdict::{Outcome, code, signal_name};
use crate::guest::{Output, VmError};

/// Limit of console lines in a report; the last ones are kept.
const CONSOLE: usize = 60;
/// Longest quoted line in a cause, characters.
const QUOTED: usize = 160;

/// A test's expectations, compiled.
#[derive(Debug)]
pub struct Judge {
    ending: Ending,
    skip_status: Option<u8>,
    stdout: LinePatterns,
    console: LinePatterns,
    /// `None` if a pattern is invalid, which the manifest parser excludes.
    health: Option<Rules>,
}

/// Compiled patterns.
#[derive(Debug)]
struct LinePatterns {
    expect: Vec<Regex>,
    reject: Vec<Regex>,
}

/// Compiles patterns that were validated when the manifest was read.
fn compiled(patterns: &[String]) -> Vec<Regex> {
    patterns.iter().filter_map(|pattern| Regex::new(pattern).ok()).collect()
}

impl Judge {
    /// Compiles the expectations of a test.
    pub fn new(test: &Test) -> Self {
        let both = |Patterns { expect, reject }: &Patterns| LinePatterns {
            expect: compiled(expect),
            reject: compiled(reject),
        };
        Self {
            ending: test.ending.clone(),
            skip_status: test.skip_status,
            stdout: both(&test.stdout),
            console: both(&test.console),
            health: test.health.rules().ok(),
        }
    }

    /// Judges an attempt. `console` is the complete console log, or the reason why it is unavailable, and is `Some`
    /// only if the test has console patterns. `parts` are the parts parsed from the output.
    pub fn attempt(
        &self,
        output: &Output,
        boot: StartMode,
        console: Option<Result<&str, &str>>,
        parts: Vec<Part>,
    ) -> Attempt {
        let mut attempt = attempt_of(output, boot);
        let said = self.skip_reason(output, &parts);
        attempt.cause = self.cause(output, console, &parts, said.is_some());
        attempt.skipped = attempt.cause.is_none() && said.is_some();
        attempt.passed = attempt.cause.is_none() && !attempt.skipped;
        if attempt.skipped {
            attempt.cause = said;
        }
        attempt.parts = parts;
        if attempt.skipped {
            // A skipped test owes no planned parts. Reports would count them as failures.
            attempt.parts.retain(|part| part.result != PartResult::Missing);
        }
        if !(attempt.passed || attempt.skipped) && output.success() && self.health_cause(&output.health).is_some() {
            attempt.exit_code = code::UNHEALTHY;
        }
        attempt
    }

    /// Returns the reason for a skip, if the test reported one by its status or by skipping all of its parts.
    fn skip_reason(&self, output: &Output, parts: &[Part]) -> Option<String> {
        let skipped = |part: &&Part| part.result == PartResult::Skipped;
        let all = !parts.is_empty() && parts.iter().all(|part| skipped(&part));
        let by_parts = all && self.ending(&output.outcome).is_none();
        let by_status = match &output.outcome {
            Outcome::Exited { status } => self.skip_status == Some(*status),
            _ => false,
        };
        if !by_status && !by_parts {
            return None;
        }
        let reason =
            parts.iter().filter(skipped).map(|part| quote_line(&part.detail)).find(|reason| !reason.is_empty());
        // A script without TAP prints the reason in its last line, as kselftest scripts do.
        let text = output.text();
        let last = || text.lines().rev().map(quote_line).find(|line| !line.is_empty() && parts.is_empty());
        let how = || {
            let status = output.outcome.exit_code();
            if by_status { format!("exited with status {status}") } else { "all parts were skipped".to_owned() }
        };
        Some(reason.or_else(last).unwrap_or_else(how))
    }

    /// Returns the first violated expectation, as one sentence. A skipped test need not meet what is expected of it,
    /// but everything that it must not do still counts.
    fn cause(
        &self,
        output: &Output,
        console: Option<Result<&str, &str>>,
        parts: &[Part],
        is_skipped: bool,
    ) -> Option<String> {
        let is_read_for_parts = !parts.is_empty();
        let ending = if is_skipped { None } else { self.ending(&output.outcome) };
        // Once a part has run, missing parts count whatever the status: the test was cut short.
        let owes_all = !is_skipped || parts.iter().any(|part| part_ran(part.result));
        let is_owed = |part: &&Part| owes_all || part.result != PartResult::Missing;
        let parts = tap_parser::verdict(parts.iter().filter(is_owed));
        // The names of the failed parts are more useful than the resulting status.
        let ending = match (ending, &output.outcome) {
            (Some(_), Outcome::Exited { .. }) if parts.is_some() => None,
            (ending, _) => ending,
        };
        ending
            .or(parts)
            .or_else(|| self.truncation_cause(output, is_read_for_parts))
            .or_else(|| self.stdout.cause("standard output", &output.text(), is_skipped))
            .or_else(|| match console? {
                Ok(console) => self.console.cause("the console", console, is_skipped),
                Err(why) => Some(why.to_owned()),
            })
            .or_else(|| self.health_cause(&output.health))
            .or_else(|| match &output.outcome {
                // The live log monitor applies the same rules.
                Outcome::Unhealthy { .. } if self.expects_outcome("unhealthy") => None,
                Outcome::Unhealthy { what } => Some(format!("kernel unhealthy: {what}")),
                _ => None,
            })
    }

    /// Output that was not kept cannot be searched, so a rejected pattern might be in it.
    fn truncation_cause(&self, output: &Output, is_read_for_parts: bool) -> Option<String> {
        let is_looked_into = is_read_for_parts || !self.stdout.is_empty();
        (output.cut && is_looked_into)
            .then(|| "output too large: part of it was discarded, so it cannot be checked".to_owned())
    }

    fn expects_outcome(&self, name: &str) -> bool {
        matches!(&self.ending, Ending::Outcome(expected) if expected == name)
    }

    /// Returns the difference between the actual and the expected outcome.
    fn ending(&self, outcome: &Outcome) -> Option<String> {
        let is_wanted = match (&self.ending, outcome) {
            (Ending::Status(expected), Outcome::Exited { status }) => expected == status,
            // The command passed.
            (Ending::Status(expected), Outcome::Unhealthy { .. }) => *expected == 0,
            (Ending::Signal(expected), Outcome::Signaled { signal, .. }) => expected == signal,
            (Ending::Outcome(expected), outcome) => expected == outcome.name(),
            (Ending::Status(_) | Ending::Signal(_), _) => false,
        };
        if is_wanted {
            return None;
        }
        let actual = match outcome {
            Outcome::Exited { status } => format!("exited with status {status}"),
            other => other.sentence().unwrap_or_else(|| other.name().to_owned()),
        };
        let expected = match &self.ending {
            Ending::Status(0) if !matches!(outcome, Outcome::Exited { .. }) => return Some(actual),
            Ending::Status(status) => format!("status {status}"),
            Ending::Signal(signal) => signal_name(i32::from(*signal)),
            Ending::Outcome(name) => name.clone(),
        };
        Some(format!("{actual}; expected: {expected}"))
    }

    /// Describes the health findings that count, as one sentence.
    fn health_cause(&self, findings: &[Finding]) -> Option<String> {
        let rules = self.health.as_ref()?;
        let counted: Vec<&Finding> = findings.iter().filter(|finding| rules.fails(finding)).collect();
        let worst = counted.iter().min_by_key(|finding| finding.kind)?;
        let more = match counted.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        Some(format!("kernel unhealthy: {}{more}", quote_line(&worst.title)))
    }
}

impl LinePatterns {
    fn is_empty(&self) -> bool {
        self.expect.is_empty() && self.reject.is_empty()
    }

    fn cause(&self, place: &str, text: &str, is_skipped: bool) -> Option<String> {
        let finds = |expected: &Regex| text.lines().find(|line| expected.is_match(line));
        let mut expected = self.expect.iter().filter(|_| !is_skipped);
        if let Some(missing) = expected.find(|expected| finds(expected).is_none()) {
            return Some(format!("no line of {place} matches {:?}", missing.as_str()));
        }
        self.reject.iter().find_map(|unwanted| {
            finds(unwanted)
                .map(|line| format!("a line of {place} matches {:?}: {}", unwanted.as_str(), quote_line(line)))
        })
    }
}

/// Returns true if a part ran.
const fn part_ran(result: PartResult) -> bool {
    match result {
        PartResult::Passed | PartResult::Failed | PartResult::Todo => true,
        PartResult::Skipped | PartResult::Missing => false,
    }
}

/// Converts a run's output to an attempt without a verdict.
fn attempt_of(output: &Output, boot: StartMode) -> Attempt {
    let seconds = |time: std::time::Duration| time.as_secs_f64();
    Attempt {
        outcome: Some(output.outcome.name().to_owned()),
        exit_code: output.outcome.exit_code(),
        boot,
        times: Times {
            hello: if boot == StartMode::Shared { None } else { output.hello.map(seconds) },
            command: output.started.map(seconds),
            verdict: seconds(output.duration),
            ..Times::default()
        },
        max_rss_kib: output.usage.map(|usage| usage.max_rss_kib),
        health: output.health.clone(),
        hang: output.hang.clone(),
        stdout: tail(&output.stdout),
        stderr: tail(&output.stderr),
        console: output.console[output.console.len().saturating_sub(CONSOLE)..].to_vec(),
        notes: output.notes.clone(),
        ..Attempt::default()
    }
}

/// Converts an error to an attempt that could not be tested.
pub fn could_not_test(error: &VmError) -> Attempt {
    let mut cause = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        let text = error.to_string();
        if !cause.ends_with(&text) {
            cause.push_str(": ");
            cause.push_str(&text);
        }
        source = error.source();
    }
    let (outcome, exit_code, console) = match error {
        VmError::NotBooted { outcome, console } => {
            (Some(outcome.name().to_owned()), outcome.exit_code(), console.clone())
        }
        _ => (None, code::COULD_NOT_TEST, Vec::new()),
    };
    Attempt { cause: Some(cause), outcome, exit_code, console, ..Attempt::default() }
}

/// Returns true if the guest can run another test: it is alive and its kernel is healthy.
pub fn can_reuse_guest(output: &Output) -> bool {
    let lives = match output.outcome {
        Outcome::Exited { .. } | Outcome::Signaled { .. } | Outcome::NotExecuted { .. } | Outcome::Unhealthy { .. } => {
            true
        }
        Outcome::Expected { .. }
        | Outcome::Rejected { .. }
        | Outcome::PoweredOff
        | Outcome::Panic { .. }
        | Outcome::Reset
        | Outcome::WentAway { .. }
        | Outcome::Watchdog { .. }
        | Outcome::QemuDied { .. }
        | Outcome::TimedOut { .. }
        | Outcome::Interrupted { .. }
        | Outcome::OutputClosed
        | Outcome::CouldNotTest { .. } => false,
    };
    lives && !output.health.iter().any(|finding| finding.kind.is_failure())
}

/// Returns the end of a stream, as text.
fn tail(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(STREAM_LIMIT)..]).into_owned();
    let from =
        (text.len().saturating_sub(STREAM_LIMIT)..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text[from..].to_owned()
}

/// Shortens a line for use in a sentence.
fn quote_line(line: &str) -> String {
    let line = line.trim();
    match line.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}...", blanked(&line[..end])),
        None => blanked(line),
    }
}

#[cfg(test)]
mod tests {
    use super::{Judge, can_reuse_guest, tail};
    use crate::guest::Output;
    use crate::guest::health::{Finding, Kind};
    use crate::guest::verdict::Outcome;
    use crate::suite::manifest::OUTCOMES;
    use crate::suite::report::{Attempt, Part, PartResult, STREAM_LIMIT, StartMode};
    use crate::suite::tests::fixtures::{output, spec};
    use std::time::Duration;

    fn judged(keys: &str, output: &Output, console: Option<&str>, parts: Vec<Part>) -> Attempt {
        let spec = spec(&format!("[[test]]\nname = 't'\nrun = 'x'\n{keys}\n"));
        Judge::new(&spec.tests[0]).attempt(output, StartMode::Warm, console.map(Ok), parts)
    }

    #[test]
    fn a_test_with_patterns_fails_if_part_of_the_output_was_discarded() {
        let cut = Output { cut: true, ..output(Outcome::Exited { status: 0 }, "") };
        assert!(judged("", &cut, None, Vec::new()).passed);
        assert!(!judged("reject = 'x'", &cut, None, Vec::new()).passed);
        let part = Part { result: PartResult::Passed, ..Part::default() };
        assert!(!judged("", &cut, None, vec![part]).passed);
        let spec = spec("[[test]]\nname = 't'\nrun = 'x'\nreject-console = 'x'\n");
        let lost = Judge::new(&spec.tests[0]).attempt(
            &output(Outcome::Exited { status: 0 }, ""),
            StartMode::Warm,
            Some(Err("why")),
            Vec::new(),
        );
        assert_eq!(lost.cause.as_deref(), Some("why"));
    }

    fn cause(keys: &str, output: &Output) -> String {
        judged(keys, output, None, Vec::new()).cause.unwrap_or_else(|| "passed".to_owned())
    }

    fn finding(kind: Kind, title: &str) -> Finding {
        Finding { kind, title: title.to_owned(), lines: vec![format!("{title} here")], at: None }
    }

    #[test]
    fn an_unexpected_outcome_is_reported_in_one_sentence() {
        let exited = |status| output(Outcome::Exited { status }, "");
        let panicked = output(Outcome::Panic { line: "Kernel panic - not syncing: x".to_owned() }, "");
        let killed = output(Outcome::Signaled { signal: 11, core: false }, "");
        let cases = [
            ("", &exited(0), "passed"),
            ("", &exited(3), "exited with status 3; expected: status 0"),
            ("status = 3", &exited(3), "passed"),
            ("status = 3", &exited(0), "exited with status 0; expected: status 3"),
            ("", &killed, "the guest's command was killed by signal 11 (SIGSEGV)"),
            ("signal = 'SEGV'", &killed, "passed"),
            ("signal = 'KILL'", &killed, "the guest's command was killed by signal 11 (SIGSEGV); expected: SIGKILL"),
            ("", &panicked, "the guest's kernel panicked: Kernel panic - not syncing: x"),
            ("outcome = 'panic'", &panicked, "passed"),
            ("outcome = 'panic'", &exited(0), "exited with status 0; expected: panic"),
        ];
        for (keys, output, expected) in cases {
            assert_eq!(cause(keys, output), expected, "{keys} {:?}", output.outcome);
        }
    }

    #[test]
    fn output_and_console_are_searched_line_by_line() {
        let said = output(Outcome::Exited { status: 0 }, "one\ntwo\n");
        assert_eq!(cause("expect = ['^one$', '^two$']", &said), "passed");
        assert_eq!(cause("expect = 'three'", &said), "no line of standard output matches \"three\"");
        assert_eq!(cause("reject = 't.o'", &said), "a line of standard output matches \"t.o\": two");
        let console = |keys: &str| judged(keys, &said, Some("[ 1.0] Linux\n"), Vec::new()).cause;
        assert_eq!(console("expect-console = 'Linux'"), None);
        assert_eq!(console("expect-console = 'BSD'").as_deref(), Some("no line of the console matches \"BSD\""));
        assert_eq!(
            console("reject-console = 'L'").as_deref(),
            Some("a line of the console matches \"L\": [ 1.0] Linux")
        );
    }

    fn part(result: PartResult, detail: &str) -> Part {
        Part { name: "p".to_owned(), result, detail: detail.to_owned() }
    }

    #[test]
    fn a_test_is_skipped_by_its_status_or_by_its_parts() {
        let exited = |status, stdout| output(Outcome::Exited { status }, stdout);
        let judge = |keys: &str, output: &Output, parts: &[Part]| {
            let attempt = judged(keys, output, None, parts.to_vec());
            assert!(!(attempt.passed && attempt.skipped));
            (attempt.passed, attempt.skipped, attempt.cause.unwrap_or_default())
        };
        let keys = "skip-status = 4\nexpect = 'done'";
        let skipped = |why: &str| (false, true, why.to_owned());
        assert_eq!(judge(keys, &exited(4, "SKIP: no device\n\n"), &[]), skipped("SKIP: no device"));
        assert_eq!(judge(keys, &exited(4, ""), &[]), skipped("exited with status 4"));
        let none = [part(PartResult::Skipped, "no device")];
        assert_eq!(judge(keys, &exited(4, "1..0\n"), &none), skipped("no device"));
        assert_eq!(judge("", &exited(0, ""), &none), skipped("no device"));
        // An unfulfilled plan, or no plan: a kselftest shell script.
        let missing = [part(PartResult::Missing, "no TAP output")];
        assert!(judge(keys, &exited(4, ""), &missing).1);
        let said_late = [none[0].clone(), missing[0].clone()];
        assert_eq!(judge(keys, &exited(4, ""), &said_late), skipped("no device"));
        let kept = judged(keys, &exited(4, ""), None, said_late.to_vec()).parts;
        assert_eq!(kept, none, "missing parts of a skipped test are dropped");

        let failed = |why: &str| (false, false, why.to_owned());
        assert_eq!(judge("", &exited(4, ""), &none), failed("exited with status 4; expected: status 0"));
        assert!(judge("", &exited(0, ""), &[none[0].clone(), part(PartResult::Passed, "")]).0);
        assert_eq!(judge(keys, &exited(0, ""), &[]), failed("no line of standard output matches \"done\""));
        assert_eq!(judge(keys, &exited(4, ""), &[part(PartResult::Failed, "")]), failed("1 of 1 parts failed: p"));
        // The test was cut short: some parts ran, and the others are missing whatever the status.
        for begun in [PartResult::Passed, PartResult::Todo] {
            let broken = [part(begun, ""), none[0].clone(), missing[0].clone()];
            assert_eq!(judge(keys, &exited(4, ""), &broken), failed("missing parts: p: no TAP output"));
            assert_eq!(judged(keys, &exited(4, ""), None, broken.to_vec()).parts, broken);
        }
        assert!(judge(keys, &exited(4, ""), &[part(PartResult::Passed, "")]).1);
        let rejects = "skip-status = 4\nreject = 'BUG'";
        let said = judge(rejects, &exited(4, "BUG here\n"), &[]);
        assert_eq!(said, failed("a line of standard output matches \"BUG\": BUG here"));
        let ill = Output { health: vec![finding(Kind::Oops, "Oops: b")], ..exited(4, "") };
        assert_eq!(judge(keys, &ill, &[]), failed("kernel unhealthy: Oops: b"));
        let cut = Output { cut: true, ..exited(4, "") };
        assert!(!judge(keys, &cut, &[]).1);
        let killed = output(Outcome::Signaled { signal: 4, core: false }, "");
        assert!(!judge(keys, &killed, &[]).1);
    }

    #[test]
    fn an_unhealthy_kernel_fails_a_passed_test_unless_allowed() {
        let mut ill = output(Outcome::Exited { status: 0 }, "");
        ill.health = vec![finding(Kind::Warning, "WARNING: a"), finding(Kind::Oops, "Oops: b")];
        let attempt = judged("", &ill, None, Vec::new());
        assert_eq!(attempt.cause.as_deref(), Some("kernel unhealthy: Oops: b (and 1 more)"));
        assert_eq!((attempt.exit_code, attempt.health.len()), (121, 2));
        assert_eq!(cause("health-allow = 'b here'", &ill), "kernel unhealthy: WARNING: a");
        assert_eq!(cause("health = 'warn'", &ill), "passed");
        assert!(!can_reuse_guest(&ill));
        ill.health = vec![finding(Kind::Leaked, "sleep")];
        assert!(can_reuse_guest(&ill));
        // The command's failure takes precedence.
        ill.outcome = Outcome::Exited { status: 1 };
        assert_eq!(cause("", &ill), "exited with status 1; expected: status 0");
    }

    #[test]
    fn failed_and_missing_parts_fail_the_test() {
        let part = |name: &str, result| Part { name: name.to_owned(), result, detail: String::new() };
        let good = vec![part("a", PartResult::Passed), part("b", PartResult::Skipped), part("c", PartResult::Todo)];
        let passed = output(Outcome::Exited { status: 0 }, "");
        assert!(judged("", &passed, None, good.clone()).passed);
        let bad = [good, vec![part("d", PartResult::Failed), part("e", PartResult::Missing)]].concat();
        let cause = judged("", &passed, None, bad).cause;
        assert_eq!(cause.as_deref(), Some("1 of 4 parts failed: d; missing parts: e"));
    }

    #[test]
    fn streams_are_truncated_at_the_start_and_remain_valid_utf8() {
        assert_eq!(tail(b"short"), "short");
        let long = "ü".repeat(STREAM_LIMIT);
        let kept = tail(long.as_bytes());
        assert!(kept.len() <= STREAM_LIMIT && kept.ends_with('ü'), "{}", kept.len());
        assert!(tail(&vec![0xff; STREAM_LIMIT * 2]).len() <= STREAM_LIMIT);
    }

    #[test]
    fn outcome_names_in_manifests_are_names_of_outcomes() {
        let known = [
            Outcome::Panic { line: String::new() },
            Outcome::Reset,
            Outcome::WentAway { how: "x" },
            Outcome::Watchdog { action: String::new() },
            Outcome::PoweredOff,
            Outcome::Unhealthy { what: String::new() },
            Outcome::QemuDied { exit: crate::guest::transcript::QemuExit::Status(1) },
            Outcome::NotExecuted { status: 127, command: String::new(), errno: 2 },
            Outcome::TimedOut { limit: crate::guest::transcript::Limit::Total, after: Duration::ZERO },
        ];
        for name in OUTCOMES {
            assert!(known.iter().any(|outcome| outcome.name() == name), "{name}");
        }
    }
}
