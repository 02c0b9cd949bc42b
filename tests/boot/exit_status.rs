//! The guest's status is bootling's exit status; a signal is 128 plus its number.

use crate::support::{Kernel, Program};

/// Runs a shell line on `kernel` and checks the exit status.
fn line_exits(test: &str, kernel: Kernel, line: &str, status: i32) {
    let Some(program) = Program::run(kernel, test) else { return };
    program.args(["--run", line]).done().exits(status);
}

#[test]
fn true_is_zero_and_prints_nothing() {
    for kernel in [Kernel::Generic61, Kernel::Cloud612, Kernel::Generic612] {
        let Some(program) = Program::run(kernel, "true_is_zero_and_prints_nothing") else { return };
        let done = program.args(["--", "true"]).done().exits(0);
        assert_eq!(done.text(), "", "{kernel:?}");
    }
}

#[test]
fn a_status_passes_through() {
    line_exits("a_status_passes_through", Kernel::Generic61, "exit 42", 42);
    line_exits("a_status_passes_through", Kernel::Cloud612, "exit 1", 1);
    line_exits("a_status_passes_through", Kernel::Cloud612, "exit 255", 255);
}

#[test]
fn a_status_equal_to_a_bootling_code_passes_through_and_the_verdict_distinguishes_them() {
    let Some(program) = Program::run(Kernel::Cloud612, "a_status_equal_to_a_bootling_code") else { return };
    let (done, verdict) = program.json(["--run", "exit 124"]);
    done.exits(124);
    assert_eq!(verdict["status"], 124, "{verdict}");
    assert_eq!(verdict["exit_code"], 124, "{verdict}");
    assert_eq!(verdict["outcome"], "exited", "{verdict}");
}

#[test]
fn a_command_killed_by_a_signal_is_128_plus_the_signal() {
    let Some(program) = Program::run(Kernel::Generic61, "a_command_killed_by_a_signal") else { return };
    let (done, verdict) = program.json(["--", "sh", "-c", "kill -9 $$"]);
    done.exits(137);
    assert_eq!(verdict["signal"], 9, "{verdict}");
    assert!(verdict["status"].is_null(), "{verdict}");

    let Some(program) = Program::run(Kernel::Cloud612, "a_command_killed_by_a_signal") else { return };
    program.args(["--", "sh", "-c", "kill -SEGV $$"]).done().exits(139);
}

#[test]
fn a_missing_command_is_127_before_the_boot() {
    let Some(program) = Program::run(Kernel::Cloud612, "a_missing_command_is_127") else { return };
    let done = program.args(["--", "no-such-program-here"]).done().exits(127);
    done.says("no-such-program-here").says("/usr/bin");
}

#[test]
fn a_command_that_is_not_executable_is_126() {
    let Some(program) = Program::run(Kernel::Cloud612, "a_command_that_is_not_executable") else { return };
    program.args(["--", "/etc/passwd"]).done().exits(126).says("/etc/passwd");
}

#[test]
fn a_shell_line_returns_the_shells_status() {
    line_exits("a_shell_line_returns_the_shells_status", Kernel::Cloud612, "no-such-applet-there", 127);
    line_exits("a_shell_line_returns_the_shells_status", Kernel::Cloud612, "false || true; test -d /proc/1", 0);
}
