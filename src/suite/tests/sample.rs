//! Sample reports for tests: one with a cell of each kind, and large ones.

use std::collections::BTreeMap;

use super::fixtures::{output, spec};
use crate::guest::hang::Hang;
use crate::guest::health::{Finding, Kind};
use crate::guest::verdict::Outcome;
use crate::suite::judge::Judge;
use crate::suite::report::{self, Attempt, CellReport, Header, Part, PartResult, Report, StartMode, Status, Times};
use crate::suite::tap_parser::{TapMode, parse};

/// Text that tries to break out of every format.
pub(crate) const HOSTILE: &str = "</script><b>\"'&\u{1b}[31m\0]]>\n...\n  ---\nok 9 # SKIP\n";

fn cell(test: &str, status: Status, attempts: Vec<Attempt>) -> CellReport {
    CellReport {
        id: format!("{test}/6.1/q35"),
        test: test.to_owned(),
        kernel: "6.1".to_owned(),
        machine: "q35".to_owned(),
        tags: vec!["quick".to_owned()],
        status,
        cause: attempts.last().and_then(|attempt| attempt.cause.clone()),
        attempts,
        repeat: format!("bootling test --only '{test}/6.1/q35'"),
        ..CellReport::default()
    }
}

/// Returns an attempt with times.
pub(crate) fn attempt(cause: Option<&str>, exit_code: u8) -> Attempt {
    Attempt {
        passed: cause.is_none(),
        cause: cause.map(str::to_owned),
        outcome: Some("exited".to_owned()),
        exit_code,
        boot: StartMode::Warm,
        times: Times { start: 0.5, prepared: 0.01, hello: Some(0.2), command: Some(0.21), verdict: 0.25, total: 0.26 },
        max_rss_kib: Some(900),
        stdout: "hello\n".to_owned(),
        ..Attempt::default()
    }
}

fn part(name: &str, result: PartResult, detail: &str) -> Part {
    Part { name: name.to_owned(), result, detail: detail.to_owned(), expectation: None }
}

/// Returns an attempt that planned three parts and skipped itself at the first, with its real verdict: the missing
/// parts are not failures.
fn skipped_early() -> Attempt {
    let spec = spec("[[test]]\nname = 'driver'\nrun = 'x'\nskip-status = 4\n");
    let tap = "TAP version 13\n1..3\nok 1 # SKIP no such driver\n";
    let output = output(Outcome::Exited { status: 4 }, tap);
    Judge::new(&spec.tests[0]).attempt(&output, StartMode::Warm, None, parse(tap.as_bytes(), TapMode::Detect))
}

/// Returns a report with one cell of each kind and every kind of detail.
pub(crate) fn sample() -> Report {
    let hung = Attempt {
        outcome: Some("timed-out".to_owned()),
        hang: Some(Hang {
            summary: vec!["vCPU 0 spins in native_safe_halt".to_owned()],
            report: "vCPU 0: rip native_safe_halt+0xb".to_owned(),
        }),
        console: vec!["[    1.0] last words".to_owned()],
        stderr: HOSTILE.to_owned(),
        ..attempt(Some("timed out after 5 s"), 124)
    };
    let warned = Attempt {
        health: vec![Finding {
            kind: Kind::Warning,
            title: "WARNING: CPU: 0 PID: 1 at fs/x.c:7 f+0x1/0x2".to_owned(),
            lines: vec!["WARNING: CPU: 0 PID: 1 at fs/x.c:7 f+0x1/0x2".to_owned(), "Call Trace:".to_owned()],
            at: Some(1.5),
        }],
        stdout: HOSTILE.to_owned(),
        parts: vec![
            part("suite > good", PartResult::Passed, ""),
            part("suite > bad #2", PartResult::Failed, "1 != 2\nat x.c:3"),
            part("suite > other", PartResult::Skipped, "no such device"),
            part("suite > known", PartResult::Todo, "not yet"),
            part("plan", PartResult::Missing, "6 planned, 4 reported"),
        ],
        ..attempt(Some(HOSTILE), 1)
    };
    let why = "no such device, <x> # SKIP";
    let skipped = Attempt { skipped: true, ..attempt(Some(why), 4) };
    let mut cells = vec![
        cell("boot", Status::Passed, vec![attempt(None, 0)]),
        cell("net", Status::Flaky, vec![attempt(Some("exited with status 1"), 1), attempt(None, 0)]),
        cell("kselftest", Status::Failed, vec![hung, warned]),
        cell("module", Status::Error, vec![Attempt { outcome: None, ..attempt(Some("module x not found"), 125) }]),
        cell("late", Status::NotRun, Vec::new()),
        cell("boot#2", Status::Passed, vec![attempt(None, 0)]),
        cell("hardware", Status::Skipped, vec![skipped]),
        cell("driver", Status::Skipped, vec![skipped_early()]),
    ];
    cells[1].cause = Some("exited with status 1".to_owned());
    cells[5].id = "boot/6.1/q35#2".to_owned();
    cells[5].test = "boot".to_owned();
    cells[5].repetition = Some(2);
    number(&mut cells);
    Report { header: header(&cells), cells }
}

fn header(cells: &[CellReport]) -> Header {
    Header {
        format: report::FORMAT.to_owned(),
        version: report::VERSION,
        bootling: "0.1.0".to_owned(),
        suite: "smoke".to_owned(),
        started: 1_767_323_045.5,
        duration_s: 2.5,
        shard: None,
        run: None,
        plan: "abc".to_owned(),
        planned: cells.len(),
        kernels: BTreeMap::from([("6.1".to_owned(), "6.1.0-41-amd64".to_owned())]),
        qemu: Some("7.2.19".to_owned()),
        ended_early: None,
    }
}

/// Returns a report with `count` cells over ten kernels and ten machines; one in fifty failed.
pub(crate) fn many(count: usize) -> Report {
    let failed = sample().cells[2].attempts.clone();
    let mut cells: Vec<_> = (0..count)
        .map(|number| {
            let bad = number % 50 == 7;
            let (test, kernel, machine) = (number / 100, number / 10 % 10, number % 10);
            let test = format!("test-{test}");
            let mut cell = if bad {
                cell(&test, Status::Failed, failed.clone())
            } else {
                cell(&test, Status::Passed, vec![attempt(None, 0)])
            };
            cell.kernel = format!("6.{kernel}");
            cell.machine = format!("machine-{machine}");
            cell.id = format!("{test}/{}/{}", cell.kernel, cell.machine);
            cell
        })
        .collect();
    number(&mut cells);
    Report { header: header(&cells), cells }
}

fn number(cells: &mut [CellReport]) {
    for (place, cell) in cells.iter_mut().enumerate() {
        cell.place = place;
    }
}
