//! Preparation of a guest by pid 1, and its reports if that fails: modules that crash or are refused, a missing channel.

use std::fs;

use serde_json::Value;

use crate::support::misbehave;
use crate::support::program::scratch;
use crate::support::{Done, Kernel, Program};

/// First line of the report of `init=oops`.
const OOPS: &str = "BUG: kernel NULL pointer dereference, address: 0000000000000008";

#[test]
fn a_module_that_crashes_the_kernel_is_the_verdict_whatever_the_health_policy() {
    let Some((module, package)) = misbehave::or_skip("a_module_that_crashes_the_kernel") else { return };
    let dir = scratch();
    let console = dir.path().join("console");
    let with = |init: &str| format!("{} init={init}", module.display());
    let program = || Program::new().args(["run", "--kernel"]).arg(&package);
    let told = format!("the guest's kernel crashed while it loaded module misbehave: {OOPS}");

    let cold = program().args(["--health", "ignore", "--console"]).arg(&console).args(["--kmod", &with("oops")]);
    let (done, verdict) = cold.json(["--run", "echo it ran"]);
    let done = done.exits(121).says(&told);
    assert_eq!((verdict["outcome"].as_str(), done.text().as_str()), (Some("kernel-crashed"), ""));
    let log = fs::read_to_string(&console).expect("a console log");
    for line in [OOPS, "Call Trace:", "do_init_module", "---[ end trace"] {
        assert!(log.contains(line), "no {line:?} in {log}");
    }
    assert!(!log.contains("Attempted to kill init"), "{log}");

    program().args(["--warm", "--bisect", "--kmod", &with("bug"), "--", "true"]).done().exits(1).says("kernel BUG at ");
    program().args(["--warm", "--base-kmod", &with("oops"), "--", "true"]).done().exits(121).says(&told);
    // The kernel is as healthy as before.
    let refused = program().args(["--warm", "--kmod", &with("nonsense"), "--", "true"]).done().exits(125);
    refused.says("failed to load module").says("misbehave.ko: Invalid argument");
}

#[test]
fn a_module_whose_initialization_never_ends_is_a_timeout_that_names_it() {
    let Some((module, package)) = misbehave::or_skip("a_module_whose_initialization_never_ends") else { return };
    let endless = format!("{} init=unkillable", module.display());
    let cold = |words: &[&str]| Program::new().args(["run", "--kernel"]).arg(&package).args(words);
    for words in [&["--timeout", "15s"][..], &["--timeout", "15s", "--warm"]] {
        let (done, verdict) = cold(words).args(["--kmod", &endless]).json(["--run", "echo it ran"]);
        let done = done.exits(124).says("it is loading module ").says("/misbehave.ko");
        assert_eq!((verdict["outcome"].as_str(), done.text().as_str()), (Some("timed-out"), ""));
        assert!(verdict["hang"]["report"].as_str().is_some_and(|text| text.contains("misbehave.ko")), "{verdict:#}");
    }
    let program = cold(&["--timeout", "15s", "--warm", "--base-kmod", &endless, "--", "true"]);
    program.done().exits(124).says("/misbehave.ko");
}

#[test]
fn a_module_that_crashes_a_shared_guest_fails_its_own_test_only() {
    let Some((module, package)) = misbehave::or_skip("a_module_that_crashes_a_shared_guest") else { return };
    let dir = scratch();
    let manifest = format!(
        "[kernels]\nk = {:?}\n[defaults]\nisolate = \"none\"\n\
         [[test]]\nname = \"before\"\nrun = \"true\"\n\
         [[test]]\nname = \"crashes\"\nrun = \"true\"\nkmod = {:?}\n\
         [[test]]\nname = \"expected\"\nrun = \"true\"\noutcome = \"kernel-crashed\"\nkmod = {:?}\n\
         [[test]]\nname = \"after\"\nrun = \"true\"\n",
        package.display().to_string(),
        format!("{} init=oops", module.display()),
        format!("{} init=bug", module.display()),
    );
    fs::write(dir.path().join("bootling.toml"), manifest).expect("writable directory");
    let done = Program::new().current_dir(dir.path()).args(["test", "--jsonl", "t.jsonl"]).done().exits(1);
    done.says("FAIL").says("crashed while it loaded module misbehave").says("3 passed, 1 failed");
    let report = fs::read_to_string(dir.path().join("t.jsonl")).expect("a report");
    let cells = report.lines().skip(1).map(|line| serde_json::from_str(line).expect("JSON")).collect::<Vec<Value>>();
    let crashed = cells.iter().find(|cell| cell["test"] == "crashes").expect("a cell");
    assert_eq!(crashed["attempts"][0]["outcome"], "kernel-crashed", "{crashed:#}");
}

#[test]
fn an_optional_module_that_does_not_load_is_a_note() {
    let Some(program) = Program::run(Kernel::Generic61, "an_optional_module_that_does_not_load_is_a_note") else {
        return;
    };
    // libcrc32c has a soft dependency on every implementation of crc32c; qemu64 has no SSE 4.2.
    let program = program.args(["--cpu", "qemu64", "--kmod", "libcrc32c", "--kmod", "crypto-crc32c"]);
    let done = program.args(["--run", "grep -c '^libcrc32c' /proc/modules"]).done().exits(0);
    done.says("crc32c-intel.ko was not loaded: No such device");
}

#[test]
fn a_pid_1_without_its_channel_ends_the_run_at_once_with_the_reason() {
    let Some(program) = Program::run(Kernel::Generic61, "a_pid_1_without_its_channel") else { return };
    let done = program.args(["--append", "module_blacklist=virtio_console", "--", "true"]).done().exits(125);
    done.says("could not test: pid 1 gave up: failed to open the channel virtio: error 110").says("virtio_console");
}

/// Checks what a command finds in a guest.
#[track_caller]
fn has_a_usual_root(program: Program) -> Done {
    let line = "set -e; ls -d /mnt /home /var/tmp /dev/hugepages /dev/mqueue | tr '\n' ' '; \
        grep -E '^(bpf|mqueue|hugetlbfs) ' /proc/mounts | cut -d ' ' -f 2 | sort | tr '\n' ' '; \
        cat /proc/sys/kernel/modprobe; getent hosts localhost >/dev/null; getent passwd nobody; getent group tty; \
        awk '$2 == \"/\"' /proc/mounts | wc -l; ls -d /newroot 2>/dev/null || true; \
        mkdir /n; mount -t tmpfs t /n; mkdir /n/old; pivot_root /n /n/old; echo pivoted";
    let done = program.args(["--with", "getent", "--run", line]).done().exits(0);
    assert_eq!(
        done.text(),
        "/dev/hugepages /dev/mqueue /home /mnt /var/tmp /dev/hugepages /dev/mqueue /sys/fs/bpf /proc/1/exe\n\
         nobody:x:65534:65534:nobody:/:/bin/false\ntty:x:5:\n1\npivoted\n"
    );
    done
}

#[test]
fn the_root_can_be_pivoted_and_has_the_usual_files_and_mounts() {
    let test = "the_root_can_be_pivoted_and_has_the_usual_files_and_mounts";
    let (Some(cold), Some(warm)) = (Program::run(Kernel::Generic61, test), Program::run(Kernel::Generic61, test))
    else {
        return;
    };
    has_a_usual_root(cold);
    has_a_usual_root(warm.arg("--warm"));
}
