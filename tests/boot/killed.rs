//! Runs that end from outside: QEMU or bootling killed, Ctrl-C. No process is left behind.

use rustix::process::Signal;

use crate::support::processes::{LIMIT, is_pending, qemu_of, runs, signal, wait_for, wait_until_gone};
use crate::support::program::Running;
use crate::support::{Kernel, Program};

/// Starts a guest whose command prints `begun` and does not end; returns bootling and the PID of QEMU.
fn sleeper(test: &str, options: &[&str]) -> Option<(Running, u32)> {
    let running = Program::run(Kernel::Cloud612, test)?.args(options).args(["--run", "echo begun; sleep 1000"]).start();
    let qemu = qemu_of(running.pid());
    Some((running, qemu))
}

#[test]
fn a_killed_qemu_is_118() {
    let Some((running, qemu)) = sleeper("a_killed_qemu_is_118", &[]) else { return };
    running.wait_for_output("begun\n");
    signal(qemu, Signal::KILL);
    let done = running.done().exits(118);
    done.says("QEMU").says("9");
}

#[test]
fn killing_bootling_leaves_no_qemu() {
    let Some((running, qemu)) = sleeper("killing_bootling_leaves_no_qemu", &[]) else { return };
    signal(running.pid(), Signal::KILL);
    wait_until_gone(qemu);
    assert_eq!(running.done().signal, Some(9));
}

#[test]
fn one_interrupt_ends_the_run_with_130() {
    let Some((running, qemu)) = sleeper("one_interrupt_ends_the_run_with_130", &[]) else { return };
    running.wait_for_output("begun\n");
    signal(running.pid(), Signal::INT);
    running.done().exits(130);
    assert!(!runs(qemu));
}

#[test]
fn two_interrupts_kill_a_qemu_that_does_not_respond() {
    let Some((running, qemu)) = sleeper("two_interrupts_kill_a_qemu_that_does_not_respond", &[]) else { return };
    signal(qemu, Signal::STOP);
    signal(running.pid(), Signal::INT);
    // Two pending signals of one number are one signal.
    wait_for("the first signal to be taken", LIMIT, || (!is_pending(running.pid(), Signal::INT)).then_some(()));
    signal(running.pid(), Signal::INT);
    running.done().exits(130);
    assert!(!runs(qemu));
}

#[test]
fn sigterm_leaves_no_qemu() {
    let Some((running, qemu)) = sleeper("sigterm_leaves_no_qemu", &[]) else { return };
    signal(running.pid(), Signal::TERM);
    let done = running.done();
    assert!(done.status == Some(143) || done.signal == Some(15), "{:?} {:?}", done.status, done.signal);
    wait_until_gone(qemu);
}

#[test]
fn a_hung_qemu_times_out() {
    let Some((running, qemu)) = sleeper("a_hung_qemu_times_out", &["--timeout", "6s"]) else { return };
    signal(qemu, Signal::STOP);
    running.done().exits(124);
    assert!(!runs(qemu));
}

#[test]
fn a_missing_or_invalid_qemu_is_125() {
    let Some(program) = Program::run(Kernel::Cloud612, "a_missing_or_invalid_qemu_is_125") else { return };
    program.args(["--qemu", "/bin/false", "--", "true"]).done().exits(125).says("/bin/false");

    let Some(program) = Program::run(Kernel::Cloud612, "a_missing_or_invalid_qemu_is_125") else { return };
    program.args(["--qemu", "/dev/null/qemu", "--", "true"]).done().exits(125).says("/dev/null/qemu");

    // A PATH with busybox and true, but without QEMU.
    let dir = crate::support::program::scratch();
    for name in ["busybox", "true"] {
        let found =
            ["/bin", "/usr/bin"].iter().map(|bin| std::path::Path::new(bin).join(name)).find(|path| path.exists());
        std::os::unix::fs::symlink(found.expect("installed"), dir.path().join(name)).expect("writable directory");
    }
    let Some(program) = Program::run(Kernel::Cloud612, "a_missing_or_invalid_qemu_is_125") else { return };
    let done = program.env("PATH", dir.path()).args(["--", "true"]).done().exits(125);
    done.says("qemu-system-x86_64").says("qemu-system-x86");
}
