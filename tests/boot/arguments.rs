//! Arguments reach the command exactly as given: no shell, no kernel command line, no length in between.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::support::{Kernel, Program};

#[test]
fn odd_arguments_arrive_exactly() {
    let Some(program) = Program::run(Kernel::Cloud612, "odd_arguments_arrive_exactly") else { return };
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
fn options_behind_the_command_are_the_commands() {
    let Some(program) = Program::run(Kernel::Generic61, "options_behind_the_command") else { return };
    let done = program.args(["--", "echo", "--kernel", "x", "--", "--json"]).done().exits(0);
    assert_eq!(done.text(), "--kernel x -- --json\n");
}

#[test]
fn what_stands_before_the_command_is_an_option_or_a_mistake() {
    let done = Program::new().args(["run", "--no-such-option", "--", "true"]).done().exits(125);
    done.says("unexpected argument '--no-such-option'");
    Program::new().args(["run", "--bisect", "-y", "true"]).done().exits(128).says("unexpected argument '-y'");
    let done = Program::new().args(["run", "--warm=no", "--base-kmod", "loop", "--", "true"]).done().exits(125);
    done.says("--base-kmod").says("--warm");
    // What starts with a dash can still be a program, and a program's options need no `--` before it.
    let test = "what_stands_before_the_command_is_an_option_or_a_mistake";
    let Some(program) = Program::run(Kernel::Cloud612, test) else { return };
    program.args(["--", "-x"]).done().exits(127).says("program -x not found in PATH");
    let Some(program) = Program::run(Kernel::Cloud612, test) else { return };
    let done = program.args(["echo", "-la", "--json", "--no-such-option"]).done().exits(0);
    assert_eq!(done.text(), "-la --json --no-such-option\n");
}

#[test]
fn a_shell_line_has_pipes_and_programs_that_were_added() {
    let Some(program) = Program::run(Kernel::Cloud612, "a_shell_line_has_pipes") else { return };
    // busybox has no `numfmt`: it comes from this machine, with its libraries.
    let line = "seq 3 | wc -l; numfmt --to=iec 1048576; cat /proc/cpuinfo | grep -c ^processor";
    let done = program.args(["--smp", "2", "--with", "numfmt", "--run", line]).done().exits(0);
    assert_eq!(done.text(), "3\n1.0M\n2\n");
}

#[test]
fn a_script_brings_its_interpreter() {
    let Some(program) = Program::run(Kernel::Cloud612, "a_script_brings_its_interpreter") else { return };
    let dir = crate::support::program::scratch();
    let script = dir.path().join("say it");
    std::fs::write(&script, "#!/bin/bash\necho \"${BASH_VERSION%%.*}\" \"$1\"\n").expect("the folder is ours");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, mode).expect("the file is ours");
    let done = program.arg("--").arg(&script).arg("a b").done().exits(0);
    assert_eq!(done.text(), "5 a b\n");
}
