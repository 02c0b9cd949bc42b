//! `bootling bundle` and `bootling run BUNDLE`: reproduction of a run, and refused bundles.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::support::program::scratch;
use crate::support::{Kernel, Program};

/// Creates a bundle from a shell command line.
fn bundle(test: &str, to: &Path, options: &[&str], line: &str) -> Option<()> {
    let package = Kernel::Cloud612.or_skip(test)?;
    let program = Program::new().args(["bundle", "--kernel"]).arg(package).arg("-o").arg(to);
    program.args(options).args(["--run", line]).done().exits(0).says("wrote ");
    Some(())
}

#[test]
fn a_bundle_is_reproducible_and_runs_without_its_input_files() {
    let test = "a_bundle_is_reproducible";
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
    // The list has a digest of each member, so that a failure shows which one differs.
    let members = |name: &str| Program::new().arg("ls").arg(at(name)).done().exits(0).text();
    assert_eq!(members("one"), members("other"));
    assert!(one == other, "{} and {} bytes", one.len(), other.len());
    std::fs::remove_file(at("input")).expect("removed");
    let (done, verdict) = Program::new().arg("run").json([at("one")]);
    let done = done.exits(3).says("told\n").says("bootling: as recorded\n");
    assert_eq!(done.text(), "from a file\n");
    assert_eq!((&verdict["recorded"]["same"], &verdict["status"]), (&Value::Bool(true), &3.into()), "{verdict}");
    // A different machine may give a different result.
    let done = Program::new().args(["run", "--append", "quiet", "--smp", "1"]).arg(at("one")).done().exits(3);
    let done = done.says("as recorded");
    assert!(!done.stderr.contains("run.sh"), "{}", done.stderr);
    let listed = Program::new().arg("ls").arg(at("one")).done().exits(0).text();
    assert!(listed.contains("exited with 3") && listed.contains(" initrd\n"), "{listed}");
    let readme = Program::new().arg("cat").arg(at("one")).arg("README.txt").done().exits(0).text();
    assert!(readme.contains("sh run.sh"), "{readme}");
}

#[test]
fn a_bundle_of_a_panic_reproduces_with_bootling_and_with_plain_qemu() {
    let test = "a_bundle_of_a_panic_reproduces";
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
fn the_recorded_health_policy_applies_unless_an_option_overrides_it() {
    let dir = scratch();
    let path = dir.path().join("leaked");
    let options = ["--health=fail", "--health-deny=leaked"];
    if bundle("the_recorded_health_policy_applies", &path, &options, "sleep 100 &").is_none() {
        return;
    }
    let run = |options: &[&str]| {
        // The user's default must not override the recorded policy.
        Program::new().env("BOOTLING_HEALTH", "warn").arg("run").args(options).arg(&path).done()
    };
    // The text of the finding differs: the process has another PID.
    run(&[]).exits(121).says("bootling: as recorded");
    run(&["--health=warn"]).exits(0).says("not as recorded").says("left processes behind");
}

/// Returns a valid bundle with a changed manifest and script.
fn changed(bundle: &Path, change: impl Fn(&mut Value, &mut String)) -> Vec<u8> {
    let bytes = std::fs::read(bundle).expect("a bundle");
    let mut entries: Vec<(String, Vec<u8>)> = Vec::new();
    for entry in tar::Archive::new(&bytes[..]).entries().expect("an archive") {
        let mut entry = entry.expect("an entry");
        let path = entry.path().expect("a path").to_str().expect("UTF-8").to_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("its content");
        let (_, name) = path.split_once('/').expect("below a directory");
        entries.push((name.to_owned(), content));
    }
    let hex = |bytes: &[u8]| bootling::format::measure::hex(&Sha256::digest(bytes));
    let mut manifest: Value = serde_json::from_slice(&entries[0].1).expect("JSON");
    let at = entries.iter().position(|(name, _)| name == "run.sh").expect("a script");
    let mut script = String::from_utf8(entries[at].1.clone()).expect("text");
    change(&mut manifest, &mut script);
    entries[at].1 = script.clone().into();
    manifest["files"]["run.sh"] = serde_json::json!({ "bytes": script.len(), "sha256": hex(script.as_bytes()) });
    entries[0].1 = serde_json::to_vec(&manifest).expect("JSON");
    let directory = format!("bootling-{}", &hex(&entries[0].1)[..12]);
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, format!("{directory}/{name}"), &content[..]).expect("appended");
    }
    tar.into_inner().expect("an archive")
}

#[test]
fn a_modified_script_is_reported_and_not_run() {
    let dir = scratch();
    let [own, other, trace] = ["own.tar", "other.tar", "trace"].map(|name| dir.path().join(name));
    if bundle("a_modified_script_is_reported", &own, &["--no-run"], "exit 4").is_none() {
        return;
    }
    let listed = |bundle: &Path| Program::new().arg("ls").arg(bundle).done().exits(0).text();
    assert!(!listed(&own).contains("read it before"));
    let touches = format!("touch {}\n", trace.display());
    std::fs::write(&other, changed(&own, |_, script| script.clone_from(&touches))).expect("written");
    let done = Program::new().arg("run").arg(&other).done().exits(4);
    let done = done.says("run.sh is not the one that bootling would write: read it before you run it\n");
    assert!(!done.stderr.contains("the only reason"), "{}", done.stderr);
    assert!(listed(&other).contains("run.sh: not the one that bootling would write"));
    assert!(!trace.exists());
    // The script matches the manifest's command line, but the command line does not match the manifest's machine;
    // the manifest names another bootling version.
    let more = changed(&own, |manifest, script| {
        for word in ["-D", "trace"] {
            manifest["qemu"]["line"].as_array_mut().expect("a line").push(word.into());
            *script = format!("{} {word}\n", script.trim_end());
        }
        manifest["made_by"] = "bootling 0.0.9".into();
    });
    std::fs::write(&other, more).expect("written");
    let told = "read it before you run it; the bundle was made by bootling 0.0.9, this is bootling ";
    assert!(listed(&other).contains(told), "{}", listed(&other));
    Program::new().arg("run").arg(&other).done().exits(4).says(told).says("which may be the only reason");
    // An identical script gives no warning, whichever version wrote it. If the machine is invalid, no script is
    // bootling's own.
    std::fs::write(&other, changed(&own, |manifest, _| manifest["made_by"] = "bootling 0.0.9".into()))
        .expect("written");
    assert!(!listed(&other).contains("read it before"));
    std::fs::write(&other, changed(&own, |manifest, _| manifest["machine"]["accel"] = "hvf".into())).expect("written");
    assert!(listed(&other).contains("read it before"));
}

#[test]
fn qemu_arguments_that_affect_the_host_require_trust() {
    let test = "qemu_arguments_that_affect_the_host";
    let dir = scratch();
    let path = dir.path().join("args.tar");
    let traced = dir.path().join("traced");
    let log = format!("--qemu-arg={}", traced.display());
    let options = ["--qemu-arg=-D", &log, "--qemu-arg=-d", "--qemu-arg=cpu_reset", "--no-run"];
    if bundle(test, &path, &options, "exit 4").is_none() {
        return;
    }
    assert!(!traced.exists(), "the bundle was not run");
    let run = || Program::new().arg("run");
    let refused = run().arg(&path).done().exits(125).says("--trust");
    assert!(refused.stderr.contains(r#"QEMU arguments that require permission: "-D""#), "{}", refused.stderr);
    assert!(!traced.exists());
    let (done, verdict) = run().arg("--trust").json([&path]);
    let done = done.exits(4).says("passing recorded arguments to QEMU");
    assert!(traced.exists() && !done.stderr.contains("run.sh"), "{}", done.stderr);
    assert_eq!(verdict["recorded"]["same"], Value::Null, "unknown without --trust: {verdict}");
    let settled = ["--arch=x86_64", "--disk=64M", "--net=user", "--publish=8080:80"].map(|option| [option]);
    let settled = settled.iter().map(|option| &option[..]);
    for option in [&["--kmod", "loop"][..], &["--warm"], &["--firmware-vars", "/dev/null"]].into_iter().chain(settled) {
        run().env("BOOTLING_WARM", "no").args(option).arg(&path).done().exits(125).says("cannot be used with a bundle");
    }
    run().args(["--trust", "--firmware", "bios"]).arg(&path).done().exits(125).says("was recorded with none");
    run().arg("--watch").arg(&path).done().exits(125).says("a bundle cannot be watched");
    run().args(["--trust", "--watch", "--", "true"]).done().exits(125).says("--trust cannot be used in watch mode");
    // A truncated bundle is refused.
    let bytes = std::fs::read(&path).expect("a bundle");
    std::fs::write(&path, &bytes[..bytes.len() / 2]).expect("written");
    run().arg(&path).done().exits(125).says("failed to read bundle");
}
