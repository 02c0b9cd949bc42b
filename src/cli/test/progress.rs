//! Progress on standard error: the running cells and the remaining time on a terminal, one line for each result
//! elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{TestArgs, cell_text};
use crate::cli::output;
use bootling::format::duration::seconds;
use bootling::suite::plan::Plan;
use bootling::suite::report::{CellReport, Report, Standing};
use bootling::suite::reproduce;
use bootling::suite::run::Event;

/// Refresh interval of the terminal display.
const TICK: Duration = Duration::from_millis(250);
/// Limit of running cells shown on a terminal.
const MAX_RUNNING: usize = 8;

/// Progress reporter.
pub(crate) struct Progress<'a> {
    plan: &'a Plan,
    quiet: bool,
    verbose: bool,
    /// Progress bar, if standard error is a terminal.
    bar: Option<ProgressBar>,
    start: Instant,
    running: BTreeMap<String, Instant>,
    noted: BTreeSet<String>,
    done: usize,
    bad: usize,
    flaky: usize,
}

impl<'a> Progress<'a> {
    /// Creates a reporter for a plan.
    pub(crate) fn new(args: &TestArgs, plan: &'a Plan) -> Self {
        let TestArgs { quiet, verbose, .. } = *args;
        Self {
            plan,
            quiet,
            verbose,
            bar: (!quiet && io::stderr().is_terminal()).then(bar),
            start: Instant::now(),
            running: BTreeMap::new(),
            noted: BTreeSet::new(),
            done: 0,
            bad: 0,
            flaky: 0,
        }
    }

    /// Reports an event.
    pub(crate) fn handle(&mut self, event: &Event) {
        match event {
            Event::Preparing { target } => self.started(&preparing(self.plan.target_names(*target))),
            Event::Prepared { target, note, cause, lost } => {
                let (kernel, machine) = self.plan.target_names(*target);
                self.running.remove(&preparing((kernel, machine)));
                if let Some(note) = note {
                    self.print(&format!("bootling: {kernel} on {machine}: booting cold: {note}\n"));
                }
                if let Some(cause) = cause {
                    self.print_untestable(kernel, machine, cause, lost);
                }
                self.refresh();
            }
            Event::CellStarted { cell } => self.started(&self.plan.cells[*cell].id),
            Event::CellEnded { cell, report } => self.ended(report, *cell),
            Event::Note(note) => {
                if !self.quiet && self.noted.insert(note.clone()) {
                    self.print(&format!("bootling: {note}\n"));
                }
            }
        }
    }

    /// Prints the summary.
    pub(crate) fn finish(&mut self, report: &Report) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        let slowest = if self.quiet { None } else { cell_text::slowest(report) };
        output::to_stderr(&format!("{}{}", cell_text::summary(report), slowest.unwrap_or_default()));
    }

    fn started(&mut self, what: &str) {
        if self.bar.is_some() {
            self.running.insert(what.to_owned(), Instant::now());
            self.refresh();
        }
    }

    fn ended(&mut self, report: &CellReport, cell: usize) {
        self.running.remove(&report.id);
        self.count(report);
        let is_printed = match report.standing() {
            // On a terminal, the display counts cells that passed.
            Standing::Passed => self.verbose || !self.quiet && self.bar.is_none(),
            Standing::Skipped | Standing::Known => !self.quiet,
            Standing::Flaky | Standing::Failed | Standing::Unexpected | Standing::Error | Standing::NotRun => true,
        };
        if is_printed {
            let mut text = cell_text::line(report, self.verbose);
            if !(report.is_good() || report.status.has_passed()) {
                text.push_str(&cell_text::details(report, &reproduce::run_command(self.plan, &self.plan.cells[cell])));
            }
            self.print(&text);
        }
        self.refresh();
    }

    /// Prints cells that cannot be tested, several of them as one line with their common cause.
    fn print_untestable(&mut self, kernel: &str, machine: &str, cause: &str, lost: &[(usize, CellReport)]) {
        for (_, report) in lost {
            self.count(report);
        }
        let mut text = String::new();
        match lost {
            [] => {}
            [(_, one)] => text.push_str(&cell_text::line(one, false)),
            [(_, first), ..] => {
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
        match report.standing() {
            Standing::Passed | Standing::Skipped | Standing::Known => {}
            Standing::Flaky => self.flaky += 1,
            Standing::Failed | Standing::Unexpected | Standing::Error | Standing::NotRun => self.bad += 1,
        }
    }

    fn print(&self, text: &str) {
        match &self.bar {
            None => output::to_stderr(text),
            Some(bar) => bar.suspend(|| output::to_stderr(text)),
        }
    }

    /// Updates the terminal.
    fn refresh(&self) {
        let Some(bar) = &self.bar else { return };
        let (total, flaky) =
            (self.plan.cells.len(), if self.flaky > 0 { format!(", {} flaky", self.flaky) } else { String::new() });
        let mut text = format!("{}/{total} done, {} failed{flaky}{}", self.done, self.bad, self.remaining_time());
        for (what, _) in self.running.iter().take(MAX_RUNNING) {
            text.push_str("\n  ");
            text.push_str(what);
        }
        if self.running.len() > MAX_RUNNING {
            // Writing to a String cannot fail.
            let _ = write!(text, "\n  and {} more", self.running.len() - MAX_RUNNING);
        }
        bar.set_message(text);
    }

    /// Estimates the remaining time from the average time of a finished cell.
    fn remaining_time(&self) -> String {
        let left = self.plan.cells.len().saturating_sub(self.done);
        if self.done == 0 || left == 0 {
            return String::new();
        }
        let count = |cells: usize| f64::from(u32::try_from(cells).unwrap_or(u32::MAX));
        let each = self.start.elapsed().as_secs_f64() / count(self.done);
        format!(", {} left", seconds(each * count(left)))
    }
}

fn preparing((kernel, machine): (&str, &str)) -> String {
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
