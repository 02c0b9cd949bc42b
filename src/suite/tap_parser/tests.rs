//! Output as kselftest, `KUnit` and others write it, and the parts parsed from it.

use super::level::MAX_PARTS;
use super::{TapMode, failure_cause, parse};
use crate::suite::report::{Part, PartResult};
use proptest::prelude::{ProptestConfig, any, prop_assert, proptest};

/// Checks the parts, written as lines of result, name and detail, and returns the verdict.
#[track_caller]
fn reads(text: &str, expected: &[&str]) -> Option<String> {
    let parts = parse(text.as_bytes(), TapMode::Detect);
    assert_eq!(lines(&parts), expected);
    failure_cause(&parts)
}

fn lines(parts: &[Part]) -> Vec<String> {
    let line = |part: &Part| {
        let detail = part.detail.replace('\n', " | ");
        format!("{}: {} {detail}", part.result.name(), part.name).trim_end().to_owned()
    };
    parts.iter().map(line).collect()
}

#[test]
fn a_kselftest_run_has_the_parts_of_the_programs_that_it_runs() {
    let text = "TAP version 13\n\
        1..4\n\
        # timeout set to 45\n\
        # selftests: timers: posix_timers\n\
        # TAP version 13\n\
        # 1..3\n\
        # # Testing posix timers\n\
        # ok 1 check_itimer ITIMER_VIRTUAL\n\
        # # off by 4\n\
        # not ok 2 check_timer_distribution\n\
        # ok 3 check_sig_ign # SKIP not root\n\
        # # Totals: pass:1 fail:1 xfail:0 xpass:0 skip:1 error:0\n\
        not ok 1 selftests: timers: posix_timers # exit=1\n\
        # selftests: timers: nanosleep\n\
        # ok so far, it says\n\
        # Setting alarm\n\
        ok 2 selftests: timers: nanosleep\n\
        # selftests: timers: mqueue\n\
        # waits\n\
        not ok 3 selftests: timers: mqueue # TIMEOUT 45 seconds\n\
        # selftests: timers: rtc\n\
        # 1..0 # SKIP no /dev/rtc0\n\
        ok 4 selftests: timers: rtc # SKIP\n";
    let cause = reads(
        text,
        &[
            "passed: selftests: timers: posix_timers > check_itimer ITIMER_VIRTUAL",
            "failed: selftests: timers: posix_timers > check_timer_distribution off by 4",
            "skipped: selftests: timers: posix_timers > check_sig_ign not root",
            "passed: selftests: timers: nanosleep",
            "failed: selftests: timers: mqueue selftests: timers: mqueue | waits | TIMEOUT 45 seconds",
            "skipped: selftests: timers: rtc > plan no /dev/rtc0",
        ],
    );
    let cause = cause.expect("it failed");
    assert!(cause.starts_with("2 of 6 parts failed: selftests: timers: posix_timers > check_timer_"), "{cause}");
}

#[test]
fn a_kunit_log_with_kernel_timestamps_is_parsed() {
    let text = "[    0.912345] unrelated: ok then\n\
        [    1.000001] KTAP version 1\n\
        [    1.000002] 1..2\n\
        [    1.000003]     KTAP version 1\n\
        [    1.000004]     # Subtest: example\n\
        [    1.000005]     # module: kunit_example_test\n\
        [    1.000006]     1..3\n\
        [    1.000007]     # example_simple_test: initializing\n\
        [    1.000008]     # example_simple_test: EXPECTATION FAILED at lib/kunit/kunit-example-test.c:29\n\
        [    1.000009]     Expected 1 + 1 == 3, but\n\
        [    1.000010]         1 + 1 == 2 (0x2)\n\
        [    1.000011]     not ok 1 example_simple_test\n\
        [    1.000012]     # example_skip_test: initializing\n\
        [    1.000013]     ok 2 example_skip_test # SKIP this test should be skipped\n\
        [    1.000014]         KTAP version 1\n\
        [    1.000015]         # Subtest: example_params_test\n\
        [    1.000016]         ok 1 example value 3\n\
        [    1.000017]         ok 2 example value 2\n\
        [    1.000018]     # example_params_test: pass:2 fail:0 skip:0 total:2\n\
        [    1.000019]     ok 3 example_params_test\n\
        [    1.000020] # example: pass:1 fail:1 skip:1 total:3\n\
        [    1.000021] # Totals: pass:2 fail:1 skip:1 total:4\n\
        [    1.000022] not ok 1 example\n\
        [    1.000023]     # Subtest: old\n\
        [    1.000024]     1..1\n\
        [    1.000025]     ok 1 - old_style\n\
        [    1.000026] ok 2 - old\n";
    let cause = reads(
        text,
        &[
            "failed: example > example_simple_test example_simple_test: initializing | example_simple_test: EXPECTATION \
             FAILED at lib/kunit/kunit-example-test.c:29 | Expected 1 + 1 == 3, but | 1 + 1 == 2 (0x2)",
            "skipped: example > example_skip_test this test should be skipped",
            "passed: example > example_params_test > example value 3",
            "passed: example > example_params_test > example value 2",
            "passed: old > old_style",
        ],
    );
    assert_eq!(cause.as_deref(), Some("1 of 5 parts failed: example > example_simple_test"));
}

#[test]
fn the_example_in_the_kernel_documentation_is_parsed() {
    let text = "KTAP version 1\n1..1\n  KTAP version 1\n  1..3\n    KTAP version 1\n    1..1\n    # test_1: initializing test_1\n    ok 1 test_1\n  ok 1 example_test_1\n    KTAP version 1\n    1..2\n    ok 1 test_1 # SKIP test_1 skipped\n    ok 2 test_2\n  ok 2 example_test_2\n    KTAP version 1\n    1..3\n    ok 1 test_1\n    # test_2: FAIL\n    not ok 2 test_2\n    ok 3 test_3 # SKIP test_3 skipped\n  not ok 3 example_test_3\nnot ok 1 main_test\n";
    reads(
        text,
        &[
            "passed: main_test > example_test_1 > test_1",
            "skipped: main_test > example_test_2 > test_1 test_1 skipped",
            "passed: main_test > example_test_2 > test_2",
            "passed: main_test > example_test_3 > test_1",
            "failed: main_test > example_test_3 > test_2 test_2: FAIL",
            "skipped: main_test > example_test_3 > test_3 test_3 skipped",
        ],
    );
}

#[test]
fn tap_14_subtests_yaml_and_a_plan_at_the_end_are_parsed() {
    let text = "TAP version 14\n\
        # Subtest: foo.tap\n\
        \x20   ok 1 - a \\# b\n\
        \x20   not ok 2 - known # TODO later\n\
        \x20   1..2\n\
        ok 1 - foo.tap\n\
        not ok 2 - bar\n\
        \x20 ---\n\
        \x20 message: |\n\
        \x20   ok 7 is no result here\n\
        \x20 at: x.c\n\
        \x20 ...\n\
        not ok 3 - baz\n\
        #   Failed test 'baz'\n\
        #   at y.c line 3\n\
        1..3\n";
    let cause = reads(
        text,
        &[
            "passed: foo.tap > a # b",
            "todo: foo.tap > known later",
            "failed: bar message: | | ok 7 is no result here | at: x.c",
            "failed: baz Failed test 'baz' | at y.c line 3",
        ],
    );
    assert_eq!(cause.as_deref(), Some("2 of 4 parts failed: bar, baz"));
}

#[test]
fn planned_results_that_never_arrive_are_missing() {
    let cause = reads(
        "TAP version 13\n1..3\nok 1 a\nok 2 b\n",
        &["passed: a", "passed: b", "missing: plan 3 planned, 2 reported"],
    );
    assert_eq!(cause.as_deref(), Some("missing parts: plan: 3 planned, 2 reported"));
    reads("KTAP version 1\n", &["missing: plan no plan, 0 reported"]);
    reads("KTAP version 1\nok 1 a\n", &["passed: a", "missing: plan no plan, 1 reported"]);
    reads("TAP version 13\n1..1\nok 1 a\nok 2 b\n", &["passed: a", "passed: b", "failed: plan 1 planned, 2 reported"]);
    // Killed during the second suite.
    reads(
        "KTAP version 1\n1..2\n    KTAP version 1\n    # Subtest: a\n    1..1\n    ok 1 x\nok 1 a\n    KTAP version 1\n    # Subtest: b\n    1..2\n    ok 1 y\n",
        &[
            "passed: a > x",
            "passed: b > y",
            "missing: b > plan 2 planned, 1 reported",
            "missing: plan 2 planned, 1 reported",
        ],
    );
    // A passed parent does not make up for missing results.
    reads(
        "TAP version 13\n1..1\n# 1..2\n# ok 1 x\nok 1 a\n",
        &["passed: a > x", "missing: a > plan 2 planned, 1 reported"],
    );
}

#[test]
fn a_skipped_test_has_no_missing_parts() {
    assert_eq!(reads("TAP version 13\n1..0 # SKIP no device\n", &["skipped: plan no device"]), None);
    assert_eq!(reads("TAP version 13\n1..0 # Skipped: no device\n", &["skipped: plan no device"]), None);
    assert_eq!(reads("TAP version 13\n1..0 # ski lift\n", &["skipped: plan ski lift"]), None);
    // Output of ksft_exit_skip() after a plan.
    assert_eq!(reads("TAP version 13\n1..8\nok 1 # SKIP not root\n", &["skipped: 1 not root"]), None);
    let text = "TAP version 13\n1..1\n# TAP version 13\n# 1..8\n# ok 1 one\nok 1 a # SKIP not root\n";
    assert_eq!(reads(text, &["passed: a > one", "skipped: a not root"]), None);
}

#[test]
fn a_test_that_bails_out_has_failed() {
    let text = "TAP version 13\n1..5\nok 1 a\nBail out! no disk\nok 2 b\n";
    let cause = reads(text, &["passed: a", "failed: Bail out! no disk"]);
    assert_eq!(cause.as_deref(), Some("1 of 2 parts failed: Bail out!"));
    reads(
        "TAP version 13\n1..2\n# TAP version 13\n# 1..2\n# Bail out! x\nnot ok 1 a # exit=1\nok 2 b\n",
        &["failed: a > Bail out! x", "passed: b"],
    );
}

#[test]
fn a_parents_result_is_listed_if_its_parts_do_not_explain_it() {
    reads(
        "KTAP version 1\n1..3\n  KTAP version 1\n  1..1\n  ok 1 x\nnot ok 1 a # exit=139\n  KTAP version 1\n  1..1\n  not ok 1 y\nok 2 b # TODO\n  KTAP version 1\n  1..1\n  not ok 1 z\nnot ok 3 c # TODO known\n",
        &["passed: a > x", "failed: a exit=139", "failed: b > y", "todo: c > z"],
    );
}

#[test]
fn several_documents_may_follow_each_other() {
    let suite = |name| {
        format!("KTAP version 1\n1..1\n    KTAP version 1\n    # Subtest: {name}\n    1..1\n    ok 1 x\nok 1 {name}\n")
    };
    reads(&(suite("a") + "noise: 12\n" + &suite("b")), &["passed: a > x", "passed: b > x"]);
}

#[test]
fn a_number_that_is_repeated_or_beyond_the_plan_is_a_failure_as_for_prove() {
    let plan = |text: &str, expected: &str| {
        let parts = lines(&parse(text.as_bytes(), TapMode::Detect));
        assert_eq!(parts.last().map(String::as_str), Some(expected), "{text}");
    };
    plan("TAP version 13\n1..2\nok 1 a\nok 1 b\n", "failed: plan number 1 reported more than once");
    plan("TAP version 13\n1..2\nok 1 a\nok 3 b\n", "failed: plan 2 planned, number 3 reported");
    plan("TAP version 13\nok 1 a\nok 3 b\n1..2\n", "failed: plan 2 planned, number 3 reported");
    plan("TAP version 13\n1..1\nok 0 a\n", "failed: plan number 0 reported");
    let both = "failed: plan 3 planned, 2 reported; number 1 reported more than once";
    plan("TAP version 13\n1..3\nok 1 a\nok 1 b\n", both);
    let inner = "TAP version 13\n1..1\n# 1..2\n# ok 1 x\n# ok 1 y\nok 1 a\n";
    plan(inner, "failed: a > plan number 1 reported more than once");
    // Results of parallel tests arrive in any order.
    plan("TAP version 13\n1..3\nok 3 c\nok 1 a\nok 2 b\n", "passed: b");
    plan("TAP version 13\n1..2\nok a\nok b\n", "passed: b");
    let most = MAX_PARTS + 2;
    let downwards: Vec<String> = (1..=most).rev().map(|number| format!("ok {number} x\n")).collect();
    let text = format!("TAP version 13\n1..{most}\n{}", downwards.concat());
    let parts = parse(text.as_bytes(), TapMode::Detect);
    assert!(failure_cause(&parts).is_some(), "memory for numbers is bounded");
}

#[test]
fn output_without_a_version_line_is_tap_if_it_consists_of_a_plan_and_results() {
    let cause = reads("1..2\nok 1 a\nnot ok 2 b\n", &["passed: a", "failed: b"]);
    assert_eq!(cause.as_deref(), Some("1 of 2 parts failed: b"));
    reads("loading\n1..2\nok 1 a\n# trying\nnot ok 2 b\n", &["passed: a", "failed: b trying"]);
    reads("ok 1 a\nnot ok 2 b\n1..2\n", &["passed: a", "failed: b"]);
    reads("# a comment\n1..2\nok\nnot ok\n", &["passed: 1", "failed: 2"]);
    reads("1..3\nok 1 a\n", &["passed: a", "missing: plan 3 planned, 1 reported"]);
    reads("1..0 # SKIP no device\n", &["skipped: plan no device"]);
    // `prove -v` of two programs.
    reads("a.t ..\n1..1\nok 1 x\nok\nb.t ..\n1..1\nnot ok 1 y\n", &["passed: x", "failed: y"]);
}

#[test]
fn output_that_merely_resembles_tap_has_no_parts() {
    let texts = [
        "1..10\n",
        "range: 1..10\nok 1 x\n",
        "pages\n1..10\nok, printed\n",
        "hello\n1..2\nok\nok - named\n",
        "ok 1 a\nnot ok 2 b\n",
        "ok\nnot ok\n1..1\n",
        "ok 1 a\n1..2\nok 2 b\n",
        "1..2\nok 7 x\n",
        "  1..2\n  ok 1 a\n  not ok 2 b\n",
        "1..0\n",
        "1..1\nok\nok\n",
    ];
    for text in texts {
        assert_eq!(parse(text.as_bytes(), TapMode::Detect), [], "{text}");
    }
}

#[test]
fn output_that_the_manifest_declares_as_tap_needs_neither_version_line_nor_numbers() {
    let text = b"hello\n1..2\nok\nok - named\n";
    assert_eq!(lines(&parse(text, TapMode::Required)), ["passed: 1", "passed: named"]);
    assert_eq!(lines(&parse(b"hello\n", TapMode::Required)), ["missing: plan no TAP output"]);
    assert_eq!(
        failure_cause(&parse(b"hello\n", TapMode::Required)).as_deref(),
        Some("missing parts: plan: no TAP output")
    );
}

#[test]
fn a_ktap_result_needs_a_number() {
    reads("KTAP version 1\n1..1\nok then, says a driver\nok 1 a\n", &["passed: a"]);
}

#[test]
fn parts_beyond_the_limit_are_counted_and_their_failures_count() {
    let most = MAX_PARTS + 5;
    let mut text = format!("TAP version 13\n1..{most}\n");
    for number in 1..=most {
        let result = if number == most - 1 { "not ok" } else { "ok" };
        text.extend([result, " ", &number.to_string(), " x\n"]);
    }
    let parts = parse(text.as_bytes(), TapMode::Detect);
    assert_eq!(parts.len(), MAX_PARTS + 1);
    assert_eq!(lines(&parts[MAX_PARTS..]), ["failed: 5 more 1 of them failed"]);
    let good = text.replace("not ok", "ok");
    assert_eq!(failure_cause(&parse(good.as_bytes(), TapMode::Detect)), None);
}

#[test]
fn long_lines_and_deep_nesting_are_bounded() {
    let mut text = format!("KTAP version 1\n1..1\nok 1 {}\n", "x".repeat(1 << 20));
    for depth in 0..100 {
        text.extend([&"  ".repeat(depth), "KTAP version 1\n"]);
    }
    text += &"KTAP version 1\n".repeat(MAX_PARTS * 2);
    let parts = parse(text.as_bytes(), TapMode::Detect);
    assert!(parts.len() <= MAX_PARTS + 1 && failure_cause(&parts).is_some());
    assert!(parts.iter().all(|part| part.name.len() < 2000 && part.detail.len() < 10_000));
    assert_eq!(parts[0].name.len(), 163);
}

#[test]
fn written_tap_and_ktap_are_parsed_to_the_same_results() {
    use crate::suite::report::Format;
    let report = crate::suite::tests::sample::sample();
    for format in ["tap", "ktap"].map(|name| Format::named(name).expect("a format")) {
        let mut text = Vec::new();
        format.write(&report, None, &mut text).expect("memory");
        let parts = parse(&text, TapMode::Detect);
        let count = |result| parts.iter().filter(|part| part.result == result).count();
        // Two cells passed and one was flaky; one failed, as its parts show; one could not be tested, one did not run.
        assert_eq!(count(PartResult::Passed), 3 + 1, "{:#?}", lines(&parts));
        assert_eq!(count(PartResult::Failed), 2 + 2, "{:#?}", lines(&parts));
        // Two cells were skipped, one of them by its part, and so was a part of another cell.
        assert_eq!((count(PartResult::Skipped), count(PartResult::Todo), count(PartResult::Missing)), (3, 1, 0));
    }
}

/// Meaningful lines and fragments.
const WORDS: [&str; 16] = [
    "TAP version 13",
    "KTAP version 1",
    "1..2",
    "1..0 # SKIP",
    "ok 1 a",
    "not ok 2 b # TODO",
    "not ok 3",
    "  ---",
    "  ...",
    "Bail out! x",
    "# Subtest: s",
    "# ",
    "    ",
    "  ",
    "[    1.2] ",
    "x",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_sequence_of_meaningful_lines_is_parsed(
        words in proptest::collection::vec((0_usize..WORDS.len(), any::<bool>()), 0..60), sure in any::<bool>(),
    ) {
        let text: String = words.iter().flat_map(|(word, end)| [WORDS[*word], if *end { "\n" } else { "" }]).collect();
        let parts = parse(text.as_bytes(), if sure { TapMode::Required } else { TapMode::Detect });
        prop_assert!(!sure || !parts.is_empty());
        prop_assert!(parts.iter().all(|part| !part.name.is_empty()));
    }

    #[test]
    fn any_bytes_are_parsed(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut text = b"TAP version 13\n".to_vec();
        text.extend(bytes);
        // A version line always leads to a part.
        prop_assert!(!parse(&text, TapMode::Detect).is_empty());
    }
}
