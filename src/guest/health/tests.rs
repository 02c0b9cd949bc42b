//! Tests with reports of real kernels and from the kernel documentation (see `tests/fixtures/health/README.md`).

use proptest::prelude::{Strategy, any, prop, proptest};

use super::line::Line;
use super::{FINDINGS, Finding, HealthSummary, Kind, LINE_BYTES, LINES, Log, Reader};
use crate::format::protocol::frame::Lost;

/// Content of a fixture.
macro_rules! fixture {
    ($name:expr) => {
        include_bytes!(concat!("../../../tests/fixtures/health/", $name)).as_slice()
    };
}

/// Findings from pid 1's report only.
pub(super) fn by_records(records: &[u8]) -> Vec<Finding> {
    let mut log = Log::default();
    // In pieces, as in frames.
    for record in records.split_inclusive(|byte| *byte == b'\n') {
        log.take_records(Lost::Nothing, record);
    }
    let HealthSummary { findings, notes } = log.finish(Some((0, 0)));
    assert_eq!(notes, [""; 0]);
    findings
}

/// Findings from the console only.
fn by_console(console: &[u8]) -> Vec<Finding> {
    let mut log = Log::default();
    for piece in console.chunks(7) {
        log.take_console(piece);
    }
    log.finish(None).findings
}

/// Kind, title, first line, last line, number of lines.
type Expected = (Kind, &'static str, &'static str, &'static str, usize);

#[test]
fn a_report_of_one_line_is_kept_beside_the_report_that_it_ends() {
    let bug = "BUG: Bad page state in process sh  pfn:00001";
    let killed = "Out of memory: Killed process 80 (tail) total-vm:1kB";
    let found = by_records(format!("1,1,1000000,-;{bug}\n3,2,1100000,-;{killed}\n").as_bytes());
    let seen: Vec<_> = found.iter().map(|finding| (finding.kind, finding.title.as_str())).collect();
    assert_eq!(seen, [(Kind::OtherBug, bug), (Kind::OutOfMemory, killed)]);
}

#[test]
fn real_reports_are_extracted_identically_from_the_log_and_from_the_console() {
    let registers = "PKRU: 55555554";
    let cases: [(&[u8], &[u8], &[Expected]); 8] = [
        (
            fixture!("warn.kmsg"),
            fixture!("warn.console"),
            &[(
                Kind::Warning,
                "WARNING: CPU: 0 PID: 80 at /tmp/health-mod/misbehave.c:64 set_how+0x42/0x29b [misbehave]",
                "------------[ cut here ]------------",
                "---[ end trace 0000000000000000 ]---",
                47,
            )],
        ),
        (
            fixture!("bug.kmsg"),
            fixture!("bug.console"),
            &[(Kind::Bug, "kernel BUG at /tmp/health-mod/misbehave.c:68!", CUT, registers, 60)],
        ),
        (
            fixture!("oops.kmsg"),
            fixture!("oops.console"),
            &[(Kind::Oops, NULL, NULL, "note: sh[81] exited with irqs disabled", 72)],
        ),
        (fixture!("gpf.kmsg"), fixture!("gpf.console"), &[(Kind::Oops, GPF, GPF, registers, 52)]),
        (fixture!("soft.kmsg"), fixture!("soft.console"), &[(Kind::SoftLockup, SOFT, SOFT, " </TASK>", 50)]),
        (
            fixture!("hung.kmsg"),
            fixture!("hung.console"),
            &[(Kind::HungTask, HUNG_1, HUNG_1, " </TASK>", 42), (Kind::HungTask, HUNG_2, HUNG_2, " </TASK>", 42)],
        ),
        (fixture!("rcu.kmsg"), fixture!("rcu.console"), &[(Kind::RcuStall, RCU, RCU, " </TASK>", 47)]),
        (fixture!("oom.kmsg"), fixture!("oom.console"), &[(Kind::OutOfMemory, OOM, INVOKED, OOM, 92)]),
    ];
    for (records, console, expected) in cases {
        let found = by_records(records);
        let seen: Vec<_> = found
            .iter()
            .map(|finding| {
                let (first, last) =
                    (finding.lines.first().map(String::as_str), finding.lines.last().map(String::as_str));
                let ends = (first.unwrap_or_default(), last.unwrap_or_default());
                (finding.kind, finding.title.as_str(), ends.0, ends.1, finding.lines.len())
            })
            .collect();
        assert_eq!(seen, expected);
        assert!(found.iter().all(|finding| finding.at.is_some_and(|at| at > 1.0)), "{found:?}");
        assert_eq!(by_console(console), found);
    }
}

const CUT: &str = "------------[ cut here ]------------";
const NULL: &str = "BUG: kernel NULL pointer dereference, address: 0000000000000008";
const GPF: &str = "general protection fault, maybe for address 0x1: 0000 [#1] PREEMPT SMP NOPTI";
const SOFT: &str = "watchdog: BUG: soft lockup - CPU#0 stuck for 3s! [sh:80]";
const HUNG_1: &str = "INFO: task sh:80 blocked for more than 1 seconds.";
const HUNG_2: &str = "INFO: task sh:80 blocked for more than 2 seconds.";
const RCU: &str = "rcu: INFO: rcu_preempt self-detected stall on CPU";
const INVOKED: &str =
    "tail invoked oom-killer: gfp_mask=0x140dca(GFP_HIGHUSER_MOVABLE|__GFP_COMP|__GFP_ZERO), order=0, oom_score_adj=0";
const OOM: &str = "Out of memory: Killed process 81 (tail) total-vm:180336kB, anon-rss:178092kB, file-rss:4kB, \
                   shmem-rss:1344kB, UID:0 pgtables:384kB oom_score_adj:0";

#[test]
fn reports_in_documented_formats_are_extracted_whole() {
    // Each fixture has one unrelated line before and after the report.
    macro_rules! documented {
        ($($name:literal: $kind:ident),* $(,)?) => {
            [$(($name, fixture!(concat!("documented/", $name, ".log")), Kind::$kind)),*]
        };
    }
    let cases = documented![
        "kasan": Kasan,
        "kmsan": Kmsan,
        "kfence": Kfence,
        "kcsan": Kcsan,
        "ubsan": Ubsan,
        "ubsan-6.8": Ubsan,
        "lockdep": Lockdep,
        "lockdep-rcu": Lockdep,
        "lockdep-context": Lockdep,
        "warning-6.19": Warning,
        "oops-6.12": Oops,
        "bug-6.12": Bug,
        "hard-lockup": HardLockup,
        "hard-lockup-6.5": HardLockup,
        "rcu-tasks": RcuStall,
        "sleeping": OtherBug,
        "slab": OtherBug,
        "rss": OtherBug,
        "page": OtherBug,
        "oom-cgroup": OutOfMemory,
        "panic": Panic,
    ];
    for (name, text, kind) in cases {
        let text = std::str::from_utf8(text).expect("UTF-8");
        let stamped: Vec<String> =
            text.lines().skip(1).zip(0..).map(|(line, at)| format!("[{at:5}.000001] {line}\r\n")).collect();
        let found = by_console(stamped.concat().as_bytes());
        let [finding] = found.as_slice() else { panic!("{name}: {found:#?}") };
        assert_eq!(finding.kind, kind, "{name}");
        let whole: Vec<&str> = text.lines().skip(1).filter(|line| !line.ends_with(": nothing to see")).collect();
        // Blank lines before a rule are not part of the report.
        let whole: Vec<&str> = whole.into_iter().skip_while(|line| line.is_empty()).collect();
        assert_eq!(finding.lines, whole, "{name}");
        assert!(finding.title.len() > 10 && whole.iter().any(|line| line.trim() == finding.title), "{name}");
        // Printed by a task or CPU that the kernel names, interleaved with lines of another.
        let mixed: Vec<String> = text
            .lines()
            .skip(1)
            .zip(0..)
            .flat_map(|(line, at)| {
                [format!("[{at:5}.000001][   T57] {line}\n"), format!("[{at:5}.000002][    C1] something else\n")]
            })
            .collect();
        let found = by_console(mixed.concat().as_bytes());
        let [finding] = found.as_slice() else { panic!("{name}, mixed: {found:#?}") };
        assert_eq!(finding.lines, whole, "{name}, mixed");
    }
}

#[test]
fn a_healthy_boot_and_messages_of_programs_have_no_findings() {
    assert_eq!(by_records(fixture!("healthy-6.1.kmsg")), []);
    let harmless = b"4,1,1000000,-;x86/cpu: a BUG: in the middle of a line\n\
        12,2,1000000,-;BUG: a program says so\n\
        8,3,1000000,-;Kernel panic - not syncing: a program says so\n\
        6,4,1000000,-;BUG: at most information\n\
        4,5,1000000,-;WARNING: Spectre v2 mitigation leaves CPU vulnerable\n\
        4,6,1000000,-;[Firmware Bug]: TSC_DEADLINE disabled\n\
        3,7,1000000,-;traps: prog[5] general protection fault ip:401136 sp:7ffd0 error:0 in prog[401000+1000]\n\
        3,8,1000000,-;ACPI BIOS Error (bug): Could not resolve symbol\n\
        6,9,1000000,-;NMI watchdog: Enabled. Permanently consumes one hw-PMU counter.\n\
        6,10,1000000,-;rcu: RCU calculated value of scheduler-enlistment delay is 25 jiffies.\n\
        4,11,1000000,-;------------[ cut here ]------------\n\
        no record at all\n;\n,,,;\n\xff\xfe;x\n";
    assert_eq!(by_records(harmless), []);
    let console = b"[    1.000000] fine\r\nBUG: a program says so\r\nroot# Kernel panic - not syncing: no\r\n";
    assert_eq!(by_console(console), []);
    // Without timestamps, program output is indistinguishable from kernel messages.
    assert_eq!(by_console(b"BUG: the kernel says so\n").len(), 1);
}

#[test]
fn pid_1_takes_precedence_and_the_console_fills_gaps() {
    let warn = |log: &mut Log| log.take_console(b"[    1.500000] BUG: one\n[    2.500000] BUG: two\n");
    let record = |log: &mut Log, lost| log.take_records(lost, b"1,1,1500000,-;BUG: one\n");
    let titles = |log: Log, taint| {
        let result = log.finish(taint);
        let titles: Vec<String> = result.findings.into_iter().map(|finding| finding.title).collect();
        (titles, result.notes.len())
    };
    // pid 1's report is complete: further console lines were written by programs.
    let mut log = Log::default();
    warn(&mut log);
    record(&mut log, Lost::Nothing);
    assert_eq!(titles(log, Some((0, 0))), (vec!["BUG: one".to_owned()], 0));
    for (lost, taint, notes) in [(Lost::Overwritten, Some((0, 0)), 1), (Lost::Nothing, None, 0)] {
        let mut log = Log::default();
        warn(&mut log);
        record(&mut log, lost);
        assert_eq!(titles(log, taint), (vec!["BUG: one".to_owned(), "BUG: two".to_owned()], notes));
    }
}

#[test]
fn processes_are_listed_by_name_and_an_unkillable_one_only_once() {
    let mut log = Log::default();
    log.take_left(7, false, b"daemon\x1b[31m");
    log.take_left(8, false, b"stuck");
    log.take_left(8, true, b"stuck\n[<0>] ours_wait+0x1/0x2 [ours]\n[<0>] do_syscall_64+0x1/0x2\n");
    let found = log.finish(Some((0, 0))).findings;
    let seen: Vec<_> =
        found.iter().map(|finding| (finding.kind, finding.title.as_str(), finding.lines.len())).collect();
    assert_eq!(seen, [(Kind::Unkillable, "stuck (8)", 3), (Kind::Leaked, "daemon (7)", 1)]);
}

#[test]
fn a_repeated_report_does_not_displace_others() {
    let mut log = Log::default();
    for number in 0..1000 {
        log.take_records(Lost::Nothing, format!("4,{number},{number}000000,-;BUG: again, {number}\n").as_bytes());
    }
    log.take_records(Lost::Nothing, b"1,1000,2000000000,-;BUG: another\n");
    let result = log.finish(Some((0, 0)));
    assert_eq!(result.findings.len(), 5, "{:?}", result.findings);
    assert_eq!(result.findings[4].title, "BUG: another");
    assert_eq!(result.notes.len(), 1, "{:?}", result.notes);
}

#[test]
fn endless_reports_are_kept_within_bounds() {
    let mut log = Log::default();
    for number in 0..1000 {
        let name = "x".repeat(number);
        log.take_records(Lost::Nothing, format!("1,{number},{number}000000,-;BUG: {name}\n").as_bytes());
    }
    let result = log.finish(Some((0, 0)));
    assert_eq!(result.findings.len(), FINDINGS);
    assert_eq!(result.notes.len(), 1, "{:?}", result.notes);
    let mut log = Log::default();
    log.take_console(b"[    1.000000] Kernel panic - not syncing: x\n");
    for _ in 0..100_000 {
        log.take_console(&[b'x'; 300]);
        log.take_console(b"\n[    1.000000]  part\n");
    }
    let found = log.finish(None).findings;
    assert!(found.len() == 1 && found[0].lines.len() <= LINES, "{}", found[0].lines.len());
    assert!(found[0].lines.iter().all(|line| line.len() <= LINE_BYTES));
}

#[test]
fn every_kind_has_the_same_name_as_in_serde() {
    for kind in Kind::ALL {
        assert_eq!(serde_json::to_value(kind).expect("a string"), kind.name());
        assert_eq!(kind.name().parse(), Ok(kind));
    }
    assert!(Kind::ALL.is_sorted());
    assert!("none".parse::<Kind>().expect_err("unknown").contains("soft-lockup"));
}

/// Text with many fragments of reports.
fn logs() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "BUG: ",
        "WARNING: CPU: ",
        CUT,
        "\n",
        "\n[    1.000000] ",
        "[",
        "]",
        "; ",
        "4,1,1,-;",
        "INFO: task x blocked for more than 1 seconds",
        "---[ end ",
        "=====================",
        "Call Trace:",
        " <TASK>",
        "Oops: 0000 [#1]",
        "\\x0",
        "é",
        "\r",
        "x invoked oom-killer: ",
        "Out of memory: Killed process 1",
        "caller=T1",
        ",",
        ";",
    ]);
    prop::collection::vec((words, any::<u8>()), 0..60)
        .prop_map(|parts| parts.into_iter().flat_map(|(word, byte)| [word.as_bytes(), &[byte]].concat()).collect())
}

proptest! {
    #[test]
    fn no_log_makes_the_reader_panic_or_exceed_its_bounds(bytes in logs(), records in logs(), whole: bool) {
        let mut log = Log::default();
        log.take_console(&bytes);
        log.take_records(Lost::Overwritten, &records);
        log.take_left(1, whole, &bytes);
        let result = log.finish(whole.then_some((0, u64::MAX)));
        for finding in result.findings {
            assert!(finding.lines.len() <= LINES);
            assert!(!finding.title.chars().chain(finding.lines.iter().flat_map(|line| line.chars())).any(char::is_control));
        }
    }

    #[test]
    fn a_log_line_is_parsed_as_the_kernel_wrote_it(level in 0_u8..8, micros in 0..1_u64 << 40, text in "[ -Z^-~]{0,200}") {
        let record = format!("{level},1,{micros},-,caller=T7;{text}");
        let lines = Line::of_record(record.as_bytes()).expect("a record");
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        assert_eq!((line.level, line.caller), (Some(level), Some((b'T', 7))));
        assert_eq!(line.text, text.trim_end());
        let console = format!("[{:5}.{:06}][    T7] {text}\r", micros / 1_000_000, micros % 1_000_000);
        let same = Line::of_console(console.as_bytes());
        assert_eq!((same.at, same.caller, same.text.as_str()), (line.at, line.caller, line.text.as_str()));
    }
}

/// A reader without input.
#[test]
fn an_empty_log_is_healthy() {
    assert_eq!(Reader::default().finish(), (Vec::new(), 0));
    assert_eq!(Log::default().finish(Some((0, 0))), HealthSummary::default());
}
