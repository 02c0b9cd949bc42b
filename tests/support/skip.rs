//! Tests that cannot run on this host print the reason and pass; with `REQUIRE_VM=1`, as in CI, they fail.

use std::env;
use std::io::{self, Write};
use std::path::Path;

/// Prints the reason why `test` is skipped.
pub(crate) fn skip(test: &str, why: &str) {
    assert!(env::var_os("REQUIRE_VM").is_none_or(|value| value != "1"), "REQUIRE_VM=1, and {why}");
    // Written directly to standard error: the test harness hides the output of passing tests.
    writeln!(io::stderr(), "SKIPPED {test}: {why}").expect("standard error is open");
}

/// Returns true if all of these programs (names on PATH, or paths) and files exist; otherwise skips the test.
#[allow(dead_code, reason = "some tests need no tools")]
pub(crate) fn tools(test: &str, names: &[&str]) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let there = |name: &&&str| Path::new(name).is_file() || env::split_paths(&path).any(|dir| dir.join(name).is_file());
    let missing: Vec<_> = names.iter().filter(|name| !there(name)).collect();
    if !missing.is_empty() {
        skip(test, &format!("{missing:?} not here (`tools/setup build run test` brings them)"));
    }
    missing.is_empty()
}
