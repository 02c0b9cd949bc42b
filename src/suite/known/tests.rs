//! Tests of lists of known failures.

use super::{KnownFailures, lines, update};
use crate::suite::report::{CellReport, ExpectationKind, Format, Part, PartResult, Report, Standing, Status};
use crate::suite::tests::sample::{attempt, sample};
use expect_test::expect;

/// 2026-01-02
const TODAY: f64 = 1_767_323_045.0;

fn known(text: &str) -> KnownFailures {
    KnownFailures::parse(text, "known.toml", TODAY).unwrap_or_else(|error| panic!("{error}"))
}

fn judged(text: &str) -> Report {
    let mut report = sample();
    known(text).judge_all(&mut report);
    report
}

fn standing(report: &Report, test: &str) -> Standing {
    report.cells.iter().find(|cell| cell.test == test).expect("a cell").standing()
}

#[test]
fn a_known_failure_counts_neither_as_a_failure_nor_as_nothing_tested() {
    let mut report = judged(
        "[[known]]\npattern = 'kselftest/*'\nreason = 'a bug'\n[[known]]\npattern = 'module'\nreason = 'no module'\n",
    );
    assert_eq!((standing(&report, "kselftest"), standing(&report, "module")), (Standing::Known, Standing::Known));
    // A cell that did not run is never known.
    assert_eq!((standing(&report, "late"), report.is_good()), (Standing::NotRun, false));
    report.cells.retain(|cell| cell.status != Status::NotRun);
    assert!(report.is_good());
    report.cells.retain(|cell| cell.test == "kselftest");
    assert_eq!(report.exit_code(), 0, "a known failure is a result");
    let module = judged("[[known]]\npattern = '*'\nreason = 'x'\noutcome = 'could-not-test'\n");
    assert_eq!((standing(&module, "kselftest"), standing(&module, "module")), (Standing::Failed, Standing::Known));
}

#[test]
fn a_listed_result_that_passes_is_a_failure_unless_it_is_flaky() {
    let report = judged("[[known]]\npattern = 'boot'\nreason = 'a bug'\n");
    assert_eq!(standing(&report, "boot"), Standing::Unexpected);
    assert!(!report.cells[0].is_good());
    let report = judged("[[known]]\npattern = 'boot'\nreason = 'a bug'\nflaky = true\n");
    assert_eq!(standing(&report, "boot"), Standing::Passed);
}

#[test]
fn an_entry_is_limited_to_kernels_dates_and_outcomes() {
    let is_known = |keys: &str| {
        let report = judged(&format!("[[known]]\npattern = 'kselftest'\nreason = 'x'\n{keys}\n"));
        standing(&report, "kselftest") == Standing::Known
    };
    for (keys, expected) in [
        ("kernel = '>=6.1, <6.6'", true),
        ("kernel = '<6.1'", false),
        ("kernel = '6.*'", true),
        ("kernel = 'next'", false),
        ("until = 2026-01-02", true),
        ("until = '2026-01-01'", false),
        ("outcome = 'exited'", true),
        ("outcome = 'panic'", false),
    ] {
        assert_eq!(is_known(keys), expected, "{keys}");
    }
}

/// A report of a cell that failed because of these parts.
fn with_parts(parts: &[(&str, PartResult)]) -> Report {
    let mut report = sample();
    report.cells.truncate(1);
    let parts =
        parts.iter().map(|(name, result)| Part { name: (*name).to_owned(), result: *result, ..Part::default() });
    let mut attempt = attempt(Some("1 of 2 parts failed"), 1);
    attempt.parts = parts.collect();
    let cell = &mut report.cells[0];
    (cell.status, cell.cause, cell.attempts) = (Status::Failed, attempt.cause.clone(), vec![attempt]);
    report
}

#[test]
fn a_cell_whose_failed_parts_are_all_known_is_known_if_nothing_else_failed() {
    use PartResult::{Failed, Passed};
    let list = "[[known]]\npattern = 'boot > a*'\nreason = 'bug 1'\n[[known]]\npattern = 'b'\nreason = 'bug 2'\n";
    let judge = |report: &mut Report| {
        known(list).judge_all(report);
        report.cells[0].expectation.clone().map(|expectation| (expectation.kind, expectation.reason))
    };
    let mut report = with_parts(&[("a1", Failed), ("b", Failed), ("c", Passed)]);
    assert_eq!(judge(&mut report), Some((ExpectationKind::Known, "bug 1 (and 1 more)".to_owned())));
    report.cells[0].attempts[0].other_cause = Some("kernel unhealthy".to_owned());
    assert_eq!(judge(&mut report), Some((ExpectationKind::NewlyFailing, String::new())));
    let mut report = with_parts(&[("a1", Failed), ("bb", Failed)]);
    assert_eq!(judge(&mut report), Some((ExpectationKind::NewlyFailing, String::new())));
    let mut report = with_parts(&[("a1", Passed), ("c", Passed)]);
    report.cells[0].status = Status::Passed;
    assert_eq!(judge(&mut report), Some((ExpectationKind::UnexpectedlyPassing, "a1: bug 1".to_owned())));
}

#[test]
fn mistakes_are_reported_together_with_their_positions() {
    let text = "[[known]]\npattern = '['\nreason = ' '\nuntil = 2026-13-01\n";
    let error = |text| KnownFailures::parse(text, "known.toml", TODAY).expect_err("refused").to_string();
    assert!(error(text).starts_with("known.toml:4:"), "{}", error(text));
    let text = "[[known]]\npattern = '['\nreason = ' '\nuntil = 'soon'\nkernel = '>6.x'\noutcome = 'panik'\n[[known]]\nresaon = 'x'\n";
    expect![[r#"
        known.toml:2:11: pattern: invalid pattern "[": invalid range pattern
         2 | pattern = '['
           |           ^^^
        known.toml:3:10: reason: empty reason: state why it fails
         3 | reason = ' '
           |          ^^^
        known.toml:4:9: until: expected a date such as 2026-12-31, found a string
         4 | until = 'soon'
           |         ^^^^^^
        known.toml:5:10: kernel: invalid bound ">6.x": expected an operator and a release, such as >=6.6 or <6.12
         5 | kernel = '>6.x'
           |          ^^^^^^
        known.toml:6:11: outcome: expected one of exited, signaled, not-executed, panic, kernel-crashed, unhealthy, reset, watchdog, timed-out, went-away, powered-off, could-not-test, found "panik"; did you mean "panic"?
         6 | outcome = 'panik'
           |           ^^^^^^^
        known.toml:7:1: a known failure needs "pattern"
         7 | [[known]]
           | ^^^^^^^^^
        known.toml:7:1: a known failure needs "reason"
         7 | [[known]]
           | ^^^^^^^^^
        known.toml:8:1: unknown key "resaon"; did you mean "reason"?
         8 | resaon = 'x'
           | ^^^^^^"#]]
    .assert_eq(&error(text));
}

#[test]
fn an_update_keeps_reasons_comments_and_order() {
    let text = "# Head.\n\n# Fixed.\n[[known]]\npattern = \"boot\"\nreason = \"gone\"\n\n# Old.\n[[known]]  # ticket 7\n\
                pattern = \"kselftest/*\"   # all\nreason = 'a bug'\n\n[[known]]\npattern = 'module'\nreason = 'old'\n\
                until = 2026-01-01\n";
    let report = judged(text);
    let changed = update(text, &known(text), &report).expect("updated");
    expect![[r#"
        # Head.

        # Old.
        [[known]]  # ticket 7
        pattern = "kselftest/*"   # all
        reason = 'a bug'

        [[known]]
        pattern = 'module'
        reason = 'old'
        until = 2026-01-01
    "#]]
    .assert_eq(&changed.text);
    assert_eq!((changed.added, changed.removed), (vec![], vec!["boot".to_owned()]));
    expect![[r#"known.toml:13: entry "module" expired after 2026-01-01 and no longer counts: old"#]]
        .assert_eq(&changed.notes.join("\n"));
    let report = judged("");
    let created = update("", &known(""), &report).expect("created");
    expect![[r#"
        # Known failures, for `bootling test --baseline`. docs/testing.md describes the keys.

        [[known]]
        pattern = "kselftest/6.1/q35 > suite > bad #2"
        reason = "TODO: 1 != 2 at x.c:3"

        [[known]]
        pattern = "kselftest/6.1/q35 > plan"
        reason = "TODO: 6 planned, 4 reported"

        [[known]]
        pattern = "module/6.1/q35"
        outcome = "could-not-test"
        reason = "TODO: module x not found"
    "#]]
    .assert_eq(&created.text);
    let mut report = sample();
    known(&created.text).judge_all(&mut report);
    assert_eq!((report.count_standing(Standing::Known), report.count_standing(Standing::Failed)), (2, 0));
    let same = update(&created.text, &known(&created.text), &report).expect("unchanged");
    assert_eq!(same.text, created.text);
}

#[test]
fn the_summary_lists_each_kind() {
    let report = judged("[[known]]\npattern = 'boot'\nreason = 'a bug'\n[[known]]\npattern = 'kself*'\nreason = 'b'\n");
    let text = lines(&report, 1).join("\n");
    expect![[r"
        1 newly failing, 2 unexpectedly passing, 1 known
          newly failing        module/6.1/q35: module x not found
          unexpectedly passing boot/6.1/q35: a bug
                               and 1 more
          known                kselftest/6.1/q35: b"]]
    .assert_eq(&text);
    let cell = CellReport { id: "a/b/c".to_owned(), status: Status::Skipped, ..CellReport::default() };
    let mut report = Report { cells: vec![cell], ..sample() };
    known("[[known]]\npattern = '*'\nreason = 'x'\n").judge_all(&mut report);
    assert_eq!(report.cells[0].expectation, None);
}

#[test]
fn every_format_shows_what_is_known_and_what_passes_unexpectedly() {
    use PartResult::{Failed, Passed};
    let list = "[[known]]\npattern = 'boot > a'\nreason = 'a bug'\n[[known]]\npattern = 'net'\nreason = 'fixed?'\n";
    let mut report = with_parts(&[("a", Failed), ("c", Passed)]);
    report.cells.extend(sample().cells.into_iter().filter(|cell| ["net", "module"].contains(&cell.test.as_str())));
    known(list).judge_all(&mut report);
    let write = |name: &str| {
        let mut out = Vec::new();
        Format::named(name).expect("a format").write(&report, None, &mut out).expect("memory");
        String::from_utf8(out).expect("UTF-8")
    };
    let lines = |name: &str, words: &[&str]| {
        let text = write(name);
        let lines = text.lines().map(str::trim).filter(|line| words.iter().any(|word| line.contains(word)));
        lines.collect::<Vec<_>>().join("\n")
    };
    expect![[r#"
        not ok 1 - a # TODO known failure: a bug
        ok 2 - c
        not ok 1 - boot/6.1/q35 # TODO known failure: a bug (1 of 2 parts failed)
        message: "known failure: a bug (1 of 2 parts failed)"
        not ok 2 - net/6.1/q35
        message: "unexpectedly passing; known to fail: fixed?"
        not ok 3 - module/6.1/q35
        message: "newly failing: module x not found""#]]
    .assert_eq(&lines("tap", &["ok ", "message"]));
    expect![[r"
        not ok 1 a # TODO known failure: a bug
        ok 2 c
        ok 1 boot/6.1/q35 # XFAIL known failure: a bug (1 of 2 parts failed)
        not ok 2 net/6.1/q35 # failed: unexpectedly passing; known to fail: fixed?
        not ok 3 module/6.1/q35 # ERROR newly failing: module x not found"]]
    .assert_eq(&lines("ktap", &["ok "]));
    expect![[r#"
        <testcase name="boot" classname="smoke.6_1.q35" time="0.260">
        <skipped message="known failure: a bug (1 of 2 parts failed)"/>
        <testcase name="a" classname="smoke.6_1.q35.boot" time="0.000">
        <skipped message="known failure: a bug"/>
        <testcase name="c" classname="smoke.6_1.q35.boot" time="0.000"/>
        <testcase name="net" classname="smoke.6_1.q35" time="0.520">
        <failure message="unexpectedly passing; known to fail: fixed?" type="unexpectedly-passing"/>
        <testcase name="module" classname="smoke.6_1.q35" time="0.260">
        <error message="newly failing: module x not found" type="error">module x not found"#]]
    .assert_eq(&lines("junit", &["<testcase", "<skipped", "<failure", "<error"]));
    let page = write("html");
    assert!(page.contains("known failure: a bug (1 of 2 parts failed)"), "{page}");
    assert!(page.contains("unexpectedly passing; known to fail: fixed?"), "{page}");
    let json = write("jsonl");
    assert!(json.contains(r#""expectation":{"kind":"unexpectedly-passing","reason":"fixed?"}"#), "{json}");
    assert!(json.contains(r#""expectation":{"kind":"newly-failing","reason":""}"#), "{json}");
}
