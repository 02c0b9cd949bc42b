//! `bootling fetch` without a network: what is refused before apt runs, and a host without apt.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

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
    refuses(&["kernel", "../x.deb"], 125, "error: invalid package name \"../x.deb\"");
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

#[test]
fn an_interrupt_ends_apt_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (programs, scratch) = (dir.path().join("bin"), dir.path().join("tmp"));
    fs::create_dir_all(&programs).expect("a directory");
    fs::create_dir_all(&scratch).expect("a directory");
    let apt = programs.join("apt-get");
    fs::write(&apt, "#!/bin/sh\necho $$ >\"$STARTED\"\nexec /bin/sleep 1000\n").expect("written");
    fs::set_permissions(&apt, fs::Permissions::from_mode(0o755)).expect("a mode");
    let started = dir.path().join("started");
    let mut command = Command::new(env!("CARGO_BIN_EXE_bootling"));
    command.args(["fetch", "kernel"]).env("PATH", &programs).env("TMPDIR", &scratch).env("STARTED", &started);
    command.env("BOOTLING_CACHE_DIR", dir.path().join("cache")).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("bootling was built");
    let apt = loop {
        let text = fs::read_to_string(&started).unwrap_or_default();
        if let Some(line) = text.strip_suffix('\n') {
            break Pid::from_raw(line.parse().expect("a process ID")).expect("not zero");
        }
        thread::sleep(Duration::from_millis(5));
    };
    kill_process(Pid::from_child(&child), Signal::INT).expect("the signal is sent");
    let output = child.wait_with_output().expect("an end");
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stderr).lines().last(), Some("error: interrupted by signal 2"));
    assert_eq!(fs::read_dir(&scratch).expect("a directory").count(), 0, "files are left behind");
    assert!(rustix::process::test_kill_process(apt).is_err(), "apt is still running");
}
