//! `bootling run --warm`: the first run saves a snapshot, later runs are restored from it and differ only in their
//! time.

use std::time::Duration;

use serde_json::Value;

use super::cache::OwnCache;
use super::firmware::uefi_or_skip;
use crate::support::program::scratch;
use crate::support::{Done, Kernel, Program};

/// Runs a shell line warm and checks its status; returns the result and the verdict.
#[track_caller]
fn restored(test: &str, kernel: Kernel, options: &[&str], line: &str, status: i32) -> Option<(Done, Value)> {
    let program = Program::run(kernel, test)?.arg("--warm").args(options);
    let (done, verdict) = program.json(["--run", line]);
    let done = done.exits(status);
    assert_eq!(verdict["warm"], Value::Bool(true), "{}\n{verdict}", done.stderr);
    Some((done, verdict))
}

#[test]
fn parallel_runs_succeed_with_and_without_a_snapshot() {
    let test = "parallel_runs_succeed";
    let Some(cache) = OwnCache::new(Kernel::Cloud612, test) else { return };
    for at_once in [8, 16] {
        let runs: Vec<_> = (0..at_once)
            .map(|number| {
                let program = cache.program().stdin(format!("{number} in\n"));
                let line = format!("cat; echo {number} out; echo {number} err >&2; exit {}", number + 10);
                program.args(["--quiet", "--run", &line]).start()
            })
            .collect();
        for (number, run) in runs.into_iter().enumerate() {
            let done = run.done().exits(i32::try_from(number).expect("few") + 10);
            assert_eq!(done.text(), format!("{number} in\n{number} out\n"));
            assert!(done.stderr.ends_with(&format!("{number} err\n")), "{}", done.stderr);
        }
        cache.snapshot();
        assert_eq!(cache.unfinished(), Vec::<std::path::PathBuf>::new());
    }
    let (age, said) = cache.runs();
    assert!(age > 0.0 && !said.contains("later runs"), "{age} {said}");
}

#[test]
fn the_first_run_makes_the_snapshot_and_the_second_is_restored_from_it() {
    let test = "the_first_run_makes_the_snapshot";
    let Some(cache) = OwnCache::new(Kernel::Generic61, test) else { return };
    let (age, said) = cache.runs();
    assert!(age == 0.0 && said.contains("booting a guest for the snapshot (once)"), "{age} {said}");
    let (age, said) = cache.runs();
    assert!(age > 0.0 && !said.contains("later runs"), "{age} {said}");
    let (done, verdict) = cache.program().stdin("in\n").json(["--run", "cat; echo out; echo err >&2; exit 3"]);
    let done = done.exits(3);
    assert_eq!(done.text(), "in\nout\n");
    assert!(done.stderr.ends_with("err\n"), "{}", done.stderr);
    assert!(verdict["kernel_release"].as_str().is_some_and(|release| release.starts_with("6.1.")), "{verdict}");
    // --warm=fresh replaces the snapshot.
    let first = cache.snapshot();
    let fresh = Program::new().env("BOOTLING_CACHE_DIR", cache.path()).args(["run", "--warm=fresh", "--kernel"]);
    let (done, verdict) = fresh.arg(cache.kernel()).json(["--", "true"]);
    done.exits(0).says("booting a guest for the snapshot (once)");
    assert_eq!(verdict["snapshot_age_ms"].as_f64(), Some(0.0), "{verdict}");
    assert_eq!(cache.snapshot(), first, "the name does not change");
}

#[test]
fn various_machines_are_restored() {
    let test = "various_machines_are_restored";
    let machines: [(&[&str], &str); 4] = [
        (&["--machine", "pc"], "grep -c ^processor /proc/cpuinfo"),
        (&["--smp", "2", "--memory", "512"], "grep -c ^processor /proc/cpuinfo"),
        (&["--firmware", "bios"], "grep -c ^processor /proc/cpuinfo"),
        (&["--append", "bootling.test=1"], "grep -o bootling.test=1 /proc/cmdline"),
    ];
    for ((options, line), says) in machines.into_iter().zip(["1\n", "2\n", "1\n", "bootling.test=1\n"]) {
        for _ in 0..2 {
            let Some((done, _)) = restored(test, Kernel::Cloud612, options, line, 0) else { return };
            assert_eq!(done.text(), says, "{options:?}");
        }
        let Some((_, verdict)) = restored(test, Kernel::Cloud612, options, "exit 5", 5) else { return };
        assert!(verdict["snapshot_age_ms"].as_f64().is_some_and(|age| age > 0.0), "{options:?} {verdict}");
    }
}

#[test]
fn a_guest_with_its_channel_on_the_second_serial_port_is_restored() {
    let test = "a_guest_with_its_channel_on_the_second_serial_port";
    if Kernel::Generic61.or_skip(test).is_none() {
        return;
    }
    // Debian's driver for virtio ports is a module, and this kernel is only an image.
    let dir = scratch();
    let image = Kernel::Generic61.lone_image(dir.path());
    for _ in 0..3 {
        let program = Program::new().args(["run", "--warm", "--kernel"]).arg(&image).stdin("over here\n");
        let (done, verdict) = program.json(["--run", "cat; exit 6"]);
        let done = done.exits(6);
        assert_eq!(done.text(), "over here\n");
        assert_eq!((&verdict["channel"], &verdict["warm"]), (&"com2".into(), &Value::Bool(true)), "{}", done.stderr);
    }
}

#[test]
fn a_guest_booted_by_uefi_is_restored() {
    let test = "a_guest_booted_by_uefi_is_restored";
    if uefi_or_skip(test).is_none() {
        return;
    }
    let options = ["--firmware", "uefi"];
    for _ in 0..2 {
        let Some((done, _)) = restored(test, Kernel::Cloud612, &options, "ls -d /sys/firmware/efi", 0) else { return };
        assert_eq!(done.text(), "/sys/firmware/efi\n");
    }
}

#[test]
fn a_guest_that_cannot_be_restored_boots_cold_with_one_line_of_reason() {
    let test = "a_guest_that_cannot_be_restored_boots_cold";
    // Not microvm, which has no PCI: its kernel calibrates the clock only with the PIT, and hangs there on a busy host.
    let cases: [(&[&str], &str); 1] =
        [(&["--qemu-arg=-rtc", "--qemu-arg=base=utc"], "--qemu-arg=-rtc may have state outside the machine")];
    for (options, why) in cases {
        let Some(program) = Program::run(Kernel::Cloud612, test) else { return };
        let (done, verdict) = program.arg("--warm").args(options).json(["--run", "echo cold; exit 4"]);
        let done = done.exits(4);
        assert_eq!(done.text(), "cold\n");
        let lines: Vec<&str> = done.stderr.lines().filter(|line| line.contains("booting cold")).collect();
        assert!(matches!(lines[..], [line] if line.contains(why)), "{}", done.stderr);
        assert_eq!((&verdict["warm"], &verdict["snapshot_age_ms"]), (&Value::Bool(false), &Value::Null));
    }
}

#[test]
fn modules_load_before_the_snapshot_or_after_the_restore() {
    let test = "modules_load_before_the_snapshot_or_after_the_restore";
    let line = "cat /sys/module/loop/parameters/max_loop; ls -d /sys/module/dm_mod; ls /sys/block | grep -c loop";
    for kernel in [Kernel::Generic61, Kernel::Cloud612] {
        for _ in 0..2 {
            let options = ["--base-kmod", "dm_mod", "--kmod", "loop max_loop=3"];
            let Some((done, _)) = restored(test, kernel, &options, line, 0) else { return };
            assert_eq!(done.text(), "3\n/sys/module/dm_mod\n3\n", "{kernel:?}");
        }
    }
    // A guest that boots cold loads both kinds, too.
    let options = [
        "--warm",
        "--qemu-arg=-rtc",
        "--qemu-arg=base=utc",
        "--base-kmod",
        "dm_mod",
        "--kmod",
        "loop max_loop=3",
        "--run",
        line,
    ];
    let Some(program) = Program::run(Kernel::Cloud612, test) else { return };
    assert_eq!(program.args(options).done().exits(0).text(), "3\n/sys/module/dm_mod\n3\n");
    // A module that fails to load ends the run, as in a cold guest.
    let Some(program) = Program::run(Kernel::Cloud612, test) else { return };
    let done = program.args(["--warm", "--kmod", "loop max_loop=nonsense", "--", "true"]).done().exits(125);
    done.says("loop");
}

#[test]
fn a_payload_larger_than_the_default_window_gets_a_larger_window() {
    let test = "a_payload_larger_than_the_default_window";
    let dir = scratch();
    let big = dir.path().join("big");
    let file = std::fs::File::create(&big).expect("a file");
    file.set_len(300 << 20).expect("sparse");
    std::os::unix::fs::FileExt::write_all_at(&file, b"the end", (300 << 20) - 7).expect("written");
    let copy = format!("{}=/tmp/big", big.display());
    let options = ["--memory", "1024", "--copy", &copy];
    for _ in 0..2 {
        let line = "stat -c %s /tmp/big; tail -c 7 /tmp/big";
        let Some((done, _)) = restored(test, Kernel::Cloud612, &options, line, 0) else { return };
        assert_eq!(done.text(), "314572800\nthe end");
    }
}

#[test]
fn a_restored_guest_that_hangs_times_out() {
    let test = "a_restored_guest_that_hangs_times_out";
    let Some((_, _)) = restored(test, Kernel::Cloud612, &[], "exit 0", 0) else { return };
    let line = "while :; do :; done";
    let Some((done, verdict)) = restored(test, Kernel::Cloud612, &["--timeout", "3s"], line, 124) else { return };
    assert_eq!(verdict["outcome"], "timed-out");
    assert!(done.took > Duration::from_secs(3), "{:?}", done.took);
}

#[test]
fn a_variable_makes_runs_warm_and_an_option_overrides_it() {
    let test = "a_variable_makes_runs_warm";
    for (variable, options, warm) in [("yes", &[][..], true), ("yes", &["--warm=no"], false), ("no", &["--warm"], true)]
    {
        let Some(program) = Program::run(Kernel::Cloud612, test) else { return };
        let (done, verdict) = program.env("BOOTLING_WARM", variable).args(options).json(["--", "true"]);
        done.exits(0);
        assert_eq!(verdict["warm"], Value::Bool(warm), "{variable} {options:?}");
    }
}
