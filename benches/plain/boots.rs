//! Booting: bootling's own share of a run, and PVH against QEMU's own way with a bzImage, both under TCG.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::Bench;
use crate::sample::{Sample, once, run};
use crate::table::{Goal, Table};

const TIMES: usize = 5;

/// All of them.
pub fn measure(bench: &Bench, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let [generic, cloud] = &bench.packages;
    for (name, package) in [("6.1 generic", generic), ("6.12 cloud", cloud)] {
        own_share(bench, table, name, package)?;
        pvh(bench, table, name, package)?;
    }
    Ok(())
}

/// `bootling run -- true`: everything before QEMU starts and after the guest's verdict.
fn own_share(bench: &Bench, table: &mut Table, name: &str, package: &Path) -> Result<(), Box<dyn Error>> {
    let json = bench.dir.join("verdict.json");
    let (mut own, mut total) = (Vec::new(), Vec::new());
    for round in 0..=TIMES {
        let mut command = bench.bootling();
        command.args(["run", "--accel", "tcg", "--kernel"]).arg(package).arg("--json").arg(&json).args(["--", "true"]);
        let taken = once(&mut command, 0)?;
        let verdict: serde_json::Value = serde_json::from_slice(&fs::read(&json)?)?;
        let ms = verdict["times"]["own_ms"].as_f64().ok_or("no times.own_ms in the verdict")?;
        // The first one fills the caches.
        if round > 0 {
            own.push(Duration::from_secs_f64(ms / 1000.0));
            total.push(taken);
        }
    }
    let own = Sample::new(own);
    let goal = Goal { text: "50 ms", met: own.median() <= 50.0 };
    table.time(&format!("run -- true, {name}: own share"), &own, None, String::new(), Some(goal));
    table.time(&format!("run -- true, {name}: all of it"), &Sample::new(total), None, String::new(), None);
    Ok(())
}

/// The same initrd, which powers off at once, and the same QEMU: with the image bootling boots, and with the bzImage.
fn pvh(bench: &Bench, table: &mut Table, name: &str, package: &Path) -> Result<(), Box<dyn Error>> {
    let (plain, _) = bench.plain_modules(package)?;
    let image = bench.dir.join("off.img");
    once(bench.bootling().args(["build", "--run", "true", "-o"]).arg(&image), 0)?;
    let unpacked = booted_image(bench, package)?;
    let boot = |kernel: &Path| {
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-nodefaults", "-display", "none", "-no-reboot", "-accel", "tcg", "-cpu", "max", "-m", "1024"]);
        command.args(["-machine", "q35", "-serial", "null", "-append", "console=ttyS0 quiet panic=-1"]);
        command.arg("-kernel").arg(kernel).arg("-initrd").arg(&image);
        command
    };
    let ours = run(TIMES, 0, || boot(&unpacked))?;
    let theirs = run(TIMES, 0, || boot(&plain.join("image")))?;
    let goal = Goal { text: "1.4x", met: theirs.median() / ours.median() >= 1.4 };
    table.time(&format!("PVH against bzImage, {name}"), &ours, Some(&theirs), String::new(), Some(goal));
    Ok(())
}

/// The kernel image that bootling gives to QEMU, from the line it prints.
fn booted_image(bench: &Bench, package: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let mut command = bench.bootling();
    command.args(["run", "--accel", "tcg", "--print-command", "--kernel"]).arg(package).args(["--", "true"]);
    let output = command.output()?;
    let line = String::from_utf8(output.stdout)?;
    let mut words = line.split_whitespace().map(|word| word.trim_matches('\''));
    let kernel = words.by_ref().skip_while(|word| *word != "-kernel").nth(1);
    Ok(kernel.ok_or_else(|| format!("no -kernel in {line:?}: {}", String::from_utf8_lossy(&output.stderr)))?.into())
}
