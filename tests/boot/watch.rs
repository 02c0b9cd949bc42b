//! Watch mode: one round for each save, a new save restarts the round, and no leftovers at the end.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::processes::{children, qemu_of, runs, signal, wait_for, wait_until_gone};
use crate::support::program::{Done, Running, scratch};
use crate::support::{Kernel, Program};

/// Time limit for a round.
const ROUND: Duration = Duration::from_secs(90);
/// Input of each watch in addition to those of the test. A change of it starts a round, which shows that there was no
/// other round before.
const SENTINEL: &str = "sentinel";
/// Time without a file that is longer than the pause after which a change is complete.
const ABSENCE: Duration = Duration::from_millis(500);
/// Half of the time that a watch waits for a missing file.
const PATIENCE: Duration = Duration::from_secs(1);

/// A running `bootling watch` and its directory.
struct Watched {
    running: Running,
    dir: tempfile::TempDir,
}

/// Starts `bootling watch` in `dir`.
fn watch(test: &str, dir: tempfile::TempDir, options: &[&str], command: &[&str]) -> Option<Watched> {
    let package = Kernel::Cloud612.or_skip(test)?;
    let options = [&["--accel", "tcg"], options].concat();
    Some(watch_kernel(&package, dir, &options, command))
}

/// The same, with another kernel and any accelerator.
fn watch_kernel(kernel: &Path, dir: tempfile::TempDir, options: &[&str], command: &[&str]) -> Watched {
    fs::write(dir.path().join(SENTINEL), "").expect("written");
    let program = Program::new().current_dir(dir.path()).args(["watch", "--json", "rounds"]);
    let program = program.args(["--copy", &format!("{SENTINEL}=/sentinel"), "-k"]).arg(kernel).args(options);
    Watched { running: program.arg("--").args(command).start(), dir }
}

impl Watched {
    /// Returns the verdicts of the completed rounds.
    fn rounds(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.dir.path().join("rounds")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("one verdict per line")).collect()
    }

    /// Waits for a round (counted from 1); returns the changed paths and the exit code of the round.
    #[track_caller]
    fn round(&self, number: usize) -> (Vec<String>, u64) {
        let round = wait_for("a round", ROUND, || self.rounds().into_iter().nth(number - 1));
        let after =
            round["after"].as_array().expect("a list").iter().map(|path| path.as_str().unwrap_or("?").to_owned());
        (after.collect(), round["exit_code"].as_u64().expect("a number"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Checks that nothing before this call starts another round after `rounds` rounds: the next one is for the sentinel
    /// alone.
    #[track_caller]
    fn rests_after(&self, rounds: usize) {
        script(&self.path(SENTINEL), "");
        assert_eq!(self.round(rounds + 1).0, [format!("./{SENTINEL}")]);
    }

    /// Ends the watch and checks that there were exactly this many rounds, and one for the sentinel.
    #[track_caller]
    fn end(self, with: Signal, rounds: usize) -> Done {
        self.rests_after(rounds);
        assert_eq!(self.rounds().len(), rounds + 1);
        signal(self.running.pid(), with);
        let done = self.running.done();
        assert_eq!(done.status, Some(128 + with.as_raw()), "{}", done.stderr);
        done
    }
}

/// Writes an executable script and renames it into place, as editors do.
fn script(path: &Path, line: &str) {
    let new = path.with_extension("new");
    fs::write(&new, format!("#!/bin/sh\n{line}\n")).expect("written");
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).expect("allowed");
    fs::rename(new, path).expect("renamed");
}

#[test]
fn each_save_is_one_round_and_ctrl_c_ends_it() {
    let dir = scratch();
    script(&dir.path().join("test"), "echo one; wc -c");
    let Some(watched) = watch("each_save_is_one_round_and_ctrl_c_ends_it", dir, &[], &["./test"]) else { return };
    assert_eq!(watched.round(1), (vec![], 0));
    script(&watched.path("test"), "echo two; exit 3");
    assert_eq!(watched.round(2), (vec!["./test".to_owned()], 3));
    assert!(watched.rounds().iter().all(|round| round["warm"] == true), "watch mode is warm by default");
    // A change of an unrelated file starts no round, nor does opening and closing a file.
    fs::write(watched.path("other"), "x").expect("written");
    drop(fs::File::options().append(true).open(watched.path("test")).expect("opened"));
    watched.rests_after(2);
    let done = watched.end(Signal::INT, 3);
    assert_eq!(done.text(), "one\n0\ntwo\ntwo\ntwo\n");
    done.says("passed (exit 0) in ").says("failed (exit 3) in ").says(" s after ./test changed\n");
}

#[test]
fn a_program_that_is_absent_for_a_moment_is_one_change() {
    let dir = scratch();
    script(&dir.path().join("test"), "exit 3");
    let test = "a_program_that_is_absent_for_a_moment";
    let Some(watched) = watch(test, dir, &[], &["./test"]) else { return };
    assert_eq!(watched.round(1), (vec![], 3));
    let mut rounds = 1;
    for _ in 0..20 {
        // As while a linker runs.
        let gone = Instant::now();
        fs::remove_file(watched.path("test")).expect("removed");
        std::thread::sleep(ABSENCE);
        fs::write(watched.path("test.part"), "#!/bin/sh").expect("written");
        script(&watched.path("test"), "kill -9 $$");
        if gone.elapsed() < PATIENCE {
            assert_eq!(watched.round(rounds + 1), (vec!["./test".to_owned()], 137));
            watched.end(Signal::INT, rounds + 1).says("(SIGKILL)");
            return;
        }
        // If the host stalled this test for longer than the watch waits for a missing file, a round without the file is
        // correct.
        while watched.round(rounds + 1).1 != 137 {
            rounds += 1;
        }
        rounds += 1;
        script(&watched.path("test"), "exit 3");
        assert_eq!(watched.round(rounds + 1).1, 3);
        rounds += 1;
    }
    panic!("this host stalls a test for seconds");
}

#[test]
fn a_change_while_a_guest_runs_ends_it_and_starts_over() {
    let dir = scratch();
    script(&dir.path().join("test"), "echo started; sleep 1000");
    let test = "a_change_while_a_guest_runs_ends_it_and_starts_over";
    let Some(watched) = watch(test, dir, &[], &["./test"]) else { return };
    let qemu = qemu_of(watched.running.pid());
    watched.running.wait_for_output("started\n");
    script(&watched.path("test"), "echo done");
    wait_until_gone(qemu);
    assert_eq!(watched.round(1), (vec!["./test".to_owned()], 0));
    let done = watched.end(Signal::TERM, 1);
    assert!(done.text().ends_with("done\ndone\n"), "{}", done.text());
    let done = done.says("starting over");
    assert!(!done.stderr.contains("interrupted"), "not interrupted by a signal: {}", done.stderr);
}

#[test]
fn a_signal_ends_the_guest_and_the_watch() {
    let test = "a_signal_ends_the_guest_and_the_watch";
    let Some(watched) = watch(test, scratch(), &[], &["sleep", "1000"]) else { return };
    let qemu = qemu_of(watched.running.pid());
    signal(watched.running.pid(), Signal::TERM);
    let done = watched.running.done().exits(143);
    done.says("interrupted (SIGTERM)");
    assert!(!runs(qemu));
}

#[test]
fn a_missing_program_is_waited_for_and_links_are_followed() {
    let dir = scratch();
    for (name, line) in [("v1", "exit 4"), ("v2", "exit 5")] {
        script(&dir.path().join(name), line);
    }
    let test = "a_missing_program_is_waited_for_and_links_are_followed";
    let Some(watched) = watch(test, dir, &[], &["./bin/test"]) else { return };
    assert_eq!(watched.round(1), (vec![], 127));
    fs::create_dir(watched.path("bin")).expect("made");
    symlink("../v1", watched.path("bin/test")).expect("linked");
    assert_eq!(watched.round(2), (vec!["./bin".to_owned()], 4));
    symlink("../v2", watched.path("bin/new")).expect("linked");
    fs::rename(watched.path("bin/new"), watched.path("bin/test")).expect("renamed");
    assert_eq!(watched.round(3), (vec!["./bin/test".to_owned()], 5));
    watched.end(Signal::INT, 3).says("could not test in ");
}

#[test]
fn the_build_runs_first_and_its_products_start_no_round() {
    let dir = scratch();
    fs::write(dir.path().join("test.in"), "echo one").expect("written");
    // No option names the products to ignore. Contents are compared, since times may be equal.
    let build = "echo building >&2; test ! -e broken || exit 2; cmp -s test.in test.done || \
                 { echo '#!/bin/sh' | cat - test.in >test.o; chmod +x test.o; cp -p test.o test; cp test.in test.done; }";
    let test = "the_build_runs_first_and_its_products_start_no_round";
    let options = ["--watch-exec", build, "--console", "console"];
    let Some(watched) = watch(test, dir, &options, &["./test"]) else { return };
    assert_eq!(watched.round(1), (vec![], 0));
    fs::write(watched.path("test.in"), "echo two").expect("written");
    assert_eq!(watched.round(2), (vec!["./test.in".to_owned()], 0));
    fs::write(watched.path("broken"), "").expect("written");
    assert_eq!(watched.round(3), (vec!["./broken".to_owned()], 125));
    fs::remove_file(watched.path("broken")).expect("removed");
    assert_eq!(watched.round(4), (vec!["./broken".to_owned()], 0));
    let done = watched.end(Signal::INT, 4);
    assert_eq!(done.text(), "one\ntwo\ntwo\ntwo\n");
    // One build per round, and further builds to find the products.
    let builds = done.stderr.matches("building\n").count();
    assert!(builds <= 7, "{builds}: {}", done.stderr);
    done.says("build failed (exit 2) in ");
}

#[test]
fn with_warm_no_each_round_boots_cold() {
    let dir = scratch();
    script(&dir.path().join("test"), "exit 1");
    let test = "with_warm_no_each_round_boots_cold";
    let Some(watched) = watch(test, dir, &["--warm=no"], &["./test"]) else { return };
    assert_eq!(watched.round(1), (vec![], 1));
    assert_eq!(watched.rounds()[0]["warm"], false);
    watched.end(Signal::INT, 1);
}

#[test]
fn a_fresh_snapshot_is_made_once_and_notes_are_printed_once() {
    let dir = scratch();
    script(&dir.path().join("test"), "exit 1");
    let test = "a_fresh_snapshot_is_made_once_and_notes_are_printed_once";
    // A separate base, so that no other test restores the snapshot made here.
    let options = ["--warm=fresh", "--memory", "513M"];
    let Some(package) = Kernel::Cloud612.or_skip(test) else { return };
    let watched = watch_kernel(&package, dir, &options, &["./test"]);
    assert_eq!(watched.round(1), (vec![], 1));
    script(&watched.path("test"), "exit 2");
    assert_eq!(watched.round(2).1, 2);
    let ages: Vec<bool> = watched.rounds().iter().map(|round| round["snapshot_age_ms"] == 0.0).collect();
    assert_eq!(ages, [true, false]);
    let said = watched.end(Signal::INT, 2).stderr;
    assert_eq!(said.matches("booting a guest for the snapshot (once)").count(), 1, "{said}");
    assert!(said.matches("using TCG").count() <= 1, "{said}");
}

#[test]
fn a_kernel_built_in_a_tree_starts_a_round() {
    let test = "a_kernel_built_in_a_tree_starts_a_round";
    let Some(package) = Kernel::Cloud612.or_skip(test) else { return };
    let dir = scratch();
    let tree = dir.path().join("tree");
    fs::create_dir_all(tree.join("arch/x86/boot")).expect("made");
    fs::write(tree.join(".config"), "").expect("written");
    let watched = watch_kernel(Path::new("tree"), dir, &["--accel", "tcg", "--warm=no"], &["true"]);
    assert_eq!(watched.round(1), (vec![], 125));
    // As in a build: the image grows under its final name.
    let unpack = "dpkg-deb --fsys-tarfile \"$1\" | tar -xO --wildcards './boot/vmlinuz-*' >\"$2\"";
    let image = watched.path("tree/arch/x86/boot/bzImage");
    let unpacked = std::process::Command::new("sh").args(["-c", unpack, "sh"]).arg(package).arg(&image).status();
    assert!(unpacked.expect("sh runs").success());
    assert_eq!(watched.round(2), (vec!["./tree/arch/x86/boot/bzImage".to_owned()], 0));
    let again = watched.path("new");
    fs::copy(&image, &again).and_then(|_| fs::rename(&again, &image)).expect("replaced");
    assert_eq!(watched.round(3), (vec!["./tree/arch/x86/boot/bzImage".to_owned()], 0));
    watched.end(Signal::INT, 3);
}

#[test]
fn a_signal_during_the_build_ends_the_build() {
    let test = "a_signal_during_the_build_ends_the_build";
    let options = ["--watch-exec", "exec sleep 1000"];
    let Some(watched) = watch(test, scratch(), &options, &["true"]) else { return };
    let build = wait_for("the build", ROUND, || children(watched.running.pid(), "sleep").pop());
    signal(watched.running.pid(), Signal::INT);
    watched.running.done().exits(130);
    assert!(!runs(build));
}

#[test]
fn at_the_inotify_limit_files_are_polled() {
    let test = "at_the_inotify_limit_files_are_polled";
    let Some(package) = Kernel::Cloud612.or_skip(test) else { return };
    let dir = scratch();
    script(&dir.path().join("test"), "exit 0");
    // A user namespace has separate limits (user_namespaces(7)).
    let line = "echo 1 >/proc/sys/user/max_inotify_watches && exec \"$@\"";
    let mut command = std::process::Command::new("timeout");
    command.args(["--signal", "INT", "60", "unshare", "-Ur", "sh", "-c", line, "sh", env!("CARGO_BIN_EXE_bootling")]);
    command.args(["watch", "--accel", "tcg", "--json", "rounds", "-k"]).arg(package).args(["--", "./test"]);
    let cache = dir.path().join("cache");
    let mut child = command
        .current_dir(dir.path())
        .env("BOOTLING_CACHE_DIR", cache)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("timeout runs");
    let rounds = || fs::read_to_string(dir.path().join("rounds")).map_or(0, |text| text.lines().count());
    if !wait_for("a round, or an end", ROUND, || match child.try_wait() {
        Ok(Some(_)) => Some(false),
        _ => (rounds() == 1).then_some(true),
    }) {
        let output = child.wait_with_output().expect("child process");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("unshare"), "{said}");
        crate::support::skip::skip(test, "user namespaces are not available");
        return;
    }
    script(&dir.path().join("test"), "exit 1");
    wait_for("a second round", ROUND, || (rounds() == 2).then_some(()));
    signal(child.id(), Signal::INT);
    let output = child.wait_with_output().expect("child process");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("twice a second: inotify limit reached"), "{said}");
}

#[test]
fn an_interactive_shell_cannot_be_watched() {
    for words in [&["watch"][..], &["run", "--watch"], &["watch", "-t", "--", "true"]] {
        Program::new().args(words).done().exits(125).says("cannot be watched");
    }
    for option in ["--bisect", "--print-command"] {
        Program::new().args(["watch", option, "--", "true"]).done().exits(125).says("cannot be used in watch mode");
    }
    Program::new().args(["run", "--watch", "--bisect", "--", "true"]).done().exits(128).says("cannot be used with");
}
