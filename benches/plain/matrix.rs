//! A matrix under TCG: a hundred cells of `true`, each in a separate guest and in shared guests; bootling's own time;
//! and the planning time of a large manifest.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use crate::Bench;
use crate::sample::{Sample, once};
use crate::table::{Goal, Table};

/// Number of cells.
const CELLS: usize = 100;
/// Number of planning runs of a large manifest.
const PLANS: usize = 5;

/// Runs all matrix measurements.
pub(crate) fn measure(bench: &Bench, table: &mut Table) -> Result<(), Box<dyn Error>> {
    for (name, package) in ["6.1 generic", "6.12 cloud"].into_iter().zip(&bench.packages) {
        for (isolate, text, least) in [("vm", "4/s, 3 %", 4.0), ("none", "30/s", 30.0)] {
            let manifest = bench.dir.join("matrix.toml");
            let kernel = package.display().to_string();
            let text_of = format!(
                "[kernels]\nk = {kernel:?}\n[defaults]\naccel = \"tcg\"\n[[test]]\nname = \"true\"\ncommand = \
                 [\"true\"]\nisolate = {isolate:?}\nrepeat = {CELLS}\n"
            );
            fs::write(&manifest, text_of)?;
            let jsonl = bench.dir.join("matrix.jsonl");
            let mut command = bench.bootling();
            command.args(["test", "-q"]).arg(&manifest).arg("--jsonl").arg(&jsonl);
            // The first run makes the snapshot.
            once(&mut command, 0)?;
            once(&mut command, 0)?;
            let Ran { rate, verdicts, own } = read(&fs::read_to_string(&jsonl)?)?;
            let met = rate >= least && (isolate == "none" || own <= 0.03);
            let rest = format!("{rate:.1} cells/s, own share {:.1} %", own * 100.0);
            let what = format!("{CELLS} cells of true, isolate = {isolate}, {name}: from start to verdict");
            table.time(&what, &Sample::new(verdicts), None, rest, Some(Goal { text, met }));
        }
    }
    plan(bench, table)
}

/// Result of a matrix run.
struct Ran {
    /// Cells per second, from the start of the first to the end of the last.
    rate: f64,
    /// Time from the start of each guest to its verdict.
    verdicts: Vec<Duration>,
    /// Ratio of bootling's own time to the guests' time.
    own: f64,
}

fn read(jsonl: &str) -> Result<Ran, Box<dyn Error>> {
    let cells: Vec<serde_json::Value> = jsonl.lines().skip(1).map(serde_json::from_str).collect::<Result<_, _>>()?;
    let time = |cell: &serde_json::Value, name: &str| {
        cell["attempts"][0]["times"][name].as_f64().ok_or_else(|| format!("no times.{name} in {cell}"))
    };
    let (mut first, mut last, mut own, mut guests) = (f64::INFINITY, 0.0_f64, 0.0, 0.0);
    let mut verdicts = Vec::new();
    for cell in &cells {
        let (begun, total, verdict) = (time(cell, "begun")?, time(cell, "total")?, time(cell, "verdict")?);
        first = first.min(begun);
        last = last.max(begun + total);
        own += total - verdict;
        guests += verdict;
        verdicts.push(Duration::from_secs_f64(verdict));
    }
    #[expect(clippy::cast_precision_loss, reason = "a hundred cells")]
    let rate = cells.len() as f64 / (last - first);
    Ok(Ran { rate, verdicts, own: own / guests })
}

/// Measures the planning of ten thousand cells.
fn plan(bench: &Bench, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let mut text = String::new();
    for number in 0..10 {
        write!(text, "[kernels.k{number}]\nkernel = 'x.deb'\n[machines.m{number}]\ncpu = 'max'\n")?;
    }
    for number in 0..100 {
        write!(
            text,
            "[[test]]\nname = 'test-{number}'\nrun = 'exit {number}'\ntags = ['a', 'b']\nexpect = '^{number}'\n"
        )?;
    }
    let manifest = bench.dir.join("large.toml");
    fs::write(&manifest, text)?;
    let mut times = Vec::new();
    for _ in 0..PLANS {
        let mut command = bench.bootling();
        times.push(once(command.args(["test", "--list"]).arg(&manifest), 0)?);
    }
    let times = Sample::new(times);
    let goal = Goal { text: "200 ms", met: times.median() <= 200.0 };
    table.time("test --list: 10,000 cells", &times, None, String::new(), Some(goal));
    Ok(())
}
