//! `bootling compare`: the same command in two guests.

use serde_json::Value;

use crate::support::program::scratch;
use crate::support::{Done, Kernel, Program};

/// Returns `bootling compare --kernel CLOUD`, the kernel of both sides.
fn compare(test: &str) -> Option<Program> {
    let package = Kernel::Cloud612.or_skip(test)?;
    Some(Program::new().args(["compare", "--kernel"]).arg(package))
}

/// Parses the output of `--json -`.
fn verdict(done: &Done) -> Value {
    serde_json::from_slice(&done.stdout).expect("JSON")
}

#[test]
fn only_the_flags_that_differ_between_cpu_models_are_printed() {
    let test = "only_the_flags_that_differ";
    let Some(program) = compare(test) else { return };
    let words = ["--cpu", "qemu64", "--cpu", "qemu64,-svm,+popcnt", "--words"];
    let done = program.args(words).args(["--", "grep", "-m1", "flags", "/proc/cpuinfo"]).done().exits(1);
    let shown = done.text();
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines[0], "only with --cpu qemu64: 1", "{shown}");
    assert_eq!(lines[1].trim(), "svm", "{shown}");
    assert_eq!(lines[2], "only with --cpu qemu64,-svm,+popcnt: 1", "{shown}");
    assert_eq!(lines[3].trim(), "popcnt", "{shown}");
    done.says("--cpu qemu64: exited with 0");
}

#[test]
fn two_kernels_differ_only_in_the_release_line() {
    let test = "two_kernels_differ_only_in_the_release_line";
    let (Some(program), Some(other)) = (compare(test), Kernel::Generic61.or_skip(test)) else { return };
    let line = "echo same; uname -r; echo same again; echo told >&2";
    let done = program.arg("--kernel").arg(other).args(["--run", line]).done().exits(1);
    let shown = done.text();
    let changed: Vec<&str> = shown.lines().filter(|line| line.starts_with(['-', '+'])).skip(2).collect();
    assert!(matches!(changed[..], [one, other] if one.starts_with("-6.12.") && other.starts_with("+6.1.")), "{shown}");
    assert!(shown.contains("\n same\n") && !shown.contains("stderr"), "{shown}");
}

#[test]
fn equal_runs_are_0_and_each_differing_part_is_reported() {
    let test = "equal_runs_are_0";
    let Some(program) = compare(test) else { return };
    let line = "cat; echo said >&2; exit 3";
    let same = program.args(["--vs", "--json", "-", "--stdin", "-", "--run", line]).stdin("in\n").done().exits(0);
    let told = verdict(&same);
    assert_eq!((&told["same"], &told["differs"]), (&Value::Bool(true), &Value::Array(vec![])), "{told}");
    assert_eq!((&told["sides"][1]["stdout"], &told["sides"][0]["status"]), (&"in\n".into(), &3.into()), "{told}");
    let line = "echo $WHICH; echo $WHICH >&2; exit $WHICH";
    let differ = |options: &[&str]| {
        let program =
            compare(test).expect("kernel found before").args(["--env", "WHICH=1", "--vs", "--env", "WHICH=2"]);
        program.args(options).args(["--json", "-", "--run", line]).done()
    };
    let told = verdict(&differ(&[]).exits(1));
    assert_eq!(told["differs"], serde_json::json!(["verdict", "stdout", "stderr"]), "{told}");
    assert_eq!(verdict(&differ(&["--parts", "stderr"]).exits(1))["differs"], serde_json::json!(["stderr"]));
    differ(&["--parts", "stdout,stderr", "--mask", "[0-9]"]).exits(0);
    let done =
        compare(test).expect("kernel found before").args(["--vs", "--env", "X=1", "--run", "exit $X"]).done().exits(1);
    assert!(done.text().contains("-exited with 0\n+exited with 1\n"), "{}", done.text());
}

#[test]
fn a_side_that_cannot_be_tested_is_an_error_that_names_it() {
    let test = "a_side_that_cannot_be_tested_is_an_error";
    let Some(program) = compare(test) else { return };
    program.args(["--cpu", "max", "--cpu", "no-such-cpu", "--", "true"]).done().exits(125).says("--cpu no-such-cpu");
    let program = compare(test).expect("kernel found before");
    program.args(["--vs", "--with", "no-such-program", "--", "true"]).done().exits(125).says("no-such-program");
    Program::new().args(["compare", "--cpu", "max", "--", "true"]).done().exits(2).says("give an option twice");
}

#[test]
fn columns_are_as_wide_as_the_terminal() {
    let test = "columns_are_as_wide_as_the_terminal";
    let Some(program) = compare(test) else { return };
    let options = ["-y", "--smp", "1", "--smp", "2", "--", "nproc"];
    let done = program.env("COLUMNS", "60").args(options).current_dir(scratch().path()).done().exits(1);
    assert_eq!(done.text().lines().last(), Some(format!("{:28} | 2", "1").as_str()), "{}", done.text());
}
