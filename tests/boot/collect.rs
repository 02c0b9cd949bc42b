//! `bootling run --collect`: files from the guest, whatever the end of the command.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::support::program::{build_dir, scratch};
use crate::support::{Kernel, Program};

/// Runs in a directory.
fn program(kernel: Kernel, test: &str, directory: &Path) -> Option<Program> {
    Some(Program::run(kernel, test)?.current_dir(directory))
}

fn read(directory: &Path, name: &str) -> String {
    fs::read_to_string(directory.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn files_directories_and_patterns_are_collected_cold_and_warm() {
    let test = "files_directories_and_patterns_are_collected";
    let line = "mkdir -p /out/a/b /out/empty /logs; echo deep >/out/a/b/file; chmod 750 /out/a/b/file; ln -s a/b/file /out/link
        ln -s a /out/dir; mkfifo /out/fifo; mknod /out/null c 1 3; echo 1 >/logs/1.log; echo 2 >/logs/2.log; echo x >/logs/x.txt
        : >/out/nothing; exit 3";
    for (kernel, warm) in
        [(Kernel::Cloud612, "--warm=no"), (Kernel::Cloud612, "--warm"), (Kernel::Generic61, "--warm=no")]
    {
        let scratch = scratch();
        let at = scratch.path();
        let Some(program) = program(kernel, test, at) else { return };
        let program =
            program.args([warm, "--collect", "/out", "--collect", "/logs/*.log=logs", "--collect", "/out/a=copy/"]);
        let (done, verdict) = program.args(["--collect", "/proc/version=v.txt"]).json(["--run", line]);
        let done = done.exits(3);
        assert_eq!(read(at, "out/a/b/file") + &read(at, "out/link") + &read(at, "copy/a/b/file"), "deep\ndeep\ndeep\n");
        assert_eq!(fs::metadata(at.join("out/a/b/file")).expect("there").permissions().mode() & 0o777, 0o750);
        assert!(at.join("out/empty").is_dir() && read(at, "out/nothing").is_empty());
        assert!(
            ["out/dir", "out/fifo", "out/null", "logs/x.txt"]
                .iter()
                .all(|name| fs::symlink_metadata(at.join(name)).is_err())
        );
        assert_eq!(read(at, "logs/1.log") + &read(at, "logs/2.log"), "1\n2\n");
        assert!(read(at, "v.txt").starts_with("Linux version "));
        done.says("not collected below /out: 3 entries (neither files nor directories");
        let collected = &verdict["collected"];
        assert_eq!(collected[0]["host"][0], "out", "{verdict}");
        assert_eq!((&collected[0]["files"], &collected[0]["skipped"]), (&3.into(), &3.into()), "{verdict}");
        assert_eq!(collected[1]["host"].as_array().expect("a list").len(), 2, "{verdict}");
        assert_eq!(fs::read_dir(at).expect("there").count(), 4, "nothing else is left");
    }
}

#[test]
fn a_missing_path_fails_a_command_that_succeeded_only() {
    let test = "a_missing_path_fails_a_command_that_succeeded_only";
    let scratch = scratch();
    for (collect, line, status, says) in [
        ("/missing", "true", 125, "could not test: failed to collect /missing: No such file or directory"),
        ("/missing", "exit 7", 7, "failed to collect /missing: No such file or directory"),
        ("/tmp/*.log", "true", 0, "nothing in the guest matches --collect /tmp/*.log"),
        (
            "/big",
            "head -c 3000000 /dev/zero >/big",
            125,
            "failed to collect /big: more than 1048576 bytes (--collect-limit)",
        ),
        (
            "/proc/self/mem",
            "true",
            125,
            "failed to collect /proc/self/mem: failed to read /proc/self/mem: Input/output error",
        ),
    ] {
        let Some(program) = program(Kernel::Cloud612, test, scratch.path()) else { return };
        let program = program.args(["--warm", "--collect", collect, "--collect-limit", "1", "--run", line]);
        program.done().exits(status).says(says);
        assert_eq!(fs::read_dir(scratch.path()).expect("there").count(), 0, "{collect}");
    }
}

#[test]
fn files_are_collected_from_commands_that_are_killed_power_off_or_time_out() {
    let test = "files_are_collected_from_commands_that_are_killed";
    for (options, line, status) in [
        (&["--warm"][..], "echo x >/out; kill -9 $$", 137),
        (&["--warm"], "echo x >/out; poweroff -f; sleep 1000", 122),
        (&["--warm", "--timeout", "15s"], "echo x >/out; sleep 1000 & sleep 1000", 124),
        (&["--timeout", "60s", "--hang-report", "none"], "echo x >/out; while :; do :; done", 124),
    ] {
        let scratch = scratch();
        let Some(program) = program(Kernel::Cloud612, test, scratch.path()) else { return };
        // `poweroff -f` calls reboot(2), after which nothing is collected.
        let line = line.replace("poweroff -f", "poweroff");
        program.args(options).args(["--collect", "/out", "--run", &line]).done().exits(status);
        assert_eq!(read(scratch.path(), "out"), "x\n", "{line}");
    }
    let scratch = scratch();
    let Some(program) = program(Kernel::Cloud612, test, scratch.path()) else { return };
    let line = "echo x >/out; echo c >/proc/sysrq-trigger";
    let done = program.args(["--collect", "/out", "--run", line]).done().exits(120);
    done.says("failed to collect /out: the guest ended before it was collected");
}

#[test]
fn large_files_arrive_unchanged_also_through_a_serial_port() {
    let test = "large_files_arrive_unchanged";
    for (options, bytes) in [(&["--warm"][..], 50_000_003), (&["-M", "isapc", "--cpu", "max"], 200_001)] {
        let scratch = scratch();
        let Some(program) = program(Kernel::Cloud612, test, scratch.path()) else { return };
        let line = format!("head -c {bytes} /dev/urandom >/big; sha256sum </big");
        let done = program.args(options).args(["--collect", "/big", "--run", &line]).done().exits(0);
        let host = Command::new("sha256sum").stdin(fs::File::open(scratch.path().join("big")).expect("there")).output();
        assert_eq!(done.text(), String::from_utf8_lossy(&host.expect("coreutils").stdout));
    }
}

#[test]
fn files_are_not_written_through_links_and_bad_requests_are_refused() {
    let test = "files_are_not_written_through_links";
    let scratch = scratch();
    let (inside, outside) = (scratch.path().join("in"), scratch.path().join("outside"));
    fs::create_dir(&inside).expect("made");
    fs::create_dir(&outside).expect("made");
    symlink(&outside, inside.join("out")).expect("made");
    let Some(first) = program(Kernel::Cloud612, test, &inside) else { return };
    let line = "mkdir /out; echo x >/out/file";
    first
        .args(["--warm", "--collect", "/out", "--run", line])
        .done()
        .exits(125)
        .says("out exists and is not a directory");
    assert_eq!(fs::read_dir(&outside).expect("there").count(), 0);
    for (options, says) in [
        (vec!["--collect", "out"], "expected an absolute path or pattern of the guest"),
        (vec!["--collect", "/"], "the whole root directory cannot be collected"),
        (vec!["--collect", "/a/../b"], "\".\" and \"..\" are not supported"),
        (vec!["--collect", "/a="], "missing destination after '='"),
        (vec!["--collect-limit", "1G"], "--collect"),
    ] {
        let program = program(Kernel::Cloud612, test, &inside).expect("as before");
        program.args(options).args(["--run", "true"]).done().exits(125).says(says);
    }
}

#[test]
fn a_vm_collects_the_files_of_each_command() {
    let Some(kernel) = Kernel::Cloud612.or_skip("a_vm_collects_the_files_of_each_command") else { return };
    let scratch = scratch();
    let cache = build_dir().join("test-cache");
    let mut vm = bootling::Vm::builder().kernel(kernel).cache(cache).start().expect("a guest");
    for number in ["1", "2"] {
        let command = bootling::Command::shell(format!("echo {number} >/out; exit 4"));
        let to = scratch.path().join(number);
        let output = vm.run_with(&command.collect("/out", &to)).expect("an output");
        assert_eq!((output.status(), output.collected[0].files), (Some(4), 1), "{output:?}");
        assert_eq!(fs::read_to_string(to).expect("there"), format!("{number}\n"));
    }
    let output = vm.shell("true").expect("an output");
    assert!(output.success() && output.collected.is_empty(), "{output:?}");
    let relative = bootling::Command::shell("true").collect("out", "x");
    let error = vm.run_with(&relative).expect_err("a relative path").to_string();
    assert!(error.starts_with("invalid --collect out: expected an absolute path"), "{error}");
}

#[test]
fn the_coverage_of_a_program_is_collected_from_its_guest() {
    let test = "the_coverage_of_a_program_is_collected";
    let scratch = scratch();
    let at = scratch.path();
    fs::write(at.join("mytest.c"), "int main(int c, char **v) {\n  if (c > 9)\n    return 1;\n  return 0;\n}\n")
        .expect("written");
    let Some(program) = program(Kernel::Cloud612, test, at) else { return };
    let run = |name: &str, arguments: &[&str]| {
        let done = Command::new(name).args(arguments).current_dir(at).output().expect("gcc is installed");
        assert!(done.status.success(), "{done:?}");
    };
    run("gcc", &["--coverage", "-o", "mytest", "mytest.c"]);
    let collect = format!("/gcov{}=.", fs::canonicalize(at).expect("there").display());
    program.args(["--env", "GCOV_PREFIX=/gcov", "--collect", &collect, "--", "./mytest"]).done().exits(0);
    run("gcov", &["mytest.c"]);
    let report = read(at, "mytest.c.gcov");
    assert!(report.contains("    1:    4:  return 0;") && report.contains("#####:    3:"), "{report}");
}
