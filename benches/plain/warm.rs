//! Warm runs under TCG: whole runs against a plain boot, bootling's own time, and parallel runs: verdicts per second
//! and memory per guest.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Bench;
use crate::boots::{plain_boot, prepare_plain};
use crate::sample::{Sample, in_turn, once};
use crate::table::{Goal, Table};

/// Number of sequential runs.
const TIMES: usize = 15;
/// Number of parallel guests.
const GUESTS: usize = 16;
/// Verdicts per parallel guest.
const ROUNDS: usize = 6;

/// Runs all warm measurements.
pub(crate) fn measure(bench: &Bench, table: &mut Table) -> Result<(), Box<dyn Error>> {
    for (name, package) in ["6.1 generic", "6.12 cloud"].into_iter().zip(&bench.packages) {
        let run = |command: &[&str]| {
            let mut warm = bench.bootling();
            warm.args(["run", "-q", "--warm", "--accel", "tcg", "--kernel"]).arg(package).arg("--").args(command);
            warm
        };
        prepare_plain(bench, package)?;
        // The first run makes the snapshot.
        once(&mut run(&["true"]), 0)?;
        let (ours, theirs) = in_turn(TIMES, || run(&["true"]), || plain_boot(bench, package))?;
        let met = ours.median() <= 300.0 && theirs.median() / ours.median() >= 15.0;
        let goal = Goal { text: "300 ms and 15x", met };
        table.time(&format!("run --warm -- true, {name}"), &ours, Some(&theirs), String::new(), Some(goal));
        own_share(bench, table, name, package)?;
        many(table, name, &run)?;
    }
    Ok(())
}

/// Measures bootling's own time: before QEMU starts and after the guest's verdict.
fn own_share(bench: &Bench, table: &mut Table, name: &str, package: &Path) -> Result<(), Box<dyn Error>> {
    let json = bench.dir.join("verdict.json");
    let mut own = Vec::new();
    for _ in 0..TIMES {
        let mut command = bench.bootling();
        command.args(["run", "-q", "--warm", "--accel", "tcg", "--kernel"]).arg(package);
        once(command.arg("--json").arg(&json).args(["--", "true"]), 0)?;
        let verdict: serde_json::Value = serde_json::from_slice(&fs::read(&json)?)?;
        if verdict["warm"] != true {
            return Err(format!("a run that was to be warm was not: {verdict}").into());
        }
        let ms = verdict["times"]["own_ms"].as_f64().ok_or("no times.own_ms in the verdict")?;
        own.push(Duration::from_secs_f64(ms / 1000.0));
    }
    let own = Sample::new(own);
    let goal = Goal { text: "15 ms", met: own.median() <= 15.0 };
    table.time(&format!("run --warm -- true, {name}: own share"), &own, None, String::new(), Some(goal));
    Ok(())
}

/// Measures parallel runs; each time is the interval between two consecutive verdicts.
fn many(table: &mut Table, name: &str, run: &dyn Fn(&[&str]) -> Command) -> Result<(), Box<dyn Error>> {
    let private = private_memory(run)?;
    let start = Instant::now();
    let workers: Vec<Command> = (0..GUESTS * ROUNDS).map(|_| run(&["true"])).collect();
    let mut times = Vec::new();
    let mut waiting = workers.into_iter();
    let mut running: Vec<Child> = Vec::new();
    while !running.is_empty() || waiting.len() > 0 {
        while running.len() < GUESTS
            && let Some(mut command) = waiting.next()
        {
            running.push(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?);
        }
        let mut going = Vec::new();
        for mut child in running {
            match child.try_wait()? {
                None => going.push(child),
                Some(status) if status.success() => times.push(start.elapsed()),
                Some(status) => return Err(format!("one of many warm runs ended with {status}").into()),
            }
        }
        running = going;
        std::thread::sleep(Duration::from_millis(1));
    }
    let total = start.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a hundred runs")]
    let rate = (GUESTS * ROUNDS) as f64 / total;
    times.sort();
    let steps: Vec<Duration> = times.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
    let goal = Goal { text: "4/s, 40 MiB", met: rate >= 4.0 && private <= 40 << 10 };
    let rest = format!("{rate:.1} verdicts/s, PSS {} MiB each at most", private >> 10);
    let what = format!("{GUESTS} warm guests at once, {name}: from verdict to verdict");
    table.time(&what, &Sample::new(steps), None, rest, Some(goal));
    Ok(())
}

/// Returns the largest proportional set size in KiB of parallel QEMUs whose guests run a program.
fn private_memory(run: &dyn Fn(&[&str]) -> Command) -> Result<u64, Box<dyn Error>> {
    let sleeper = || run(&["sleep", "1000"]).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    let mut running = (0..GUESTS).map(|_| sleeper()).collect::<Result<Vec<_>, _>>()?;
    let begun = Instant::now();
    let largest = loop {
        std::thread::sleep(Duration::from_secs(1));
        let sizes: Vec<u64> = running.iter().filter_map(|child| child_of(child.id())).filter_map(pss).collect();
        // By then all guests have started their program, also on a slow host.
        if begun.elapsed() > Duration::from_secs(20) {
            break sizes.into_iter().max().ok_or("no QEMU to be seen");
        }
    };
    for child in &mut running {
        child.kill()?;
        child.wait()?;
    }
    Ok(largest?)
}

/// Returns the PID of bootling's only child, QEMU.
fn child_of(parent: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

fn pss(pid: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    rollup.lines().find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix("kB")?.trim().parse().ok())
}
