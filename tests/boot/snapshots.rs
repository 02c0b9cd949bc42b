//! Snapshots that are damaged, unfinished, or cannot be stored: the run still succeeds and prints one line with the
//! reason.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::cache::{OwnCache, restamp};
use crate::support::processes::{LIMIT, children, cpu_time, signal, wait_for, wait_until_gone};
use crate::support::skip::skip;
use crate::support::{Kernel, Program};

/// Waits for the QEMU process of `parent` that runs a machine; others only print their version.
fn machine_of(parent: u32) -> u32 {
    let boots = |pid: &u32| {
        fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|words| words.split(|byte| *byte == 0).any(|word| word == b"-kernel"))
    };
    wait_for("a machine", LIMIT, || children(parent, "qemu-system").into_iter().find(boots))
}

/// Overwrites a part of a file in place.
fn spoil(file: &Path, at: u64, len: usize, with: u8) {
    let file = File::options().write(true).open(file).expect("exists");
    file.write_all_at(&vec![with; len], at).expect("writable directory");
}

/// A signal, the exit status that it causes, and the condition for sending it, which depends on a QEMU process.
type Moment<'a> = (Signal, i32, &'a dyn Fn(u32) -> bool);

/// Damages a snapshot directory.
type Damage = fn(&Path);

#[test]
fn a_damaged_snapshot_is_replaced() {
    let test = "a_damaged_snapshot_is_replaced";
    let Some(cache) = OwnCache::new(Kernel::Cloud612, test) else { return };
    cache.runs();
    let damages: [(&str, Damage); 5] = [
        ("memory that is cut off", |snapshot| {
            File::options()
                .write(true)
                .open(snapshot.join("ram"))
                .and_then(|ram| ram.set_len(1 << 20))
                .expect("writable file");
        }),
        ("no state", |snapshot| fs::remove_file(snapshot.join("state")).expect("writable file")),
        // Only QEMU and the guest can detect the following.
        ("a state that QEMU refuses", |snapshot| {
            spoil(&snapshot.join("state"), 0, 4, b'x');
            restamp(snapshot);
        }),
        ("a state that ends early", |snapshot| {
            let state = File::options().write(true).open(snapshot.join("state")).expect("writable file");
            state.set_len(state.metadata().expect("writable file").len() / 2).expect("writable file");
            restamp(snapshot);
        }),
        ("memory with nothing in it", |snapshot| {
            let ram = File::options().write(true).open(snapshot.join("ram")).expect("writable file");
            let len = ram.metadata().expect("writable file").len();
            ram.set_len(0).and_then(|()| ram.set_len(len)).expect("writable file");
            restamp(snapshot);
        }),
    ];
    for (what, damage) in damages {
        damage(&cache.snapshot());
        let (age, said) = cache.runs();
        assert!(age <= 0.0, "{what}: {age} {said}");
        let told = said.lines().filter(|line| line.contains("booting a guest for the snapshot")).count();
        assert_eq!(told, 1, "{what}: {said}");
        let again = said.lines().filter(|line| line.contains("making the snapshot again")).count();
        assert!(again <= 1, "{what}: {said}");
    }
    let (age, said) = cache.runs();
    assert!(age > 0.0 && !said.contains("later runs"), "{age} {said}");
}

#[test]
fn a_run_interrupted_while_making_the_snapshot_leaves_none() {
    let test = "a_run_interrupted_while_making_the_snapshot";
    let Some(cache) = OwnCache::new(Kernel::Cloud612, test) else { return };
    let is_stored = |file: &str| {
        let stored = |data: PathBuf| fs::metadata(data.join(file)).is_ok_and(|file| file.len() > 0);
        cache.unfinished().into_iter().map(|entry| entry.join("data")).any(stored) || !cache.snapshots().is_empty()
    };
    let is_busy = |qemu: u32, time: Duration| cpu_time(qemu).is_none_or(|spent| spent >= time);
    // In early and late phases of the boot, and while memory is stored.
    let moments: [Moment<'_>; 4] = [
        (Signal::INT, 130, &|_| true),
        (Signal::INT, 130, &|qemu| is_busy(qemu, Duration::from_millis(300)) || is_stored("ram")),
        (Signal::TERM, 143, &|qemu| is_busy(qemu, Duration::from_secs(1)) || is_stored("ram")),
        (Signal::INT, 130, &|_| is_stored("ram")),
    ];
    for (number, (name, status, is_due)) in moments.into_iter().enumerate() {
        let running = cache.program().args(["--", "sleep", "1000"]).start();
        let qemu = machine_of(running.pid());
        wait_for("the moment of the signal", LIMIT, || is_due(qemu).then_some(()));
        signal(running.pid(), name);
        let done = running.done();
        // If the snapshot is complete already, the guest is asked to stop first.
        if cache.snapshots().is_empty() {
            done.exits(status);
        } else {
            assert!(number > 0, "{}", done.stderr);
        }
        wait_until_gone(qemu);
        assert!(cache.unfinished().is_empty(), "{:?}", cache.unfinished());
    }
    // The leftovers of a killed run are removed by a later run, after a grace period of a minute.
    let running = Program::new()
        .env("BOOTLING_CACHE_DIR", cache.path())
        .args(["run", "--warm=fresh", "--kernel"])
        .arg(cache.kernel())
        .args(["--", "sleep", "1000"])
        .start();
    let qemu = machine_of(running.pid());
    wait_for("an entry in the making", LIMIT, || (!cache.unfinished().is_empty()).then_some(()));
    signal(running.pid(), Signal::KILL);
    assert_eq!(running.done().signal, Some(9));
    wait_until_gone(qemu);
    assert!(cache.snapshots().is_empty() && cache.unfinished().len() == 1, "{:?}", cache.unfinished());
    cache.runs();
    let (age, said) = cache.runs();
    assert!(age > 0.0, "{said}");
}

#[test]
fn a_qemu_that_dies_during_save_or_restore_does_not_break_later_runs() {
    let test = "a_qemu_that_dies_during_save_or_restore";
    let Some(cache) = OwnCache::new(Kernel::Cloud612, test) else { return };
    // While the base boots, there is no retry, as in a cold run.
    let running = cache.program().args(["--", "true"]).start();
    let qemu = machine_of(running.pid());
    let is_booting = || cpu_time(qemu).is_some_and(|spent| spent >= Duration::from_millis(100));
    wait_for("the boot", LIMIT, || is_booting().then_some(()));
    signal(qemu, Signal::KILL);
    running.done().exits(118).says("QEMU");
    assert!(cache.snapshots().is_empty());
    cache.runs();
    // As soon as QEMU runs: usually before the first message from pid 1.
    let running = cache.program().args(["--", "echo", "alive"]).start();
    signal(machine_of(running.pid()), Signal::KILL);
    let done = running.done();
    match done.status {
        Some(0) => assert_eq!(done.text(), "alive\n", "{}", done.stderr),
        status => assert_eq!(status, Some(118), "{}", done.stderr),
    }
    cache.runs();
}

#[test]
fn a_full_or_read_only_cache_costs_time_but_no_verdict() {
    let test = "a_full_or_read_only_cache";
    let Some(cache) = OwnCache::new(Kernel::Cloud612, test) else { return };
    // A separate file system in a mount namespace, nearly full or read-only.
    let script = "mkdir -p \"$1/small\" && mount -t tmpfs -o mode=0700 none \"$1/small\" || exit 99
        export BOOTLING_CACHE_DIR=\"$1/small\"
        after=$2; shift 2
        \"$@\" --warm=no -- true || exit 98
        eval \"$after\"; df -k \"$BOOTLING_CACHE_DIR\" >&2
        \"$@\" --warm -- sh -c 'echo fine; exit 3'; echo $?
        \"$@\" --warm -- sh -c 'echo fine; exit 3'; echo $?";
    let (full, sealed) = (
        // Space for half of a snapshot.
        "used=$(df -k --output=used \"$BOOTLING_CACHE_DIR\" | tail -n 1)
        mount -o remount,size=$((used + 32768))k \"$BOOTLING_CACHE_DIR\"",
        "mount -o remount,ro \"$BOOTLING_CACHE_DIR\"",
    );
    for (after, why) in [(full, "snapshot not stored: No space left"), (sealed, "booting cold: ")] {
        let output = Command::new("unshare")
            .args(["--map-root-user", "--mount", "bash", "-c", script, "bash"])
            .arg(cache.path())
            .args([after, env!("CARGO_BIN_EXE_bootling"), "run", "--kernel"])
            .arg(cache.kernel())
            .output()
            .expect("util-linux");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.code() == Some(99) || output.status.code() == Some(1) {
            skip(test, &format!("no file system can be mounted here: {said}"));
            return;
        }
        assert_eq!(String::from_utf8_lossy(&output.stdout), "fine\n3\nfine\n3\n", "{said}");
        let told = said.lines().filter(|line| line.contains(why)).count();
        assert_eq!(told, 2, "{said}");
    }
}

#[test]
fn a_snapshot_in_a_read_only_cache_is_used_and_no_cache_at_all_costs_only_time() {
    let test = "a_snapshot_in_a_read_only_cache";
    let Some(cache) = OwnCache::new(Kernel::Generic61, test) else { return };
    cache.runs();
    let script = "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\" || exit 99
        export BOOTLING_CACHE_DIR=\"$1\"; shift
        \"$@\" --warm -- echo fine
        unset BOOTLING_CACHE_DIR XDG_CACHE_HOME HOME
        \"$@\" --warm --kmod loop -- echo fine";
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "bash", "-c", script, "bash"])
        .arg(cache.path())
        .args([env!("CARGO_BIN_EXE_bootling"), "run", "--kernel"])
        .arg(cache.kernel())
        .env("TMPDIR", cache.path().parent().expect("a parent"))
        .output()
        .expect("util-linux");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() == Some(99) || output.stdout.is_empty() && said.contains("unshare:") {
        skip(test, &format!("no file system can be mounted here: {said}"));
        return;
    }
    assert_eq!(String::from_utf8_lossy(&output.stdout), "fine\nfine\n", "{said}");
    let (used, without) = said.split_once("no cache directory").expect(&said);
    assert!(!used.contains("(once)") && !used.contains("booting cold"), "{said}");
    assert!(without.contains("booting cold: no cache directory"), "{said}");
    let left = fs::read_dir(cache.path().parent().expect("a parent")).expect("exists");
    let left = left.filter(|entry| {
        entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("bootling-cache."))
    });
    assert_eq!(left.count(), 0);
}

#[test]
fn a_package_whose_modules_were_truncated_in_the_cache_is_unpacked_again() {
    let test = "a_package_whose_modules_were_truncated";
    let Some(cache) = OwnCache::new(Kernel::Generic61, test) else { return };
    let build = || {
        let image = cache.path().join("x.img");
        let program = Program::new().env("BOOTLING_CACHE_DIR", cache.path()).args(["build", "--kmod", "loop", "-o"]);
        program.arg(&image).arg("--kernel").arg(cache.kernel()).done().exits(0);
        fs::read(image).expect("written")
    };
    let expected = build();
    let files = walkdir::WalkDir::new(cache.path()).into_iter().map(|item| item.expect("listed"));
    for file in
        files.filter(|file| file.file_type().is_file() && file.path().to_string_lossy().contains("/lib/modules/"))
    {
        fs::write(file.path(), "").expect("truncated");
    }
    assert!(build() == expected);
}

#[test]
fn removing_the_cache_while_a_guest_runs_is_harmless() {
    let test = "removing_the_cache_while_a_guest_runs";
    let Some(cache) = OwnCache::new(Kernel::Cloud612, test) else { return };
    cache.runs();
    let line = "echo begun; read -r line; dd if=/dev/zero of=/tmp/x bs=1M count=300; echo $line";
    let (running, mut input) = cache.program().args(["--run", line]).start_with_input();
    running.wait_for_output("begun\n");
    for entry in fs::read_dir(cache.path()).expect("exists") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            fs::remove_dir_all(path).expect("writable file");
        }
    }
    input.write_all(b"ok\n").expect("the guest reads");
    drop(input);
    let done = running.done().exits(0);
    assert_eq!(done.text(), "begun\nok\n");
    assert!(cache.runs().0 <= 0.0);
    // A cache that other users can enter must not contain guest memory.
    fs::set_permissions(cache.path(), fs::Permissions::from_mode(0o755)).expect("writable file");
    cache.program().args(["--", "true"]).done().exits(125).says("accessible to others");
    fs::set_permissions(cache.path(), fs::Permissions::from_mode(0o700)).expect("writable file");
}

#[test]
fn a_changed_qemu_behind_a_wrapper_invalidates_the_snapshot() {
    let test = "a_changed_qemu_behind_a_wrapper";
    let Some(cache) = OwnCache::new(Kernel::Cloud612, test) else { return };
    let found = Command::new("sh").args(["-c", "command -v qemu-system-x86_64"]).output().expect("sh runs").stdout;
    let qemu = String::from_utf8(found).expect("a path").trim().to_owned();
    // QEMU looks for modules and ROMs relative to its own directory.
    let dir = crate::support::program::scratch();
    let (link, wrapper) = (dir.path().join("link"), dir.path().join("wrapper"));
    let script = "mkdir -p \"$1/usr/bin\" && for place in \"${2%/bin/*}\"/*; do
            test \"${place##*/}\" = bin || ln -s \"$place\" \"$1/usr/\"; done
        cp \"$2\" \"$1/usr/bin/\" && ln -s \"$2\" \"$1/link\" &&
        printf '#!/bin/sh\\nexec %s \"$@\"\\n' \"$1/link\" >\"$1/wrapper\" && chmod 755 \"$1/wrapper\"";
    let made = Command::new("sh").args(["-c", script, "sh"]).arg(dir.path()).arg(&qemu).status();
    assert!(made.expect("sh runs").success());
    let runs = || {
        let (done, verdict) = cache.program().arg("--qemu").arg(&wrapper).json(["--", "echo", "here"]);
        let done = done.exits(0);
        assert_eq!(done.text(), "here\n");
        (verdict["snapshot_age_ms"].as_f64(), done.stderr)
    };
    assert_eq!(runs().0, Some(0.0));
    assert!(runs().0.is_some_and(|age| age > 0.0));
    let copy = dir.path().join("usr/bin").join(Path::new(&qemu).file_name().expect("a program"));
    fs::remove_file(&link).expect("writable file");
    std::os::unix::fs::symlink(copy, &link).expect("writable file");
    let (age, said) = runs();
    assert!(age == Some(0.0) && said.contains("the QEMU program has changed"), "{age:?} {said}");
    assert!(runs().0.is_some_and(|age| age > 0.0));
}
