//! Arguments reach the command unchanged: no shell, kernel command line or length limit is involved.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::support::{Kernel, Program};

#[test]
fn unusual_arguments_arrive_unchanged() {
    let Some(program) = Program::run(Kernel::Cloud612, "unusual_arguments_arrive_unchanged") else { return };
    let long = vec![b'a'; 100 << 10];
    let odd: [&[u8]; 14] = [
        b"",
        b" ",
        b"'",
        b"\"",
        b"\\",
        b"$HOME",
        b"`id`",
        b"a\nb",
        b"--help",
        b"-",
        b"*",
        b"; echo no",
        b"\xff\xfe",
        &long,
    ];
    let expected: Vec<u8> = odd.iter().flat_map(|arg| arg.iter().copied().chain([0])).collect();
    let done =
        program.args(["--", "printf", "%s\\0"]).args(odd.iter().map(|arg| OsStr::from_bytes(arg))).done().exits(0);
    assert!(done.stdout == expected, "{}", String::from_utf8_lossy(&done.stdout[..done.stdout.len().min(400)]));
}

#[test]
fn options_after_the_command_belong_to_the_command() {
    let Some(program) = Program::run(Kernel::Generic61, "options_after_the_command") else { return };
    let done = program.args(["--", "echo", "--kernel", "x", "--", "--json"]).done().exits(0);
    assert_eq!(done.text(), "--kernel x -- --json\n");
}

#[test]
fn unknown_options_before_the_command_are_refused() {
    let done = Program::new().args(["run", "--no-such-option", "--", "true"]).done().exits(125);
    done.says("unexpected argument '--no-such-option'");
    Program::new().args(["run", "--bisect", "-y", "true"]).done().exits(128).says("unexpected argument '-y'");
    let done = Program::new().args(["run", "--warm=no", "--base-kmod", "loop", "--", "true"]).done().exits(125);
    done.says("--base-kmod").says("--warm");
    // A program name may start with a dash, and options after a program need no `--` before it.
    let test = "unknown_options_before_the_command_are_refused";
    let Some(program) = Program::run(Kernel::Cloud612, test) else { return };
    program.args(["--", "-x"]).done().exits(127).says("program -x not found in PATH");
    let Some(program) = Program::run(Kernel::Cloud612, test) else { return };
    let done = program.args(["echo", "-la", "--json", "--no-such-option"]).done().exits(0);
    assert_eq!(done.text(), "-la --json --no-such-option\n");
}

#[test]
fn a_shell_line_can_use_pipes_and_added_programs() {
    let Some(program) = Program::run(Kernel::Cloud612, "a_shell_line_can_use_pipes") else { return };
    // busybox has no `numfmt`: the host's program is added with its libraries.
    let line = "seq 3 | wc -l; numfmt --to=iec 1048576; cat /proc/cpuinfo | grep -c ^processor";
    let done = program.args(["--smp", "2", "--with", "numfmt", "--run", line]).done().exits(0);
    assert_eq!(done.text(), "3\n1.0M\n2\n");
}

#[test]
fn the_interpreter_of_a_script_is_added() {
    let Some(program) = Program::run(Kernel::Cloud612, "the_interpreter_of_a_script_is_added") else { return };
    let dir = crate::support::program::scratch();
    let script = dir.path().join("say it");
    std::fs::write(&script, "#!/bin/bash\necho \"${BASH_VERSION%%.*}\" \"$1\"\n").expect("writable directory");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, mode).expect("writable file");
    let done = program.arg("--").arg(&script).arg("a b").done().exits(0);
    assert_eq!(done.text(), "5 a b\n");
}
