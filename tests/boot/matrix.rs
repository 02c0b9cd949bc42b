//! `bootling test` with real guests: each ending of a cell and of a whole run.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::processes::{children, qemu_of, runs, signal, wait_until_gone};
use crate::support::program::scratch;
use crate::support::{Done, Kernel, Program};

/// A directory with a manifest.
struct Suite {
    dir: tempfile::TempDir,
    kernel: PathBuf,
}

impl Suite {
    /// Writes this manifest after `[kernels] k = ...`; prints the reason and returns `None` if no guest can be booted.
    fn new(test: &str, manifest: &str) -> Option<Self> {
        let kernel = Kernel::Cloud612.or_skip(test)?;
        let dir = scratch();
        let whole = format!("[kernels]\nk = {:?}\n{manifest}", kernel.display().to_string());
        fs::write(dir.path().join("bootling.toml"), whole).expect("writable directory");
        Some(Self { dir, kernel })
    }

    fn program(&self) -> Program {
        Program::new().current_dir(self.dir.path()).arg("test")
    }

    /// Runs the suite; returns the cells by test name, and the header.
    fn run(&self, options: &[&str]) -> (Done, BTreeMap<String, Value>, Value) {
        let done = self.program().args(["--jsonl", "report.jsonl"]).args(options).done();
        let (header, cells) = self.report(&done);
        (done, cells, header)
    }

    /// Parses the JSON Lines report.
    fn report(&self, done: &Done) -> (Value, BTreeMap<String, Value>) {
        let text = fs::read_to_string(self.dir.path().join("report.jsonl"))
            .unwrap_or_else(|error| panic!("no report ({error}): {}", done.stderr));
        let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let header = lines.next().expect("a header");
        let name = |cell: &Value| cell["id"].as_str().expect("an id").trim_end_matches("/k/default").to_owned();
        (header, lines.map(|cell| (name(&cell), cell)).collect())
    }
}

/// Returns test names and statuses.
fn statuses(cells: &BTreeMap<String, Value>) -> Vec<(&str, &str)> {
    cells.iter().map(|(name, cell)| (name.as_str(), cell["status"].as_str().expect("a status"))).collect()
}

fn cause(cell: &Value) -> &str {
    cell["cause"].as_str().unwrap_or("passed")
}

/// One test for each ending.
const EACH_WAY: &str = r#"
        [[test]]
        name = "passes"
        run = "cat; echo out; echo err >&2; exit 3"
        stdin = "in\n"
        status = 3
        expect = ["^in$", "^out$"]
        reject = "err"
        [[test]]
        name = "fails"
        run = "echo why >&2; exit 4"
        [[test]]
        name = "panics"
        run = "echo c >/proc/sysrq-trigger"
        [[test]]
        name = "is-to-panic"
        run = "echo c >/proc/sysrq-trigger"
        outcome = "panic"
        expect-console = "sysrq: Trigger a crash"
        [[test]]
        name = "hangs"
        command = ["sleep", "1000"]
        timeout = "5s"
        [[test]]
        name = "is-killed"
        run = "kill -SEGV $$"
        signal = "SEGV"
        [[test]]
        name = "says-nothing"
        run = "true"
        expect = "something"
        [[test]]
        name = "has-no-program"
        command = ["./no-such-program"]
        [[test]]
        name = "boots"
        run = "grep -c one /proc/cmdline"
        boot = "cold"
        [[test]]
        name = "has-a-module"
        run = "cat /sys/module/loop/parameters/max_loop"
        kmod = "loop max_loop=3"
        expect = "^3$"
        [defaults]
        append = "one"
"#;

#[test]
fn each_ending_of_a_test_is_reported_and_a_repeated_cell_ends_the_same_way() {
    let Some(suite) = Suite::new("each_ending_of_a_test", EACH_WAY) else { return };
    let (done, cells, header) = suite.run(&[]);
    let done = done.exits(1);
    let expected = [
        ("boots", "passed"),
        ("fails", "failed"),
        ("hangs", "failed"),
        ("has-a-module", "passed"),
        ("has-no-program", "error"),
        ("is-killed", "passed"),
        ("is-to-panic", "passed"),
        ("panics", "failed"),
        ("passes", "passed"),
        ("says-nothing", "failed"),
    ];
    assert_eq!(statuses(&cells), expected, "{}", done.stderr);
    assert_eq!(cause(&cells["fails"]), "exited with status 4; expected: status 0");
    assert_eq!(cells["fails"]["attempts"][0]["stderr"], "why\n");
    assert!(cause(&cells["panics"]).starts_with("the guest's kernel panicked: "), "{}", cells["panics"]);
    assert!(cause(&cells["hangs"]).starts_with("timed out: "), "{}", cells["hangs"]);
    assert!(cause(&cells["has-no-program"]).contains("no-such-program"), "{}", cells["has-no-program"]);
    let boot = |name: &str| cells[name]["attempts"][0]["boot"].as_str().map(str::to_owned);
    assert_eq!((boot("boots").as_deref(), boot("passes").as_deref()), (Some("cold"), Some("warm")));
    assert_eq!((&header["planned"], &header["ended_early"]), (&Value::from(10), &Value::Null));
    assert!(header["kernels"]["k"].as_str().is_some_and(|release| release.starts_with("6.12.")), "{header}");
    let done = done.says("10 cells in ").says("5 passed, 4 failed, 1 could not be tested");
    let done = done.says("reproduce: bootling test --only fails/k/default").says("| why");
    // The last console lines are shown if the kernel crashed.
    done.says("      console:\n      | ");
    let (done, cells, _) = suite.run(&["--only", "fails/k/default", "--quiet"]);
    done.exits(1);
    assert_eq!(statuses(&cells), [("fails", "failed")]);
}

#[test]
fn tests_that_share_a_guest_survive_the_one_that_crashes_it() {
    let manifest = r#"
        [defaults]
        isolate = "none"
        [[test]]
        name = "a"
        run = "touch /tmp/seen"
        [[test]]
        name = "b"
        run = "test -e /tmp/seen"
        [[test]]
        name = "c"
        run = "exit 5"
        [[test]]
        name = "d"
        run = "test -e /tmp/seen && echo c >/proc/sysrq-trigger"
        [[test]]
        name = "e"
        run = "test ! -e /tmp/seen"
        [[test]]
        name = "f"
        run = "true"
    "#;
    let Some(suite) = Suite::new("tests_that_share_a_guest", manifest) else { return };
    let (done, cells, _) = suite.run(&["-j", "1"]);
    let done = done.exits(1);
    let expected =
        [("a", "passed"), ("b", "passed"), ("c", "failed"), ("d", "failed"), ("e", "passed"), ("f", "passed")];
    assert_eq!(statuses(&cells), expected, "{}", done.stderr);
    assert!(cause(&cells["d"]).contains("panicked"), "{}", cells["d"]);
    let boots: Vec<&str> = cells.values().filter_map(|cell| cell["attempts"][0]["boot"].as_str()).collect();
    assert_eq!(boots, ["warm", "shared", "shared", "shared", "warm", "shared"]);
}

#[test]
fn a_test_that_passes_on_retry_is_flaky() {
    let manifest = r#"
        [defaults]
        isolate = "none"
        retries = 1
        [[test]]
        name = "a"
        run = "touch /tmp/dirty"
        [[test]]
        name = "b"
        run = "test ! -e /tmp/dirty"
        [[test]]
        name = "c"
        run = "false"
    "#;
    let Some(suite) = Suite::new("a_test_that_passes_on_retry", manifest) else { return };
    let (done, cells, _) = suite.run(&["-j", "1"]);
    let done = done.exits(1).says("FLAKY b/k/default").says("1 passed, 1 flaky, 1 failed");
    assert_eq!(statuses(&cells), [("a", "passed"), ("b", "flaky"), ("c", "failed")], "{}", done.stderr);
    let tries = |name: &str| cells[name]["attempts"].as_array().map_or(0, Vec::len);
    assert_eq!((tries("a"), tries("b"), tries("c")), (1, 2, 2));
    let (done, ..) = suite.run(&["-j", "1", "-t", "[ab]"]);
    done.exits(0);
}

#[test]
fn fail_fast_starts_no_cell_after_a_failure() {
    let manifest = r#"
        [[test]]
        name = "bad"
        run = "false"
        [[test]]
        name = "never"
        run = "true"
        repeat = 3
    "#;
    let Some(suite) = Suite::new("fail_fast_starts_no_cell", manifest) else { return };
    let (done, cells, header) = suite.run(&["-j", "1", "--fail-fast"]);
    done.exits(1).says("ended early: one cell failed (--fail-fast)").says("1 failed, 3 not run");
    assert_eq!(cells.values().filter(|cell| cell["status"] == "not-run").count(), 3);
    assert_eq!(header["ended_early"], "one cell failed (--fail-fast)");
}

/// A test that does not end, and a test that does.
const SLEEPER: &str = r#"
    [[test]]
    name = "sleeps"
    command = ["sleep", "1000"]
    boot = "cold"
    [[test]]
    name = "waits"
    run = "true"
"#;

#[test]
fn an_interrupted_suite_writes_its_report_and_leaves_no_qemu() {
    let Some(suite) = Suite::new("an_interrupted_suite_writes_its_report", SLEEPER) else { return };
    let running = suite.program().args(["--jsonl", "report.jsonl", "-j", "1"]).start();
    let (bootling, qemu) = (running.pid(), qemu_of(running.pid()));
    signal(bootling, Signal::INT);
    // The cell that ran is reported with what is known about it.
    let done = running.done().exits(130).says("ended early: interrupted (SIGINT)").says("1 not run");
    let done = done.says("interrupted (SIGINT); the guest was stopped").says("hang: ");
    wait_until_gone(qemu);
    let (header, cells) = suite.report(&done);
    assert_eq!(header["ended_early"], "interrupted (SIGINT)");
    assert_eq!(statuses(&cells), [("sleeps", "error"), ("waits", "not-run")]);
}

#[test]
fn a_killed_suite_leaves_no_qemu_and_no_report() {
    let Some(suite) = Suite::new("a_killed_suite_leaves_no_qemu", SLEEPER) else { return };
    let running = suite.program().args(["--jsonl", "report.jsonl"]).start();
    let qemu = qemu_of(running.pid());
    let all = children(running.pid(), "qemu-system");
    signal(running.pid(), Signal::KILL);
    for pid in all.into_iter().chain([qemu]) {
        wait_until_gone(pid);
        assert!(!runs(pid));
    }
    assert_eq!(running.done().signal, Some(9));
    assert!(!suite.dir.path().join("report.jsonl").exists());
}

#[test]
fn guests_over_the_memory_budget_run_one_after_another() {
    let manifest = r#"
        [machines]
        default = { memory = 512 }
        [[test]]
        name = "t"
        run = "true"
        repeat = 3
        boot = "cold"
    "#;
    let Some(suite) = Suite::new("guests_over_the_memory_budget", manifest) else { return };
    let (done, cells, _) = suite.run(&["-j", "3", "--memory-budget", "1000M"]);
    done.exits(0);
    let mut times: Vec<(f64, f64)> = cells
        .values()
        .map(|cell| {
            let times = &cell["attempts"][0]["times"];
            let begun = times["begun"].as_f64().expect("a time");
            (begun, begun + times["total"].as_f64().expect("a time"))
        })
        .collect();
    times.sort_by(|one, other| one.0.total_cmp(&other.0));
    assert_eq!(times.len(), 3);
    assert!(times.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{times:?}");
    let (done, ..) = suite.run(&["--memory-budget", "100M", "#1"]);
    done.exits(0).says("machine default needs 640 MiB, more than the 100 MiB for all guests: its guests run alone");
}

#[test]
fn a_missing_kernel_fails_only_its_cells_and_is_reported_once() {
    let manifest = r#"
        gone = "./gone.deb"
        [[test]]
        name = "one"
        run = "true"
        [[test]]
        name = "two"
        run = "true"
    "#;
    let Some(suite) = Suite::new("a_missing_kernel", manifest) else { return };
    let (done, cells, _) = suite.run(&[]);
    let done = done.exits(1).says("all 2 cells of gone on default").says("2 passed, 2 could not be tested");
    assert_eq!(done.stderr.lines().filter(|line| line.contains("gone.deb")).count(), 1, "{}", done.stderr);
    let count = |status: &str| cells.values().filter(|cell| cell["status"] == status).count();
    assert_eq!((count("passed"), count("error")), (2, 2));
    assert!(cause(&cells["one/gone/default"]).contains("gone.deb"));
    let (done, ..) = suite.run(&["--kernel", "gone"]);
    done.exits(125);
    // Another kernel in its place.
    let given = format!("gone={}", suite.kernel.display());
    let (done, ..) = suite.run(&["--kernel", "gone", "-K", &given]);
    done.exits(0);
}

#[test]
fn the_starter_manifest_runs_and_does_not_overwrite_another_manifest() {
    let Some(kernel) = Kernel::Cloud612.or_skip("the_starter_manifest_runs") else { return };
    let dir = scratch();
    let program = || Program::new().current_dir(dir.path()).arg("test");
    program().arg("--init").done().exits(0).says("wrote bootling.toml");
    program().arg("--init").done().exits(125).says("bootling.toml: file already exists");
    program().arg("-K").arg(kernel).done().exits(0).says("7 cells in ").says("7 passed");
}

#[test]
fn cells_are_listed_in_manifest_order() {
    let dir = scratch();
    let manifest = r#"
        [kernels]
        a = "a.deb"
        b = { kernel = "b.deb", tags = ["slow"] }
        [[test]]
        name = "one"
        run = "x"
        tags = "quick"
        [[test]]
        name = "two"
        run = "x"
        repeat = 2
        kernels = "a"
    "#;
    fs::write(dir.path().join("my.toml"), manifest).expect("writable directory");
    let list = |options: &[&str]| {
        let done = Program::new().current_dir(dir.path()).args(["test", "my.toml", "--list"]).args(options).done();
        done.exits(0).text()
    };
    let all = "one/a/default  [quick]\none/b/default  [quick, slow]\ntwo/a/default#1\ntwo/a/default#2\n";
    assert_eq!(list(&[]), all);
    assert_eq!(list(&["two", "--shard", "1/1"]), "two/a/default#1\ntwo/a/default#2\n");
    assert_eq!(list(&["--tag", "quick", "--skip-tag", "slow"]), "one/a/default  [quick]\n");
    let json: Value = serde_json::from_str(&list(&["--json", "--kernel", "b"])).expect("JSON");
    assert_eq!((&json[0]["id"], &json[0]["tags"][1]), (&"one/b/default".into(), &"slow".into()));
}

#[test]
fn errors_in_a_manifest_or_a_selection_are_reported_and_are_125() {
    let dir = scratch();
    let program = || Program::new().current_dir(dir.path()).arg("test");
    program().done().exits(125).says("bootling test --init");
    let manifest = "[[test]]\nname = \"t\"\nrun = \"true\"\ntimout = \"5s\"\n";
    fs::write(dir.path().join("bootling.toml"), manifest).expect("writable directory");
    let done = program().done().exits(125);
    let expected = "error: failed to read bootling.toml\n\
                    bootling.toml:4:1: unknown key \"timout\"; did you mean \"timeout\"?\n \
                    4 | timout = \"5s\"\n   | ^^^^^^\n";
    assert_eq!(done.stderr, expected);
    fs::write(dir.path().join("bootling.toml"), manifest.replace("timout", "timeout")).expect("writable directory");
    program().args(["--kernel", "defualt"]).done().exits(125).says("did you mean \"default\"?");
    program().arg("nothing").done().exits(125).says("none of the manifest's 1 cells matches");
    program().args(["--shard", "3/2"]).done().exits(2).says("INDEX/TOTAL");
    // Detected before any guest runs.
    program().args(["--jsonl", "no/such/folder"]).done().exits(125).says("no/such/folder");
}
