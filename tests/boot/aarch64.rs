//! aarch64 guests on any host: Debian's arm64 kernel, with programs of an arm64 root. `make foreign` fetches both.

use std::process::Command;

use crate::support::program::{build_dir, scratch};
use crate::support::{Kernel, Program, skip::skip};

/// Returns the path that `bootling fetch` prints, from the cache that `make foreign` filled.
fn fetched(test: &str, what: &str) -> Option<String> {
    let cache = build_dir().join("fetched");
    if !cache.is_dir() {
        skip(test, "no arm64 kernel in build/fetched (`make foreign` fetches it)");
        return None;
    }
    let mut fetch = Command::new(env!("CARGO_BIN_EXE_bootling"));
    let output = fetch.args(["fetch", what, "--quiet", "--arch", "arm64"]).env("BOOTLING_CACHE_DIR", cache).output();
    let output = output.expect("bootling was built");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).expect("a path in UTF-8").trim().to_owned())
}

/// Returns `bootling run` with the arm64 kernel and root.
fn run(test: &str) -> Option<Program> {
    let (kernel, root) = (fetched(test, "kernel")?, fetched(test, "root")?);
    Some(Program::new().args(["run", "--kernel", &kernel, "--sysroot", &root]))
}

#[test]
fn a_foreign_guest_returns_status_streams_and_signals_cold_and_warm() {
    let test = "a_foreign_guest_returns_status_streams_and_signals";
    for warm in ["--warm=no", "--warm"] {
        let Some(program) = run(test) else { return };
        let line = "uname -m; cat; echo error >&2; exit 7";
        let done = program.args(["--arch", "arm64", warm, "--run", line]).stdin("input\n").done().exits(7);
        assert_eq!(done.text(), "aarch64\ninput\n", "{warm}");
        done.says("error");
        let Some(program) = run(test) else { return };
        program.args([warm, "--", "bash", "-c", "kill -SEGV $$"]).done().exits(139);
    }
}

#[test]
fn a_foreign_guest_loads_modules_and_reports_them() {
    let Some(program) = run("a_foreign_guest_loads_modules") else { return };
    let line = "grep -q ^loop /proc/modules && modprobe dummy && grep -q ^dummy /proc/modules && pwd";
    let (done, verdict) = program.json(["--warm", "--kmod", "loop", "--run", line]);
    done.exits(0);
    let loaded = &verdict["modules"][0];
    assert_eq!((&loaded["name"], &loaded["requested_by"]), (&"dummy".into(), &"modprobe".into()), "{verdict}");
}

#[test]
fn a_foreign_kernel_panics_and_hangs_like_any_other() {
    let test = "a_foreign_kernel_panics_and_hangs";
    let Some(program) = run(test) else { return };
    let done = program.args(["--run", "echo c >/proc/sysrq-trigger; sleep 1000"]).done().exits(120);
    done.says("sysrq triggered crash");
    let Some(program) = run(test) else { return };
    // A restored guest needs no time to boot, so the limit is for the command.
    let done = program.args(["--warm", "--timeout", "10s", "--run", "sleep 1000"]).done().exits(124);
    done.says("cpu 0 is").says("the command started after");
}

#[test]
fn programs_and_kernels_of_different_architectures_are_refused() {
    let test = "programs_and_kernels_of_different_architectures";
    let Some(kernel) = fetched(test, "kernel") else { return };
    let run = || Program::new().args(["run", "--kernel", &kernel]);
    run().args(["--arch", "x86_64", "--", "true"]).done().exits(125).says("which is for aarch64");
    let dir = scratch();
    let empty = dir.path().display().to_string();
    run().args(["--sysroot", &empty, "--", "true"]).done().exits(125).says("busybox not found");
    Program::new().args(["run", "--arch", "vax", "--", "true"]).done().exits(125).says("x86_64, aarch64");
}

#[test]
fn one_matrix_has_cells_of_both_architectures() {
    let test = "one_matrix_has_cells_of_both_architectures";
    let (Some(package), Some(_)) = (Kernel::Cloud612.or_skip(test), fetched(test, "root")) else { return };
    let dir = scratch();
    let manifest = format!(
        "[kernels]\nx86 = {{ kernel = {:?}, arch = \"x86_64\" }}\narm = {{ kernel = \"debian:\", arch = \"arm64\" }}\n\
         [machines]\nq35 = {{ arch = \"x86_64\" }}\nvirt = {{ arch = \"aarch64\" }}\n\
         [[test]]\nname = \"boots\"\nboot = \"cold\"\nrun = \"uname -m | grep -x {}\"\n",
        package.display().to_string(),
        "-e x86_64 -e aarch64"
    );
    std::fs::write(dir.path().join("bootling.toml"), manifest).expect("written");
    let program = || {
        let program = Program::new().current_dir(dir.path()).env("BOOTLING_CACHE_DIR", build_dir().join("fetched"));
        program.arg("test")
    };
    let listed = program().arg("--list").done().exits(0);
    let lines = listed.text();
    let ids: Vec<&str> = lines.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(ids, ["boots/x86/q35", "boots/arm/virt"]);
    program().args(["--jsonl", "-"]).done().exits(0).says("2 passed");
    let lock = std::fs::read_to_string(dir.path().join("bootling.lock")).expect("a lock");
    assert!(lock.contains("arch = \"aarch64\"") && !lock.contains("x86"), "{lock}");
}
