//! bootling as a cargo runner: each test binary of a crate runs in a fresh guest.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::Kernel;
use crate::support::program::{build_dir, scratch};

/// Runs `cargo test` on the fixture with bootling as the runner; `rest` follows `cargo test`.
fn cargo_test(package: &Path, options: &str, rest: &[&str], target: &Path) -> Output {
    let bootling = Path::new(env!("CARGO_BIN_EXE_bootling"));
    let runner = format!("{} run --quiet --kernel {} {options} --", bootling.display(), package.display());
    let cargo = std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
    let mut command = Command::new("timeout");
    command
        .arg("300")
        .arg(cargo)
        .args(["test", "--offline", "--locked", "--quiet", "--target-dir"])
        .arg(target)
        .args(rest);
    // cargo's variables for this test program must not reach the inner cargo.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_") && name != "CARGO_HOME") {
            command.env_remove(name);
        }
    }
    command
        .current_dir(fixture())
        .env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER", runner)
        .env("BOOTLING_CACHE_DIR", build_dir().join("test-cache"))
        .env("RUNNER_FIXTURE", "hello")
        .output()
        .expect("timeout runs")
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/runner")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn cargo_test_runs_in_guests() {
    let Some(package) = Kernel::Cloud612.or_skip("cargo_test_runs_in_guests") else { return };
    let target = scratch();
    let manifest = fixture().join("Cargo.toml");
    let options = format!("--warm --env RUNNER_FIXTURE --copy {}", manifest.display());

    let output = cargo_test(&package, &options, &["--lib"], target.path());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("test result: ok. 3 passed; 0 failed; 1 ignored"), "{}", text(&output));

    let output = cargo_test(&package, &options, &["--lib", "--", "--ignored"], target.path());
    assert_eq!(output.status.code(), Some(101), "{}", text(&output));
    assert!(text(&output).contains("test result: FAILED. 0 passed; 1 failed"), "{}", text(&output));
    assert!(text(&output).contains("src/lib.rs:"), "{}", text(&output));
}
