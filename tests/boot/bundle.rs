//! `bootling bundle` and `bootling run BUNDLE`: the same again, and what bundles cannot do.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::program::scratch;
use crate::support::{Kernel, Program};

/// Makes a bundle of a line for the shell.
fn bundle(test: &str, to: &Path, options: &[&str], line: &str) -> Option<()> {
    let package = Kernel::Cloud612.or_skip(test)?;
    let program = Program::new().args(["bundle", "--kernel"]).arg(package).arg("-o").arg(to);
    program.args(options).args(["--run", line]).done().exits(0).says("wrote ");
    Some(())
}

#[test]
fn a_bundle_is_the_same_each_time_and_gives_the_same_without_what_it_was_made_of() {
    let test = "a_bundle_is_the_same_each_time";
    let dir = scratch();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("input"), "from a file\n").expect("written");
    let copy = format!("{}=/input", at("input").display());
    let line = "cat /input; echo told >&2; exit 3";
    for name in ["one", "other"] {
        if bundle(test, &at(name), &["--copy", &copy, "--smp", "2"], line).is_none() {
            return;
        }
    }
    let [one, other] = ["one", "other"].map(|name| std::fs::read(at(name)).expect("a bundle"));
    assert!(one == other, "{} and {} bytes", one.len(), other.len());
    std::fs::remove_file(at("input")).expect("removed");
    let (done, verdict) = Program::new().arg("run").json([at("one")]);
    let done = done.exits(3).says("told\n").says("bootling: as recorded\n");
    assert_eq!(done.text(), "from a file\n");
    assert_eq!((&verdict["recorded"]["same"], &verdict["status"]), (&Value::Bool(true), &3.into()), "{verdict}");
    // Another machine is another run.
    let done = Program::new().args(["run", "--append", "quiet", "--smp", "1"]).arg(at("one")).done().exits(3);
    done.says("as recorded");
    let listed = Program::new().arg("ls").arg(at("one")).done().exits(0).text();
    assert!(listed.contains("exited with 3") && listed.contains(" initrd\n"), "{listed}");
    let readme = Program::new().arg("cat").arg(at("one")).arg("README.txt").done().exits(0).text();
    assert!(readme.contains("sh run.sh"), "{readme}");
}

#[test]
fn a_bundle_of_a_panic_is_as_recorded_where_it_panics_and_repeats_with_nothing_but_qemu() {
    let test = "a_bundle_of_a_panic_is_as_recorded";
    let dir = scratch();
    let bundle_path = dir.path().join("panic.tgz");
    let line = "test -e /sys/module/x86_pkg_temp_thermal; echo here we are; grep -q please /proc/cmdline && exit 7; \
                echo c >/proc/sysrq-trigger";
    if bundle(test, &bundle_path, &[], line).is_none() {
        return;
    }
    let run = |options: &[&str]| Program::new().arg("run").args(options).arg(&bundle_path).done();
    run(&[]).exits(120).says("bootling: as recorded\n");
    run(&["--append", "please"]).exits(7).says("not as recorded: the guest's kernel panicked");
    let unpacked = Command::new("tar").arg("-xzf").arg(&bundle_path).current_dir(dir.path()).status();
    assert!(unpacked.expect("tar runs").success());
    let made = std::fs::read_dir(dir.path()).expect("a directory").map(|entry| entry.expect("an entry").path());
    let own: PathBuf = made.into_iter().find(|path| path.is_dir()).expect("one directory");
    let script = Command::new("timeout").args(["120", "sh", "run.sh"]).current_dir(own).output().expect("timeout runs");
    let console = String::from_utf8_lossy(&script.stdout);
    assert!(console.contains("here we are") && console.contains("Kernel panic - not syncing: sysrq"), "{console}");
}

#[test]
fn arguments_that_could_reach_the_host_are_shown_and_refused_unless_the_user_trusts_them() {
    let test = "arguments_that_could_reach_the_host";
    let dir = scratch();
    let path = dir.path().join("args.tar");
    let traced = dir.path().join("traced");
    let log = format!("--qemu-arg={}", traced.display());
    let options = ["--qemu-arg=-D", &log, "--qemu-arg=-d", "--qemu-arg=cpu_reset", "--no-run"];
    if bundle(test, &path, &options, "exit 4").is_none() {
        return;
    }
    assert!(!traced.exists(), "it was not run");
    let run = || Program::new().arg("run");
    let refused = run().arg(&path).done().exits(125).says("--trust");
    assert!(refused.stderr.contains(r#"it wants QEMU to be given "-D""#), "{}", refused.stderr);
    assert!(!traced.exists());
    run().arg("--trust").arg(&path).done().exits(4).says("giving QEMU what the bundle wants it to have");
    assert!(traced.exists(), "QEMU wrote it");
    run().args(["--kmod", "loop"]).arg(&path).done().exits(125).says("what it runs is in it");
    // One that was cut off, or changed, is none.
    let bytes = std::fs::read(&path).expect("a bundle");
    std::fs::write(&path, &bytes[..bytes.len() / 2]).expect("written");
    run().arg(&path).done().exits(125).says("reading bundle");
}
