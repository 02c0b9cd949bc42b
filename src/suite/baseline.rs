//! Compares a report with an earlier one: new failures, fixed cells, slower commands and boots.
//!
//! Times are compared only between cells that passed, by the median over all repetitions. A difference counts only if
//! it is large both as a ratio and in seconds, since timings on a busy host are imprecise.

use std::collections::{BTreeMap, HashMap};

use super::report::schema::{CellReport, Header, Report, StartMode, Status};

/// Minimum ratio of the new time to the old one to report a slowdown.
const MIN_RATIO: f64 = 1.5;
/// Minimum increase to report a slowdown, seconds.
const MIN_INCREASE_S: f64 = 1.0;

/// Differences between two reports.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Comparison {
    /// Start of the earlier run, seconds since 1970.
    pub(crate) before: f64,
    /// Kernels whose releases differ: name, release before, release after.
    pub(crate) kernels: Vec<(String, String, String)>,
    /// Cells that passed earlier and fail now.
    pub(crate) newly_failing: Vec<Change>,
    /// Cells that passed earlier on the first attempt and now on a later one.
    pub(crate) newly_flaky: Vec<Change>,
    /// Cells that were tested earlier and are skipped now.
    pub(crate) newly_skipped: Vec<Change>,
    /// Cells that failed earlier and still fail.
    pub(crate) still_failing: Vec<Change>,
    /// Cells that did not pass earlier and pass now.
    pub(crate) newly_passing: Vec<Change>,
    /// Cells that the earlier report does not contain.
    pub(crate) new: Vec<Change>,
    /// Cells that only the earlier report contains.
    pub(crate) gone: Vec<Change>,
    /// Commands and boots that take much longer.
    pub(crate) slower: Vec<Slower>,
}

/// A cell whose status changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Cell id.
    pub(crate) id: String,
    /// Status in the earlier report; `None` if it does not contain the cell.
    pub(crate) before: Option<Status>,
    /// Status in the new report; `None` if it does not contain the cell.
    pub(crate) after: Option<Status>,
    /// Cause, if the cell does not pass now.
    pub(crate) cause: Option<String>,
}

/// A command or boot that takes longer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Slower {
    /// `TEST/KERNEL/MACHINE`, or `boot of KERNEL/MACHINE`.
    pub(crate) what: String,
    /// Earlier median, seconds.
    pub(crate) before: f64,
    /// New median, seconds.
    pub(crate) after: f64,
}

/// Compares a report with an earlier one.
pub fn compare(before: &Report, after: &Report) -> Comparison {
    let mut comparison = Comparison {
        before: before.header.started,
        kernels: kernels(&before.header, &after.header),
        slower: slower(before, after),
        ..Comparison::default()
    };
    let mut old: HashMap<&str, &CellReport> = before.cells.iter().map(|cell| (cell.id.as_str(), cell)).collect();
    for cell in &after.cells {
        let was = old.remove(cell.id.as_str()).map(|cell| cell.status);
        let is_good = cell.status.is_good();
        let change = || Change {
            id: cell.id.clone(),
            before: was,
            after: Some(cell.status),
            cause: (!cell.status.has_passed()).then(|| cell.reason()),
        };
        let list = match (was, is_good) {
            (None, _) => &mut comparison.new,
            (Some(was), false) if was.is_good() => &mut comparison.newly_failing,
            (Some(_), false) => &mut comparison.still_failing,
            (Some(Status::Passed), true) if cell.status == Status::Flaky => &mut comparison.newly_flaky,
            (Some(Status::Skipped), true) if cell.status == Status::Skipped => continue,
            // A cell that failed earlier and is skipped now is not fixed.
            (Some(_), true) if cell.status == Status::Skipped => &mut comparison.newly_skipped,
            (Some(was), true) if !was.has_passed() => &mut comparison.newly_passing,
            (Some(_), true) => continue,
        };
        list.push(change());
    }
    let gone = before.cells.iter().filter(|cell| old.contains_key(cell.id.as_str()));
    comparison.gone =
        gone.map(|cell| Change { id: cell.id.clone(), before: Some(cell.status), after: None, cause: None }).collect();
    comparison
}

fn kernels(before: &Header, after: &Header) -> Vec<(String, String, String)> {
    let changed = after.kernels.iter().filter_map(|(name, release)| {
        let was = before.kernels.get(name).filter(|was| *was != release)?;
        Some((name.clone(), was.clone(), release.clone()))
    });
    changed.collect()
}

/// Returns the times to compare, seconds: commands of passed cells, and cold boots.
fn samples(report: &Report) -> BTreeMap<String, Vec<f64>> {
    let mut samples: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for cell in report.cells.iter().filter(|cell| cell.status.has_passed()) {
        let Some(attempt) = cell.final_attempt() else { continue };
        let times = attempt.times;
        if let Some(command) = times.command {
            let what = format!("{}/{}/{}", cell.test, cell.kernel, cell.machine);
            samples.entry(what).or_default().push(times.verdict - command);
        }
        if let (StartMode::Cold, Some(hello)) = (attempt.boot, times.hello) {
            samples.entry(format!("boot of {}/{}", cell.kernel, cell.machine)).or_default().push(hello);
        }
    }
    samples
}

fn slower(before: &Report, after: &Report) -> Vec<Slower> {
    let before = samples(before);
    let mut slower: Vec<Slower> = samples(after)
        .into_iter()
        .filter_map(|(what, times)| {
            let (before, after) = (median(before.get(&what)?.clone()), median(times));
            let much = after >= before * MIN_RATIO && after >= before + MIN_INCREASE_S;
            much.then_some(Slower { what, before, after })
        })
        .collect();
    slower.sort_by(|a, b| (b.after - b.before).total_cmp(&(a.after - a.before)));
    slower
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    let middle = times.len() / 2;
    match times.get(middle) {
        None => 0.0,
        Some(time) if times.len() % 2 == 1 => *time,
        Some(time) => f64::midpoint(times[middle - 1], *time),
    }
}

impl Comparison {
    /// Returns the lists of changed cells, worst first: name, cells, and whether each cell deserves its own line.
    pub(crate) fn change_lists(&self) -> [(&'static str, &[Change], bool); 7] {
        [
            ("newly failing", &self.newly_failing, true),
            ("newly flaky", &self.newly_flaky, true),
            ("newly skipped", &self.newly_skipped, true),
            ("still failing", &self.still_failing, true),
            ("newly passing", &self.newly_passing, true),
            ("new", &self.new, false),
            ("gone", &self.gone, false),
        ]
    }

    /// Returns a one-line summary.
    pub(crate) fn summary(&self) -> String {
        let mut parts: Vec<_> = self
            .change_lists()
            .into_iter()
            .filter(|(_, changes, _)| !changes.is_empty())
            .map(|(name, changes, _)| format!("{} {name}", changes.len()))
            .collect();
        if !self.slower.is_empty() {
            parts.push(format!("{} slower", self.slower.len()));
        }
        if parts.is_empty() { "nothing changed".to_owned() } else { parts.join(", ") }
    }

    /// Returns the summary and one line for each change, for a terminal. At most `limit` changes of each kind are
    /// listed.
    pub fn lines(&self, limit: usize) -> Vec<String> {
        let mut lines = vec![self.summary()];
        lines.extend(self.kernels.iter().map(|(name, was, is)| format!("  kernel         {name}: {was} -> {is}")));
        for (name, changes, _) in self.change_lists().into_iter().filter(|(_, _, lines)| *lines) {
            lines.extend(changes.iter().take(limit).map(|change| format!("  {name:<14} {change}")));
            lines.extend(truncation_line(changes.len(), limit));
        }
        for change in self.new.iter().filter(|change| change.cause.is_some()).take(limit) {
            lines.push(format!("  {:<14} {change}", "new"));
        }
        lines.extend(self.slower.iter().take(limit).map(|slow| format!("  {:<14} {slow}", "slower")));
        lines.extend(truncation_line(self.slower.len(), limit));
        lines
    }
}

fn truncation_line(count: usize, limit: usize) -> Option<String> {
    (count > limit).then(|| format!("  {:<14} and {} more", "", count - limit))
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.id)?;
        if let (Some(before), Some(after)) = (self.before, self.after)
            && before != after
        {
            write!(f, " ({} -> {})", before.name(), after.name())?;
        }
        self.cause.as_ref().map_or(Ok(()), |cause| write!(f, ": {cause}"))
    }
}

impl std::fmt::Display for Slower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {:.1} s -> {:.1} s", self.what, self.before, self.after)?;
        // No ratio for a time close to zero.
        if self.before > 0.05 { write!(f, " ({:.1} times)", self.after / self.before) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::compare;
    use crate::suite::report::{CellReport, Report, StartMode, Status};
    use crate::suite::tests::sample::{attempt, sample};
    use expect_test::expect;

    fn becomes(cell: &mut CellReport, status: Status) {
        cell.status = status;
        let cause = (!status.has_passed()).then_some("exited with status 1");
        cell.cause = cause.map(str::to_owned);
        cell.attempts = vec![attempt(cause, 0)];
    }

    #[test]
    fn unchanged_cells_are_not_reported() {
        let comparison = compare(&sample(), &sample());
        assert_eq!(comparison.summary(), "3 still failing");
        let mut good = sample();
        good.cells.retain(|cell| cell.status.is_good());
        assert_eq!(compare(&good, &good).lines(9), ["nothing changed"]);
    }

    #[test]
    fn new_failures_come_first() {
        let (before, mut after) = (sample(), sample());
        becomes(&mut after.cells[0], Status::Failed);
        becomes(&mut after.cells[3], Status::Passed);
        becomes(&mut after.cells[5], Status::Flaky);
        after.cells[2].id = "other/6.1/q35".to_owned();
        after.cells[2].cause = Some("hung".to_owned());
        after.header.kernels.insert("6.1".to_owned(), "6.1.0-42-amd64".to_owned());
        let lines = compare(&before, &after).lines(9);
        expect![[r"
            1 newly failing, 1 newly flaky, 1 still failing, 1 newly passing, 1 new, 1 gone
              kernel         6.1: 6.1.0-41-amd64 -> 6.1.0-42-amd64
              newly failing  boot/6.1/q35 (passed -> failed): exited with status 1
              newly flaky    boot/6.1/q35#2 (passed -> flaky)
              still failing  late/6.1/q35: not run
              newly passing  module/6.1/q35 (error -> passed)
              new            other/6.1/q35: hung"]]
        .assert_eq(&lines.join("\n"));
    }

    #[test]
    fn a_cell_that_is_skipped_now_is_neither_fixed_nor_broken() {
        let (mut before, mut after) = (sample(), sample());
        becomes(&mut after.cells[0], Status::Skipped);
        becomes(&mut after.cells[3], Status::Skipped);
        before.cells[4] = CellReport { id: before.cells[4].id.clone(), ..before.cells[6].clone() };
        becomes(&mut after.cells[6], Status::Passed);
        let lines = compare(&before, &after).lines(9);
        expect![[r"
            1 newly failing, 2 newly skipped, 1 still failing, 1 newly passing
              newly failing  late/6.1/q35 (skipped -> not-run): not run
              newly skipped  boot/6.1/q35 (passed -> skipped): exited with status 1
              newly skipped  module/6.1/q35 (error -> skipped): exited with status 1
              still failing  kselftest/6.1/q35: <CAUSE>
              newly passing  hardware/6.1/q35 (skipped -> passed)"]]
        .assert_eq(&lines.join("\n").replace(&after.cells[2].reason(), "<CAUSE>"));
    }

    /// A report of one repeated test with these command times and this boot time, seconds.
    fn repeated(commands: &[f64], hello: f64) -> Report {
        let mut report = sample();
        let cell = report.cells[0].clone();
        report.cells = (1..)
            .zip(commands)
            .map(|(repetition, time)| {
                let mut cell = CellReport { id: format!("boot/6.1/q35#{repetition}"), ..cell.clone() };
                let attempt = &mut cell.attempts[0];
                attempt.boot = StartMode::Cold;
                attempt.times.hello = Some(hello);
                attempt.times.command = Some(hello + 0.1);
                attempt.times.verdict = hello + 0.1 + time;
                cell
            })
            .collect();
        report
    }

    #[test]
    fn only_a_large_increase_of_the_median_is_reported() {
        let before = repeated(&[2.0, 2.1, 2.2], 3.0);
        let slower = |commands: &[f64], hello| {
            let slower = compare(&before, &repeated(commands, hello)).slower;
            slower.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(slower(&[2.0, 2.2, 60.0], 3.0), Vec::<String>::new());
        assert_eq!(slower(&[2.9, 2.9, 2.9], 3.4), Vec::<String>::new());
        assert_eq!(slower(&[4.2, 4.2, 4.2], 3.0), ["boot/6.1/q35: 2.1 s -> 4.2 s (2.0 times)"]);
        assert_eq!(slower(&[2.0, 2.1, 2.2], 6.0), ["boot of 6.1/q35: 3.0 s -> 6.0 s (2.0 times)"]);
        // Ten times as long, but by less than a second.
        assert_eq!(compare(&repeated(&[0.01], 1.0), &repeated(&[0.1], 1.0)).slower, []);
        assert_eq!(
            compare(&repeated(&[0.0], 1.0), &repeated(&[2.0], 1.0)).slower[0].to_string(),
            "boot/6.1/q35: 0.0 s -> 2.0 s"
        );
    }

    #[test]
    fn long_lists_are_truncated() {
        let lines = compare(&sample(), &sample()).lines(2);
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[3], "                 and 1 more");
    }
}
