//! Progress on standard error: the running cells and the remaining time on a terminal, one line for each result
//! elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{TestArgs, cell_text};
use crate::cli::output;
use bootling::suite::plan::Plan;
use bootling::suite::report::{CellReport, Report, Status};
use bootling::suite::reproduce;
use bootling::suite::run::Happened;

/// Refresh interval of the terminal display.
const TICK: Duration = Duration::from_millis(250);
/// Limit of running cells shown on a terminal.
const RUNNING: usize = 8;

/// Verbosity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Volume {
    Quiet,
    Usual,
    Verbose,
}

/// Progress reporter.
pub struct Progress<'a> {
    plan: &'a Plan,
    volume: Volume,
    /// Progress bar, if standard error is a terminal.
    bar: Option<ProgressBar>,
    began: Instant,
    running: BTreeMap<String, Instant>,
    noted: BTreeSet<String>,
    done: usize,
    bad: usize,
    flaky: usize,
}

impl<'a> Progress<'a> {
    /// Creates a reporter for a plan.
    pub fn new(args: &TestArgs, plan: &'a Plan) -> Self {
        let volume = match (args.quiet, args.verbose) {
            (true, _) => Volume::Quiet,
            (_, true) => Volume::Verbose,
            (false, false) => Volume::Usual,
        };
        let bar = (volume != Volume::Quiet && io::stderr().is_terminal()).then(bar);
        let (running, began) = (BTreeMap::new(), Instant::now());
        Self { plan, volume, bar, began, running, noted: BTreeSet::new(), done: 0, bad: 0, flaky: 0 }
    }

    /// Reports an event.
    pub fn tell(&mut self, happened: &Happened<'_>) {
        match happened {
            Happened::Preparing { names: (kernel, machine) } => self.begins(&preparing(kernel, machine)),
            Happened::Prepared { names: (kernel, machine), note, cause, lost } => {
                self.running.remove(&preparing(kernel, machine));
                if let Some(note) = note {
                    self.print(&format!("bootling: {kernel} on {machine}: booting cold: {note}\n"));
                }
                if let Some(cause) = cause {
                    self.lost(kernel, machine, cause, lost);
                }
                self.show();
            }
            Happened::Began { id } => self.begins(id),
            Happened::Ended { report, cell } => self.ended(report, *cell),
            Happened::Note(note) => {
                if self.volume != Volume::Quiet && self.noted.insert((*note).to_owned()) {
                    self.print(&format!("bootling: {note}\n"));
                }
            }
        }
    }

    /// Prints the summary.
    pub fn end(&mut self, report: &Report) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        let slowest = if self.volume == Volume::Quiet { None } else { cell_text::slowest(report) };
        output::to_stderr(&format!("{}{}", cell_text::summary(report), slowest.unwrap_or_default()));
    }

    fn begins(&mut self, what: &str) {
        if self.bar.is_some() {
            self.running.insert(what.to_owned(), Instant::now());
            self.show();
        }
    }

    fn ended(&mut self, report: &CellReport, cell: usize) {
        self.running.remove(&report.id);
        self.count(report);
        let is_told = match (report.status, self.volume) {
            (Status::Passed, Volume::Quiet) => false,
            (Status::Passed, Volume::Usual) => self.bar.is_none(),
            (Status::Skipped, volume) => volume != Volume::Quiet,
            (Status::Passed, Volume::Verbose)
            | (Status::Flaky | Status::Failed | Status::Error | Status::NotRun, _) => true,
        };
        if is_told {
            let mut text = cell_text::line(report, self.volume == Volume::Verbose);
            if !report.status.is_good() {
                text.push_str(&cell_text::details(report, &reproduce::by_run(self.plan, &self.plan.cells[cell])));
            }
            self.print(&text);
        }
        self.show();
    }

    /// Prints cells that cannot be tested, several of them as one line with their common cause.
    fn lost(&mut self, kernel: &str, machine: &str, cause: &str, lost: &[CellReport]) {
        for report in lost {
            self.count(report);
        }
        let mut text = String::new();
        match lost {
            [] => {}
            [one] => text.push_str(&cell_text::line(one, false)),
            [first, ..] => {
                let what = format!("all {} cells of {kernel} on {machine}", lost.len());
                text.push_str(&cell_text::line(
                    &CellReport { id: what, cause: Some(cause.to_owned()), ..first.clone() },
                    false,
                ));
            }
        }
        self.print(&text);
    }

    fn count(&mut self, report: &CellReport) {
        self.done += 1;
        match report.status {
            Status::Passed | Status::Skipped => {}
            Status::Flaky => self.flaky += 1,
            Status::Failed | Status::Error | Status::NotRun => self.bad += 1,
        }
    }

    fn print(&self, text: &str) {
        match &self.bar {
            None => output::to_stderr(text),
            Some(bar) => bar.suspend(|| output::to_stderr(text)),
        }
    }

    /// Updates the terminal.
    fn show(&self) {
        let Some(bar) = &self.bar else { return };
        let (total, flaky) =
            (self.plan.cells.len(), if self.flaky > 0 { format!(", {} flaky", self.flaky) } else { String::new() });
        let mut text = format!("{}/{total} done, {} failed{flaky}{}", self.done, self.bad, self.left());
        for (what, _) in self.running.iter().take(RUNNING) {
            text.push_str("\n  ");
            text.push_str(what);
        }
        if self.running.len() > RUNNING {
            // Writing to a String cannot fail.
            let _ = write!(text, "\n  and {} more", self.running.len() - RUNNING);
        }
        bar.set_message(text);
    }

    /// Estimates the remaining time from the average time of a finished cell.
    fn left(&self) -> String {
        let left = self.plan.cells.len().saturating_sub(self.done);
        if self.done == 0 || left == 0 {
            return String::new();
        }
        let count = |cells: usize| f64::from(u32::try_from(cells).unwrap_or(u32::MAX));
        let each = self.began.elapsed().as_secs_f64() / count(self.done);
        format!(", {} left", cell_text::seconds(each * count(left)))
    }
}

fn preparing(kernel: &str, machine: &str) -> String {
    format!("preparing {kernel} on {machine}")
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(TICK);
    bar
}
