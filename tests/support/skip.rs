//! What becomes of a test that cannot run here: it says why and passes; with `REQUIRE_VM=1`, as in CI, it fails.

use std::env;
use std::io::{self, Write};
use std::path::Path;

/// Says why `test` is not run.
pub fn skip(test: &str, why: &str) {
    assert!(env::var_os("REQUIRE_VM").is_none_or(|value| value != "1"), "REQUIRE_VM=1, and {why}");
    // Straight to the terminal: the test harness hides what a passing test prints.
    writeln!(io::stderr(), "SKIPPED {test}: {why}").expect("standard error is open");
}

/// Whether these programs, by name on PATH or by path, and files are there; if not, the test is skipped.
#[allow(dead_code, reason = "some tests need no tools")]
pub fn tools(test: &str, names: &[&str]) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let there = |name: &&&str| Path::new(name).is_file() || env::split_paths(&path).any(|dir| dir.join(name).is_file());
    let missing: Vec<_> = names.iter().filter(|name| !there(name)).collect();
    if !missing.is_empty() {
        skip(test, &format!("{missing:?} not here (`tools/setup build run test` brings them)"));
    }
    missing.is_empty()
}
