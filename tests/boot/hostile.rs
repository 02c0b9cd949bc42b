//! A fake QEMU: a script that sends what a hostile guest or a broken emulator could send over the channel and the
//! streams. No guest boots, so each test is quick.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use crate::support::processes::{LIMIT, runs, wait_for, wait_until_gone};
use crate::support::program::scratch;
use crate::support::{Kernel, Program};

/// pid 1's first frame: tag 1, 35 bytes, `bootling`, version 7, no uptime, no taint, a window of 256, release `6.1`.
const HELLO: &str = r"\x01\x23\x00bootling\x07\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0006.1";
/// The command runs: tag 2, eight bytes.
const STARTED: &str = r"\x02\x08\x00\0\0\0\0\0\0\0\0";

/// The command exited with 0: tag 8, 42 bytes.
const EXIT: &str = r"\x08\x2a\x00\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
/// Three bytes of standard output: tag 3.
const OUTPUT: &str = r"\x03\x03\x00one";

/// Creates a script in place of QEMU; `$channel` is the file descriptor of the control channel.
fn fake(dir: &tempfile::TempDir, body: &str) -> std::path::PathBuf {
    let path = dir.path().join("qemu-system-x86_64");
    let script = format!(
        "#!/bin/bash\n[ \"${{*: -1}}\" != -version ] || {{ echo 'QEMU emulator version 9.9.9'; exit; }}\n\
         for word; do case $word in socket,id=channel,fd=*) channel=${{word##*=}};; esac; done\n\
         [ -n \"$channel\" ] || exit 1\n{body}\n"
    );
    fs::write(&path, script).expect("writable directory");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("readable directory");
    path
}

fn with_fake(test: &str, dir: &tempfile::TempDir, body: &str) -> Option<Program> {
    // The cloud kernel needs no module for its channel; its package is read, not booted.
    let program = Program::run(Kernel::Cloud612, test)?;
    Some(program.arg("--qemu").arg(fake(dir, body)).args(["--accel", "tcg"]))
}

#[test]
fn a_second_greeting_is_refused() {
    let dir = scratch();
    let body = format!("printf '{HELLO}{HELLO}' >&$channel; sleep 1000");
    let Some(program) = with_fake("a_second_greeting_is_refused", &dir, &body) else { return };
    program.args(["--", "true"]).done().exits(125).says("a second greeting");
}

#[test]
fn frames_before_their_phase_are_refused_and_never_a_success() {
    let dir = scratch();
    let cases = [
        (EXIT.to_owned(), "an exit status of a command that has not started"),
        (format!("{HELLO}{EXIT}"), "an exit status of a command that has not started"),
        (format!("{STARTED}{EXIT}"), "an unexpected command start"),
        (OUTPUT.to_owned(), "output of a command that has not started"),
        (format!("{HELLO}{OUTPUT}{STARTED}{EXIT}"), "output of a command that has not started"),
    ];
    for (frames, what) in cases {
        let body = format!("printf '{frames}' >&$channel; sleep 60");
        let Some(package) = Kernel::Generic61.or_skip("frames_before_their_phase_are_refused") else { return };
        let program = Program::new().args(["run", "--accel", "tcg", "--health", "fail", "--kernel"]).arg(package);
        let done = program.arg("--qemu").arg(fake(&dir, &body)).args(["--", "false"]).done().exits(125);
        assert_eq!(done.text(), "", "{frames}");
        done.says(what);
    }
}

#[test]
fn child_processes_of_qemu_are_killed_and_do_not_block_bootling() {
    let dir = scratch();
    let pid = dir.path().join("pid");
    let body = format!("sleep 1000 & echo $! >{}; echo 'it is broken' >&2; exit 3", pid.display());
    let Some(program) = with_fake("child_processes_of_qemu_are_killed", &dir, &body) else { return };
    let done = program.args(["--", "true"]).done().exits(125);
    done.says("it is broken").says("status 3");
    let left: u32 = fs::read_to_string(pid).expect("a PID file").trim().parse().expect("a number");
    wait_until_gone(left);
    assert!(!runs(left));
}

#[test]
fn a_full_pipe_shared_by_both_streams_does_not_defeat_the_timeout() {
    let dir = scratch();
    // More than a pipe holds, on standard output and standard error: tags 3 and 4, 30,000 bytes each.
    let body = format!(
        "printf '{HELLO}{STARTED}' >&$channel\nfor turn in {{1..20}}; do for tag in 3 4; do \
         printf \"\\\\x$tag\\\\x30\\\\x75\" >&$channel; head -c 30000 /dev/zero >&$channel; done; done; sleep 1000"
    );
    if Kernel::Cloud612.or_skip("a_full_pipe_shared_by_both_streams").is_none() {
        return;
    }
    let script = fake(&dir, &body);
    let package = Kernel::Cloud612.find().expect("or_skip found it");
    let mut child = std::process::Command::new("bash")
        .args(["-c", "exec \"$@\" 2>&1", "bash", env!("CARGO_BIN_EXE_bootling"), "run", "--accel", "tcg", "--kernel"])
        .arg(package)
        .arg("--qemu")
        .arg(script)
        .args(["--timeout", "3s", "--", "true"])
        .env("BOOTLING_CACHE_DIR", crate::support::program::build_dir().join("test-cache"))
        .stdin(Stdio::null())
        // Never read.
        .stdout(Stdio::piped())
        .spawn()
        .expect("bash runs");
    let status = wait_for("the end despite a blocked output", LIMIT, || child.try_wait().expect("child process"));
    assert_eq!(status.code(), Some(124));
}
