//! `bootling fetch` without a network: what is refused before apt runs, and a host without apt.

use std::fs;
use std::process::{Command, Output};

/// Runs `bootling fetch` with an empty cache and no programs on PATH.
fn fetch(arguments: &[&str]) -> (Output, usize) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let cache = dir.path().join("cache");
    let mut command = Command::new(env!("CARGO_BIN_EXE_bootling"));
    command.arg("fetch").args(arguments).env("PATH", dir.path()).env("BOOTLING_CACHE_DIR", &cache);
    let output = command.env("TMPDIR", dir.path()).output().expect("bootling was built");
    // Only the cache is left, without an entry.
    let left = fs::read_dir(dir.path()).expect("a directory").count();
    let entries = fs::read_dir(&cache).map_or(0, |entries| {
        entries
            .filter(|entry| !entry.as_ref().expect("an entry").file_name().to_string_lossy().starts_with('.'))
            .count()
    });
    (output, left + entries)
}

#[track_caller]
fn refuses(arguments: &[&str], status: i32, error: &str) {
    let (output, left) = fetch(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{said}");
    assert!(output.stdout.is_empty() && said.contains(error), "{said}");
    assert!(left <= 1, "{left} files left behind");
}

#[test]
fn a_name_that_apt_would_take_for_an_option_or_a_path_is_refused() {
    refuses(&["root", "--", "-o"], 125, "error: invalid package name \"-o\"");
    refuses(&["kernel", "../x.deb"], 125, "error: invalid package name \"linux-image-../x.deb-");
}

#[test]
fn an_unknown_architecture_and_one_that_debian_lacks_are_refused() {
    refuses(&["root", "--arch", "vax"], 2, "expected one of x86_64, i386");
    refuses(&["root", "--arch", "x32"], 125, "error: no Debian packages for x32");
}

#[test]
fn a_host_without_apt_is_an_error_that_names_it() {
    refuses(&["kernel", "--arch", "arm64"], 125, "failed to run apt-get: packages are fetched with Debian's apt");
}
