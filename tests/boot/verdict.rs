//! The JSON verdict of `--json`.

use serde_json::Value;

use crate::support::{Kernel, Program};

#[test]
fn the_verdict_is_complete() {
    let Some(program) = Program::run(Kernel::Generic61, "the_verdict_is_complete") else { return };
    let (done, verdict) =
        program.json(["--accel", "tcg", "--run", "head -c 30000000 /dev/zero | tail | wc -c; exit 3"]);
    done.exits(3);
    assert_eq!(verdict["status"], 3, "{verdict}");
    assert_eq!(verdict["exit_code"], 3, "{verdict}");
    assert!(verdict["signal"].is_null(), "{verdict}");
    assert_eq!(verdict["accel"], "tcg", "{verdict}");
    assert_eq!(verdict["taint_before"], verdict["taint_after"], "{verdict}");
    assert!(verdict["kernel_release"].as_str().is_some_and(|text| text.starts_with("6.1.0-")), "{verdict}");
    assert!(verdict["console_tail"].is_array(), "{verdict}");
    assert_eq!(verdict["outcome"], "exited", "{verdict}");
    assert!(verdict["channel"].is_string(), "{verdict}");
    assert_eq!(verdict["fast_boot"], false, "{verdict}");
    // tail buffers an unterminated line.
    assert!(verdict["max_rss_kib"].as_u64().is_some_and(|kib| kib > 29_000), "{verdict}");
    for time in ["build_ms", "boot_ms", "command_ms", "total_ms", "own_ms"] {
        assert!(verdict["times"][time].as_f64().is_some_and(|ms| ms >= 0.0), "{time}: {verdict}");
    }
    let ms = |name: &str| verdict["times"][name].as_f64().expect("just checked");
    assert!(ms("total_ms") >= ms("boot_ms") + ms("command_ms"), "{verdict}");
    assert!(verdict["qemu"]["version"].as_str().is_some_and(|text| text.contains('.')), "{verdict}");
    let command = match &verdict["qemu"]["command"] {
        Value::Array(words) => words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        other => other.as_str().unwrap_or_default().to_owned(),
    };
    assert!(command.contains("qemu-system-x86_64") && command.contains("-kernel"), "{command}");
}

#[test]
fn a_fast_boot_is_reported_and_its_parameters_precede_the_users() {
    // With two CPUs, the remaining timer must tick on both.
    for (kernel, cpus) in [(Kernel::Generic61, 1), (Kernel::Cloud612, 2)] {
        let Some(program) = Program::run(kernel, "a_fast_boot_is_reported") else { continue };
        let line = "cat /proc/cmdline; for mask in 1 2; do taskset $mask sleep 0.05 && echo ticks; done; exit 0";
        let cpu_count = cpus.to_string();
        let options = ["--accel", "tcg", "--fast-boot", "--append", "mine", "--smp", &cpu_count, "--run", line];
        let (done, verdict) = program.json(options);
        let done = done.exits(0);
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(said.contains(" cryptomgr.notests noreplace-smp nolapic_timer mine\n"), "{said}");
        assert_eq!(said.lines().filter(|line| *line == "ticks").count(), cpus, "{said}");
        assert_eq!(verdict["fast_boot"], true, "{verdict}");
        assert_eq!(verdict["taint_after"], 0, "{verdict}");
    }
}

#[test]
fn a_taint_set_by_the_guest_is_reported() {
    let Some(program) = Program::run(Kernel::Cloud612, "a_taint_set_by_the_guest") else { return };
    // Writing to the file sets bit 6, "tainted by user".
    let (done, verdict) = program.json(["--run", "echo 64 >/proc/sys/kernel/tainted"]);
    done.exits(0);
    assert_eq!(verdict["taint_before"], 0, "{verdict}");
    assert_eq!(verdict["taint_after"], 64, "{verdict}");
}

#[test]
fn a_verdict_is_written_if_no_guest_could_be_booted() {
    let Some(program) = Program::run(Kernel::Cloud612, "a_verdict_is_written_if_no_guest_could_be_booted") else {
        return;
    };
    let (done, verdict) = program.json(["--qemu-arg=-no-such-option", "--", "true"]);
    let done = done.exits(125);
    assert_eq!(verdict["exit_code"], 125, "{verdict}");
    assert_eq!(verdict["outcome"], "could-not-test", "{verdict}");
    done.says("no-such-option");
}
