//! Cold boots under TCG: bootling's own time, and PVH against QEMU's bzImage loader.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::Bench;
use crate::sample::{Sample, in_turn, once};
use crate::table::{Goal, Table};

const TIMES: usize = 5;

/// A kernel, and its goal for the speedup over the bzImage.
struct Subject<'a> {
    name: &'a str,
    package: &'a Path,
    faster: f64,
    goal: &'static str,
}

/// Runs all boot measurements.
pub(crate) fn measure(bench: &Bench, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let [generic, cloud] = &bench.packages;
    for subject in [
        Subject { name: "6.1 generic (xz)", package: generic, faster: 2.5, goal: "2.5x" },
        Subject { name: "6.12 cloud (zstd)", package: cloud, faster: 1.5, goal: "1.5x" },
    ] {
        own_share(bench, table, &subject)?;
        pvh(bench, table, &subject)?;
        runs(bench, table, &subject)?;
    }
    Ok(())
}

/// Measures the own time of `bootling run -- true`: before QEMU starts and after the guest's verdict.
fn own_share(bench: &Bench, table: &mut Table, subject: &Subject<'_>) -> Result<(), Box<dyn Error>> {
    let json = bench.dir.join("verdict.json");
    let mut own = Vec::new();
    for round in 0..=TIMES {
        let mut command = bench.bootling();
        command.args(["run", "--accel", "tcg", "--kernel"]).arg(subject.package);
        command.arg("--json").arg(&json).args(["--", "true"]);
        once(&mut command, 0)?;
        let verdict: serde_json::Value = serde_json::from_slice(&fs::read(&json)?)?;
        let ms = verdict["times"]["own_ms"].as_f64().ok_or("no times.own_ms in the verdict")?;
        // The first run fills the caches.
        if round > 0 {
            own.push(Duration::from_secs_f64(ms / 1000.0));
        }
    }
    let own = Sample::new(own);
    let goal = Goal { text: "50 ms", met: own.median() <= 50.0 };
    table.time(&format!("run -- true, {}: own share", subject.name), &own, None, String::new(), Some(goal));
    Ok(())
}

/// Compares PVH with the bzImage, with the same machine, QEMU, and initrd, which powers off immediately.
fn pvh(bench: &Bench, table: &mut Table, subject: &Subject<'_>) -> Result<(), Box<dyn Error>> {
    let (plain, _) = bench.plain_modules(subject.package)?;
    let image = poweroff_initrd(bench)?;
    let unpacked = booted_image(bench, subject.package)?;
    let boot = |kernel: &Path| {
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-nodefaults", "-display", "none", "-no-reboot", "-accel", "tcg", "-cpu", "max", "-m", "1024"]);
        command.args(["-machine", "q35", "-serial", "null", "-append", "console=ttyS0 quiet panic=-1 no_timer_check"]);
        command.arg("-kernel").arg(kernel).arg("-initrd").arg(&image);
        command
    };
    let bzimage = plain.join("image");
    let (ours, theirs) = in_turn(TIMES, || boot(&unpacked), || boot(&bzimage))?;
    let name = format!("same machine, PVH against bzImage, {}", subject.name);
    table.time(&name, &ours, Some(&theirs), String::new(), None);
    Ok(())
}

/// Compares complete runs: `bootling run -- true`, without and with `--fast-boot`, against QEMU with a bzImage, an
/// initrd that powers off immediately, and QEMU's default devices.
fn runs(bench: &Bench, table: &mut Table, subject: &Subject<'_>) -> Result<(), Box<dyn Error>> {
    prepare_plain(bench, subject.package)?;
    for (what, options) in [("run -- true", [].as_slice()), ("run --fast-boot -- true", &["--fast-boot"])] {
        let ours = || {
            let mut command = bench.bootling();
            command.args(["run", "--accel", "tcg", "--kernel"]).arg(subject.package).args(options).args(["--", "true"]);
            command
        };
        let (ours, theirs) = in_turn(TIMES, ours, || plain_boot(bench, subject.package))?;
        // The goal applies to runs without --fast-boot.
        let met = theirs.median() / ours.median() >= subject.faster;
        let goal = options.is_empty().then_some(Goal { text: subject.goal, met });
        table.time(&format!("{what}, {}", subject.name), &ours, Some(&theirs), String::new(), goal);
    }
    Ok(())
}

/// Returns the plain QEMU command for a boot. Missing files are reported when it runs.
pub(crate) fn plain_boot(bench: &Bench, package: &Path) -> Command {
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-accel", "tcg", "-m", "1024", "-nographic", "-no-reboot", "-append", "console=ttyS0 panic=-1"]);
    let bzimage = bench.dir.join(package.file_stem().unwrap_or_default()).join("image");
    command.arg("-kernel").arg(bzimage).arg("-initrd").arg(bench.dir.join("off.img"));
    command
}

/// Creates the files for [`plain_boot`].
pub(crate) fn prepare_plain(bench: &Bench, package: &Path) -> Result<(), Box<dyn Error>> {
    bench.plain_modules(package)?;
    poweroff_initrd(bench).map(drop)
}

/// Builds an initrd that powers off immediately.
fn poweroff_initrd(bench: &Bench) -> Result<PathBuf, Box<dyn Error>> {
    let image = bench.dir.join("off.img");
    once(bench.bootling().args(["build", "--run", "true", "-o"]).arg(&image), 0)?;
    Ok(image)
}

/// Returns the kernel image that bootling passes to QEMU, from the printed command line.
fn booted_image(bench: &Bench, package: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let mut command = bench.bootling();
    command.args(["run", "--accel", "tcg", "--print-command", "--kernel"]).arg(package).args(["--", "true"]);
    let output = command.output()?;
    let line = String::from_utf8(output.stdout)?;
    let mut words = line.split_whitespace().map(|word| word.trim_matches('\''));
    let kernel = words.by_ref().skip_while(|word| *word != "-kernel").nth(1);
    Ok(kernel.ok_or_else(|| format!("no -kernel in {line:?}: {}", String::from_utf8_lossy(&output.stderr)))?.into())
}
