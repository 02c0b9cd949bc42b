//! Accidental and simple attacks on the control channel. `SECURITY.md` lists the attacks that are not prevented.

use std::time::Duration;

use crate::support::{Kernel, Program};

#[test]
fn a_command_cannot_end_or_fake_the_verdict_by_killing_pid_1() {
    let Some(program) = Program::run(Kernel::Cloud612, "a_command_cannot_end_or_fake_the_verdict") else { return };
    let done = program.args(["--run", "kill -9 1; kill -STOP 1; kill -HUP 1; sleep 1; exit 6"]).done();
    done.exits(6);
}

#[test]
fn noise_on_every_serial_port_is_never_success() {
    let Some(program) = Program::run(Kernel::Cloud612, "noise_on_every_serial_port") else { return };
    let line = "for port in /dev/ttyS0 /dev/ttyS1 /dev/hvc0 /dev/vport*; do \
                head -c 3000 /dev/urandom >$port & done 2>/dev/null; sleep 2; exit 8";
    let done = program.args(["--run", line, "--timeout", "60s"]).limit(Duration::from_secs(90)).done();
    // Either the noise did not reach the channel (8), or bootling reports it.
    assert!(matches!(done.status, Some(8 | 122 | 125)), "{:?}: {}", done.status, done.stderr);
}

#[test]
fn a_command_that_closes_its_streams_still_reports_its_status() {
    let Some(program) = Program::run(Kernel::Generic61, "a_command_that_closes_its_streams") else { return };
    program.args(["--run", "exec <&- >&- 2>&-; sleep 1; exit 4"]).done().exits(4);
}

#[test]
fn a_closed_output_pipe_ends_the_command() {
    let Some(package) = Kernel::Cloud612.or_skip("a_closed_output_pipe_ends_the_command") else { return };
    // Like `bootling run -- yes | head -n 1`: the reader exits and writes fail.
    let pipe = "\"$1\" run --kernel \"$2\" -- yes | head -n 1; echo \"${PIPESTATUS[0]}\"";
    let output = std::process::Command::new("timeout")
        .args(["100", "bash", "-c", pipe, "bash", env!("CARGO_BIN_EXE_bootling")])
        .arg(package)
        .env("BOOTLING_CACHE_DIR", crate::support::program::build_dir().join("test-cache"))
        .output()
        .expect("bash runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let status: i32 = text.strip_prefix("y\n").and_then(|rest| rest.trim().parse().ok()).expect("a line and a status");
    assert!(status == 141 || status == 125, "{status}: {}", String::from_utf8_lossy(&output.stderr));
}
