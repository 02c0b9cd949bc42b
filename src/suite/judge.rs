//! Judges attempts by outcome, output, console, kernel health and parts, and cells by their attempts. Pure.

use super::manifest::{Ending, Patterns, Test};
use super::report::{Attempt, Part, PartResult, STREAM_LIMIT, StartMode, Status, Times};
use super::tap_parser;
use crate::format::guest_text::one_line;
use crate::format::guest_text::tail;
use crate::guest::error::with_causes;
use crate::guest::health::{Finding, Rules};
use crate::guest::verdict::{Outcome, code, crash, is_of_crash, signal_name};
use crate::guest::{Output, VmError};

/// Limit of console lines in a report; the last ones are kept.
const MAX_CONSOLE_LINES: usize = 60;
/// Length limit of a quoted line in a cause, characters.
const MAX_QUOTED: usize = 160;

/// Returns the status that results from the attempts, and the cause if they are not a success. The last attempt
/// decides, but a skipped one does not cancel a failure.
pub(crate) fn verdict(attempts: &[Attempt]) -> (Status, Option<String>) {
    // An interrupted test has no answer.
    let has_no_answer = |name: &str| matches!(name, "could-not-test" | "interrupted");
    let could_not = |attempt: &Attempt| attempt.outcome.as_deref().is_none_or(has_no_answer);
    let cause = |attempt: &Attempt| attempt.cause.clone();
    let Some(last) = attempts.last() else { return (Status::NotRun, None) };
    if last.passed {
        return (if attempts.len() == 1 { Status::Passed } else { Status::Flaky }, None);
    }
    match attempts.iter().rev().find(|attempt| !attempt.skipped) {
        None => (Status::Skipped, cause(last)),
        Some(failed) if could_not(failed) => (Status::Error, cause(failed)),
        Some(failed) => (Status::Failed, cause(failed)),
    }
}

/// Judge of a test's attempts.
#[derive(Debug)]
pub(crate) struct Judge<'a> {
    test: &'a Test,
    rules: Rules,
}

impl<'a> Judge<'a> {
    /// Creates the judge of a test.
    pub(crate) fn new(test: &'a Test) -> Self {
        Self { test, rules: test.health.rules() }
    }

    /// Judges an attempt. `console` is the complete console log, or the reason why it is unavailable, and is `Some`
    /// only if the test has console patterns. `parts` are the parts parsed from the output.
    pub(crate) fn attempt(
        &self,
        output: &Output,
        boot: StartMode,
        console: Option<&Result<String, String>>,
        parts: Vec<Part>,
    ) -> Attempt {
        let mut attempt = attempt_of(output, boot);
        let skip_reason = self.skip_reason(output, &parts);
        attempt.cause = self.cause(output, console, &parts, skip_reason.is_some());
        attempt.skipped = attempt.cause.is_none() && skip_reason.is_some();
        attempt.passed = attempt.cause.is_none() && !attempt.skipped;
        attempt.other_cause = self.cause_beside_parts(output, console, &parts);
        attempt.parts = parts;
        if attempt.skipped {
            attempt.cause = skip_reason;
            // Missing parts of a skipped test are not failures, but reports would count them as such.
            attempt.parts.retain(|part| part.result != PartResult::Missing);
        }
        if !(attempt.passed || attempt.skipped) && output.success() && self.health_cause(&output.health).is_some() {
            attempt.exit_code = code::UNHEALTHY;
        }
        attempt
    }

    /// Returns the reason for a skip, if the test reported one by its status or by skipping all of its parts.
    fn skip_reason(&self, output: &Output, parts: &[Part]) -> Option<String> {
        let status = match &output.outcome {
            Outcome::Exited { status } if self.test.skip_status == Some(*status) => Some(*status),
            _ => None,
        };
        let all_skipped = !parts.is_empty() && parts.iter().all(|part| part.result == PartResult::Skipped);
        if status.is_none() && !(all_skipped && self.ending_cause(&output.outcome).is_none()) {
            return None;
        }
        let is_empty = |line: &String| line.is_empty();
        let skipped = parts.iter().filter(|part| part.result == PartResult::Skipped);
        let reason = skipped.map(|part| quote_line(&part.detail)).find(|reason| !is_empty(reason));
        // A script without TAP prints the reason on either stream, kselftest scripts in the last line.
        let (stdout, stderr) = (output.text(), String::from_utf8_lossy(&output.stderr));
        let streams = [if parts.is_empty() { &stdout } else { "" }, &stderr];
        let last_line = |is_reason: fn(&str) -> bool| {
            let lines = streams.iter().flat_map(|text| text.lines().rev()).filter(|line| is_reason(line));
            lines.map(quote_line).find(|line| !is_empty(line))
        };
        let reason = reason.or_else(|| last_line(|line| line.to_ascii_lowercase().contains("skip")));
        Some(reason.or_else(|| last_line(|_| true)).unwrap_or_else(|| match status {
            Some(status) => format!("exited with status {status}"),
            None => "all parts were skipped".to_owned(),
        }))
    }

    /// Returns the first violated expectation, as one sentence. A skipped test need not meet positive expectations, but
    /// rejected patterns and findings still count.
    fn cause(
        &self,
        output: &Output,
        console: Option<&Result<String, String>>,
        parts: &[Part],
        is_skipped: bool,
    ) -> Option<String> {
        let searches_output = !(parts.is_empty() && self.test.stdout.is_empty() && self.test.stderr.is_empty());
        let ending = if is_skipped { None } else { self.ending_cause(&output.outcome) };
        let ending = ending.map(|cause| with_crash(cause, output));
        // If a part has run, missing parts count for any status: the test was cut short.
        let count_missing = !is_skipped || parts.iter().any(|part| part_ran(part.result));
        let counted = parts.iter().filter(|part| count_missing || part.result != PartResult::Missing);
        let parts = tap_parser::failure_cause(counted);
        // The names of the failed parts are more useful than the resulting status.
        let ending = match (ending, &output.outcome) {
            (Some(_), Outcome::Exited { .. }) if parts.is_some() => None,
            (ending, _) => ending,
        };
        ending.or(parts).or_else(|| self.content_cause(output, console, searches_output, is_skipped))
    }

    /// Returns the first violated expectation that does not concern the parts, if one of these failed.
    fn cause_beside_parts(
        &self,
        output: &Output,
        console: Option<&Result<String, String>>,
        parts: &[Part],
    ) -> Option<String> {
        tap_parser::failure_cause(parts)?;
        // Failed parts explain any exit status.
        let ending = match &output.outcome {
            Outcome::Exited { .. } => None,
            other => self.ending_cause(other).map(|cause| with_crash(cause, output)),
        };
        ending.or_else(|| self.content_cause(output, console, true, false))
    }

    /// Returns the first violated expectation of the output and of the kernel's health.
    fn content_cause(
        &self,
        output: &Output,
        console: Option<&Result<String, String>>,
        searches_output: bool,
        is_skipped: bool,
    ) -> Option<String> {
        // A rejected pattern might be in the discarded part.
        (output.cut && searches_output)
            .then(|| "output too large: part of it was discarded, so it cannot be checked".to_owned())
            .or_else(|| pattern_cause(&self.test.stdout, "standard output", &output.text(), is_skipped))
            .or_else(|| {
                let stderr = String::from_utf8_lossy(&output.stderr);
                pattern_cause(&self.test.stderr, "standard error", &stderr, is_skipped)
            })
            .or_else(|| match console? {
                Ok(console) => pattern_cause(&self.test.console, "the console", console, is_skipped),
                Err(error) => Some(error.clone()),
            })
            .or_else(|| self.health_cause(&output.health))
            .or_else(|| match &output.outcome {
                // The live log monitor applies the same rules.
                Outcome::Unhealthy { what, .. } if !self.expects_outcome("unhealthy") => {
                    Some(format!("kernel unhealthy: {what}"))
                }
                _ => None,
            })
    }

    fn expects_outcome(&self, name: &str) -> bool {
        matches!(&self.test.ending, Ending::Outcome(expected) if expected == name)
    }

    /// Returns the difference between the actual and the expected outcome.
    fn ending_cause(&self, outcome: &Outcome) -> Option<String> {
        let is_expected = match (&self.test.ending, outcome) {
            (Ending::Status(expected), Outcome::Exited { status }) => expected == status,
            // The command passed.
            (Ending::Status(expected), Outcome::Unhealthy { early: false, .. }) => *expected == 0,
            (Ending::Signal(expected), Outcome::Signaled { signal, .. }) => expected == signal,
            (Ending::Outcome(expected), outcome) => expected == outcome.name(),
            (Ending::Status(_) | Ending::Signal(_), _) => false,
        };
        if is_expected {
            return None;
        }
        let actual = match outcome {
            Outcome::Exited { status } => format!("exited with status {status}"),
            other => other.sentence().unwrap_or_else(|| other.name().to_owned()),
        };
        let expected = match &self.test.ending {
            Ending::Status(0) if !matches!(outcome, Outcome::Exited { .. }) => return Some(actual),
            Ending::Status(status) => format!("status {status}"),
            Ending::Signal(signal) => signal_name(i32::from(*signal)),
            Ending::Outcome(name) => name.clone(),
        };
        Some(format!("{actual}; expected: {expected}"))
    }

    /// Describes the health findings that count, as one sentence.
    fn health_cause(&self, findings: &[Finding]) -> Option<String> {
        let counted: Vec<&Finding> = findings.iter().filter(|finding| self.rules.fails(finding)).collect();
        let worst = counted.iter().min_by_key(|finding| finding.kind)?;
        let more = match counted.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        Some(format!("kernel unhealthy: {}{more}", quote_line(&worst.title)))
    }
}

/// Names the crash of the kernel before its consequence, if a child of a shell was killed for it. The cause of a command that
/// was killed itself contains it already.
fn with_crash(cause: String, output: &Output) -> String {
    let killed = |status: u8| status.checked_sub(code::SIGNAL).is_some_and(is_of_crash);
    match (&output.outcome, crash(&output.health)) {
        (Outcome::Exited { status }, Some(crash)) if killed(*status) => {
            format!("{}: {cause}", quote_line(&crash.title))
        }
        _ => cause,
    }
}

/// Returns the first pattern that a text violates, as one sentence. A skipped test need not print what is expected.
fn pattern_cause(patterns: &Patterns, place: &str, text: &str, is_skipped: bool) -> Option<String> {
    if !is_skipped
        && let Some(missing) = patterns.expect.iter().find(|pattern| !text.lines().any(|line| pattern.is_match(line)))
    {
        return Some(format!("no line of {place} matches {:?}", missing.as_str()));
    }
    patterns.reject.iter().find_map(|pattern| {
        let line = text.lines().find(|line| pattern.is_match(line))?;
        Some(format!("a line of {place} matches {:?}: {}", pattern.as_str(), quote_line(line)))
    })
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
    let stream = |bytes: &[u8]| {
        let end = &bytes[bytes.len().saturating_sub(STREAM_LIMIT)..];
        tail(&String::from_utf8_lossy(end), STREAM_LIMIT).to_owned()
    };
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
        stdout: stream(&output.stdout),
        stderr: stream(&output.stderr),
        console: output.console[output.console.len().saturating_sub(MAX_CONSOLE_LINES)..].to_vec(),
        notes: output.notes.clone(),
        ..Attempt::default()
    }
}

/// Converts an error to an attempt that could not be tested.
pub(crate) fn could_not_test(error: &VmError) -> Attempt {
    let cause = with_causes(error);
    let (outcome, exit_code, console) = match error {
        VmError::NotBooted { outcome, console } => {
            (Some(outcome.name().to_owned()), outcome.exit_code(), console.clone())
        }
        _ => (None, code::COULD_NOT_TEST, Vec::new()),
    };
    Attempt { cause: Some(cause), outcome, exit_code, console, ..Attempt::default() }
}

/// Returns true if the guest can run another test: it is alive and its kernel is healthy.
pub(crate) fn can_reuse_guest(output: &Output) -> bool {
    let is_alive = match output.outcome {
        Outcome::Exited { .. } | Outcome::Signaled { .. } | Outcome::NotExecuted { .. } => true,
        // The guest that a finding ended is gone.
        Outcome::Unhealthy { early, .. } => !early,
        Outcome::Expected { .. }
        | Outcome::Rejected { .. }
        | Outcome::PoweredOff
        | Outcome::Panic { .. }
        | Outcome::KernelCrashed { .. }
        | Outcome::Reset { .. }
        | Outcome::WentAway { .. }
        | Outcome::Watchdog { .. }
        | Outcome::QemuDied { .. }
        | Outcome::TimedOut { .. }
        | Outcome::Interrupted { .. }
        | Outcome::OutputClosed
        | Outcome::CouldNotTest { .. } => false,
    };
    is_alive && !output.health.iter().any(|finding| finding.kind.is_failure())
}

/// Shortens a line for use in a sentence.
fn quote_line(line: &str) -> String {
    let line = line.trim();
    match line.char_indices().nth(MAX_QUOTED) {
        Some((end, _)) => format!("{}...", one_line(&line[..end])),
        None => one_line(line),
    }
}

#[cfg(test)]
mod tests {
    use super::{Judge, attempt_of, can_reuse_guest, verdict};
    use crate::guest::Output;
    use crate::guest::health::{Finding, Kind};
    use crate::guest::verdict::Outcome;
    use crate::suite::manifest::OUTCOMES;
    use crate::suite::report::{Attempt, Part, PartResult, STREAM_LIMIT, StartMode, Status};
    use crate::suite::tests::fixtures::{output, spec};
    use std::time::Duration;

    fn judged(keys: &str, output: &Output, console: Option<&str>, parts: Vec<Part>) -> Attempt {
        let spec = spec(&format!("[[test]]\nname = 't'\nrun = 'x'\n{keys}\n"));
        let console = console.map(|text| Ok(text.to_owned()));
        Judge::new(&spec.tests[0]).attempt(output, StartMode::Warm, console.as_ref(), parts)
    }

    #[test]
    fn a_test_with_patterns_fails_if_part_of_the_output_was_discarded() {
        let cut = Output { cut: true, ..output(Outcome::Exited { status: 0 }, "") };
        assert!(judged("", &cut, None, Vec::new()).passed);
        assert!(!judged("reject = 'x'", &cut, None, Vec::new()).passed);
        assert!(!judged("reject-stderr = 'x'", &cut, None, Vec::new()).passed);
        let part = Part { result: PartResult::Passed, ..Part::default() };
        assert!(!judged("", &cut, None, vec![part]).passed);
        let spec = spec("[[test]]\nname = 't'\nrun = 'x'\nreject-console = 'x'\n");
        let lost = Judge::new(&spec.tests[0]).attempt(
            &output(Outcome::Exited { status: 0 }, ""),
            StartMode::Warm,
            Some(&Err("why".to_owned())),
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
        let killed = output(Outcome::Signaled { signal: 11, core: false, crash: None }, "");
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
        let printed = output(Outcome::Exited { status: 0 }, "one\ntwo\n");
        assert_eq!(cause("expect = ['^one$', '^two$']", &printed), "passed");
        assert_eq!(cause("expect = 'three'", &printed), "no line of standard output matches \"three\"");
        assert_eq!(cause("reject = 't.o'", &printed), "a line of standard output matches \"t.o\": two");
        let printed = Output { stderr: b"three\n".to_vec(), ..printed };
        assert_eq!(cause("expect-stderr = '^three$'\nreject-stderr = 'one'", &printed), "passed");
        assert_eq!(cause("expect-stderr = 'two'", &printed), "no line of standard error matches \"two\"");
        assert_eq!(cause("reject-stderr = 'h'", &printed), "a line of standard error matches \"h\": three");
        let console = |keys: &str| judged(keys, &printed, Some("[ 1.0] Linux\n"), Vec::new()).cause;
        assert_eq!(console("expect-console = 'Linux'"), None);
        assert_eq!(console("expect-console = 'BSD'").as_deref(), Some("no line of the console matches \"BSD\""));
        assert_eq!(
            console("reject-console = 'L'").as_deref(),
            Some("a line of the console matches \"L\": [ 1.0] Linux")
        );
    }

    fn part(result: PartResult, detail: &str) -> Part {
        Part { name: "p".to_owned(), result, detail: detail.to_owned(), expectation: None }
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
        let also = |stdout, stderr: &str| Output { stderr: stderr.as_bytes().to_vec(), ..exited(4, stdout) };
        assert_eq!(judge(keys, &also("", "no device\n"), &[]), skipped("no device"));
        assert_eq!(judge(keys, &also("trying\n", "SKIP: need root\n"), &[]), skipped("SKIP: need root"));
        assert_eq!(judge(keys, &also("trying\n", "warning\n"), &[]), skipped("trying"));
        let nameless = [part(PartResult::Skipped, "")];
        assert_eq!(judge(keys, &also("ok 1 # SKIP\n", "no device\n"), &nameless), skipped("no device"));
        let none = [part(PartResult::Skipped, "no device")];
        assert_eq!(judge(keys, &exited(4, "1..0\n"), &none), skipped("no device"));
        assert_eq!(judge("", &exited(0, ""), &none), skipped("no device"));
        // A plan without all of its results, or no plan: a kselftest shell script.
        let missing = [part(PartResult::Missing, "no TAP output")];
        assert!(judge(keys, &exited(4, ""), &missing).1);
        let skipped_late = [none[0].clone(), missing[0].clone()];
        assert_eq!(judge(keys, &exited(4, ""), &skipped_late), skipped("no device"));
        let kept = judged(keys, &exited(4, ""), None, skipped_late.to_vec()).parts;
        assert_eq!(kept, none, "missing parts of a skipped test are dropped");

        let failed = |why: &str| (false, false, why.to_owned());
        assert_eq!(judge("", &exited(4, ""), &none), failed("exited with status 4; expected: status 0"));
        assert!(judge("", &exited(0, ""), &[none[0].clone(), part(PartResult::Passed, "")]).0);
        assert_eq!(judge(keys, &exited(0, ""), &[]), failed("no line of standard output matches \"done\""));
        assert_eq!(judge(keys, &exited(4, ""), &[part(PartResult::Failed, "")]), failed("1 of 1 parts failed: p"));
        // The test was cut short: some parts ran, and the others are missing for any status.
        for begun in [PartResult::Passed, PartResult::Todo] {
            let broken = [part(begun, ""), none[0].clone(), missing[0].clone()];
            assert_eq!(judge(keys, &exited(4, ""), &broken), failed("missing parts: p: no TAP output"));
            assert_eq!(judged(keys, &exited(4, ""), None, broken.to_vec()).parts, broken);
        }
        assert!(judge(keys, &exited(4, ""), &[part(PartResult::Passed, "")]).1);
        let rejects = "skip-status = 4\nreject = 'BUG'";
        let verdict = judge(rejects, &exited(4, "BUG here\n"), &[]);
        assert_eq!(verdict, failed("a line of standard output matches \"BUG\": BUG here"));
        let ill = Output { health: vec![finding(Kind::Oops, "Oops: b")], ..exited(4, "") };
        assert_eq!(judge(keys, &ill, &[]), failed("kernel unhealthy: Oops: b"));
        let cut = Output { cut: true, ..exited(4, "") };
        assert!(!judge(keys, &cut, &[]).1);
        let killed = output(Outcome::Signaled { signal: 4, core: false, crash: None }, "");
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
        let lines = vec!["RIP: 0033:0x47b7a0".to_owned()];
        ill.health = vec![Finding { lines, ..finding(Kind::Bug, "kernel BUG at x.c:1!") }];
        ill.outcome = Outcome::Exited { status: 139 };
        assert_eq!(cause("", &ill), "kernel BUG at x.c:1!: exited with status 139; expected: status 0");
        // The command's failure takes precedence.
        ill.outcome = Outcome::Exited { status: 1 };
        assert_eq!(cause("", &ill), "exited with status 1; expected: status 0");
    }

    #[test]
    fn failed_and_missing_parts_fail_the_test() {
        let part =
            |name: &str, result| Part { name: name.to_owned(), result, detail: String::new(), expectation: None };
        let good = vec![part("a", PartResult::Passed), part("b", PartResult::Skipped), part("c", PartResult::Todo)];
        let passed = output(Outcome::Exited { status: 0 }, "");
        assert!(judged("", &passed, None, good.clone()).passed);
        let bad = [good, vec![part("d", PartResult::Failed), part("e", PartResult::Missing)]].concat();
        let cause = judged("", &passed, None, bad).cause;
        assert_eq!(cause.as_deref(), Some("1 of 4 parts failed: d; missing parts: e"));
    }

    #[test]
    fn streams_are_truncated_at_the_start_and_remain_valid_utf8() {
        let kept = |stdout: Vec<u8>| {
            let output = Output { stdout, ..output(Outcome::PoweredOff, "") };
            attempt_of(&output, StartMode::Warm).stdout
        };
        assert_eq!(kept(b"short".to_vec()), "short");
        let long = kept("ü".repeat(STREAM_LIMIT).into_bytes());
        assert!(long.len() <= STREAM_LIMIT && long.ends_with('ü'), "{}", long.len());
        assert!(kept(vec![0xff; STREAM_LIMIT * 2]).len() <= STREAM_LIMIT);
    }

    #[test]
    fn outcome_names_in_manifests_are_names_of_outcomes() {
        let known = [
            Outcome::Panic { line: String::new() },
            Outcome::Reset { silent: false },
            Outcome::WentAway { how: "x" },
            Outcome::Watchdog { action: String::new() },
            Outcome::PoweredOff,
            Outcome::Unhealthy { what: String::new(), early: false },
            Outcome::KernelCrashed { module: String::new(), what: String::new() },
            Outcome::QemuDied { exit: crate::guest::transcript::QemuExit::Status(1) },
            Outcome::NotExecuted { status: 127, command: String::new(), errno: 2 },
            Outcome::TimedOut { limit: crate::guest::transcript::Limit::Total, after: Duration::ZERO },
        ];
        for name in OUTCOMES {
            assert!(known.iter().any(|outcome| outcome.name() == name), "{name}");
        }
    }

    #[test]
    fn the_last_attempt_decides_but_a_skipped_one_does_not_cancel_a_failure() {
        let tried = |name: &str| Attempt {
            passed: name == "passed",
            skipped: name == "skipped",
            outcome: (name != "lost").then(|| name.to_owned()),
            cause: (name != "passed").then(|| name.to_owned()),
            ..Attempt::default()
        };
        let is = |names: &[&str], status, cause: Option<&str>| {
            let attempts: Vec<Attempt> = names.iter().map(|name| tried(name)).collect();
            assert_eq!(verdict(&attempts), (status, cause.map(str::to_owned)), "{names:?}");
        };
        is(&[], Status::NotRun, None);
        is(&["passed"], Status::Passed, None);
        is(&["failed", "passed"], Status::Flaky, None);
        is(&["failed", "panic"], Status::Failed, Some("panic"));
        is(&["lost"], Status::Error, Some("lost"));
        is(&["could-not-test"], Status::Error, Some("could-not-test"));
        is(&["interrupted"], Status::Error, Some("interrupted"));
        is(&["skipped"], Status::Skipped, Some("skipped"));
        is(&["failed", "skipped"], Status::Failed, Some("failed"));
    }
}
