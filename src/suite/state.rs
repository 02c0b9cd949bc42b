//! State shared by the worker threads: the plan, the schedule and the prepared targets. Runs the cells.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use super::judge::{Judge, can_reuse_guest, could_not_test};
use super::manifest::{Isolate, Protocol, Test};
use super::plan::{Cell, Plan};
use super::report::{Attempt, CellReport, Part, StartMode, Status};
use super::run::Message;
use super::schedule::{Action, Schedule, Task};
use super::tap_parser::{self, TapMode};
use super::{guest, reproduce};
use crate::guest::{Builder, Output, Site, Vm, VmError};

/// Size limit of a console log that is searched for patterns, bytes.
const CONSOLE: u64 = 16 << 20;

/// State shared by the worker threads.
pub struct Workers {
    pub plan: Plan,
    pub builders: Vec<Builder>,
    /// Command line that repeats a cell, up to `--only`.
    pub command_line: Vec<std::ffi::OsString>,
    pub start: Instant,
    pub sender: Sender<Message>,
    pub schedule: Mutex<Schedule>,
    pub state_changed: Condvar,
    pub judges: Vec<Judge>,
    /// Number of failures after which no further cell starts.
    pub fail_fast: Option<usize>,
    /// Number of failures so far.
    pub failed: AtomicUsize,
    pub prepared: Vec<OnceLock<PreparedTarget>>,
}

/// A prepared target.
pub struct PreparedTarget {
    site: Site,
    /// True if its guests boot although they should be restored: no snapshot could be made.
    cold_only: bool,
}

/// Returns true if a test may share its guest. A test that checks the console needs a separate guest.
pub fn may_share_guest(test: &Test) -> bool {
    test.isolate == Isolate::Nothing && test.console.is_empty()
}

/// Returns the report of a cell that has not run.
pub fn not_run(plan: &Plan, cell: &Cell, command_line: &[std::ffi::OsString]) -> CellReport {
    CellReport {
        id: cell.id.clone(),
        test: plan.test(cell).name.clone(),
        kernel: plan.spec.kernels[cell.kernel].name.clone(),
        machine: plan.spec.machines[cell.machine].name.clone(),
        repetition: cell.repetition,
        place: cell.place,
        tags: plan.tags(cell),
        repeat: reproduce::test_command(command_line, &cell.id),
        ..CellReport::default()
    }
}

/// Reports the end of a thread, even if it panics.
struct ThreadEndGuard<'a>(&'a Workers);

impl Drop for ThreadEndGuard<'_> {
    fn drop(&mut self) {
        // Other threads may wait for the work of this one, which will never be done.
        if std::thread::panicking() {
            self.0.stop();
        }
        self.0.send(Message::ThreadEnded);
        self.0.state_changed.notify_all();
    }
}

impl Workers {
    /// Works until nothing is left to do.
    pub fn run_worker(&self) {
        let _guard = ThreadEndGuard(self);
        while let Some(task) = self.wait_for_task() {
            match task {
                Task::Prepare(target) => self.prepare(target),
                Task::Run(cell) if may_share_guest(self.plan.test(&self.plan.cells[cell])) => {
                    self.run_shared_cells(cell)
                }
                Task::Run(cell) => {
                    self.send(Message::CellStarted(cell));
                    let report = self.run_with_retries(cell, |_| self.run_in_own_guest(cell));
                    self.count(usize::from(!report.status.is_good()));
                    self.lock().ended(cell);
                    self.state_changed.notify_all();
                    self.send(Message::CellEnded(cell, Box::new(report)));
                }
            }
        }
    }

    /// Starts no further cells.
    pub fn stop(&self) {
        self.lock().stop();
        self.state_changed.notify_all();
    }

    /// Counts failures, before any other work starts.
    fn count(&self, failed: usize) {
        let failed = self.failed.fetch_add(failed, Ordering::SeqCst) + failed;
        if self.fail_fast.is_some_and(|most| failed >= most) {
            self.stop();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Schedule> {
        // A thread panics while it runs a cell, not while it holds the lock.
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for_task(&self) -> Option<Task> {
        let mut schedule = self.lock();
        loop {
            match schedule.next() {
                Action::Start(task) => return Some(task),
                Action::Done => return None,
                Action::Wait => schedule = self.state_changed.wait(schedule).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn send(&self, message: Message) {
        // The receiver may be gone; then the message is not needed.
        let _ = self.sender.send(message);
    }

    /// Looks up the inputs of a target's guests and makes their snapshot.
    fn prepare(&self, target: usize) {
        self.send(Message::Preparing(target));
        let begun = self.start.elapsed().as_secs_f64();
        let found = Site::find(&self.builders[target]).and_then(|site| Ok((site.make_snapshot()?, site)));
        let (lost, attempt, note) = match found {
            Ok((unfit, site)) => {
                self.send(Message::Inputs { qemu: site.qemu_version().to_owned(), notes: site.notes().to_vec() });
                let cold_only = unfit.is_some();
                // Only this thread prepares the target.
                let _ = self.prepared[target].set(PreparedTarget { site, cold_only });
                let mut schedule = self.lock();
                if cold_only {
                    schedule.set_cold(target);
                }
                (schedule.prepared(target, true), Attempt::default(), unfit)
            }
            Err(error) => {
                let mut attempt = could_not_test(&error);
                attempt.times.start = begun;
                attempt.times.total = self.start.elapsed().as_secs_f64() - begun;
                (self.lock().prepared(target, false), attempt, None)
            }
        };
        self.count(lost.len());
        self.state_changed.notify_all();
        let lost = lost.into_iter().map(|cell| (cell, self.cell_report(cell, vec![attempt.clone()]))).collect();
        self.send(Message::Prepared { target, lost, cause: attempt.cause, note });
    }

    /// Runs a cell in a guest that other cells may use after it, and then those cells.
    fn run_shared_cells(&self, first: usize) {
        let mut guest = None;
        let mut cell = first;
        loop {
            self.send(Message::CellStarted(cell));
            let report = self.run_with_retries(cell, |tried| {
                if tried > 0 {
                    // A retry needs a fresh guest.
                    guest = None;
                }
                self.run_in_shared_guest(&mut guest, cell)
            });
            self.count(usize::from(!report.status.is_good()));
            self.send(Message::CellEnded(cell, Box::new(report)));
            let next = self.lock().next_shared(cell);
            match next {
                Some(next) => cell = next,
                None => break,
            }
        }
        drop(guest);
        self.lock().ended(cell);
        self.state_changed.notify_all();
    }

    /// Runs a cell, with retries.
    fn run_with_retries(&self, cell: usize, mut attempt: impl FnMut(u32) -> Attempt) -> CellReport {
        let begun = |state: &Self| state.start.elapsed().as_secs_f64();
        let mut attempts: Vec<Attempt> = Vec::new();
        for tried in 0..=self.plan.test(&self.plan.cells[cell]).retries {
            let start = begun(self);
            let mut attempt = attempt(tried);
            let total = begun(self) - start;
            let prepared = (total - attempt.times.verdict).max(0.0);
            (attempt.times.start, attempt.times.prepared, attempt.times.total) = (start, prepared, total);
            let is_over = attempt.passed || attempt.skipped || attempt.outcome.is_none();
            attempts.push(attempt);
            if is_over {
                break;
            }
        }
        self.cell_report(cell, attempts)
    }

    fn cell_report(&self, cell: usize, attempts: Vec<Attempt>) -> CellReport {
        let (status, cause) = verdict(&attempts);
        CellReport { status, cause, attempts, ..not_run(&self.plan, &self.plan.cells[cell], &self.command_line) }
    }

    /// Returns the builder of a test's guest.
    fn builder(&self, target: usize, test: &Test) -> Builder {
        let builder = self.builders[target].clone();
        match test.boot_timeout {
            Some(limit) => builder.boot_timeout(limit),
            None => builder,
        }
    }

    /// Runs one attempt in a separate guest.
    fn run_in_own_guest(&self, cell: usize) -> Attempt {
        let planned = &self.plan.cells[cell];
        let test = self.plan.test(planned);
        let Some(PreparedTarget { site, cold_only }) = self.prepared[planned.target].get() else {
            return Attempt::default();
        };
        let mut builder = self.builder(planned.target, test);
        if *cold_only {
            // Otherwise each guest would boot once to be saved, and again because that is not possible.
            builder = builder.cold();
        }
        let kept = (!test.console.is_empty()).then(tempfile::NamedTempFile::new).transpose();
        let kept = match kept {
            Ok(kept) => kept,
            Err(source) => {
                let object = "a file for the console".to_owned();
                return could_not_test(&VmError::Io { doing: "making", object, source });
            }
        };
        if let Some(kept) = &kept {
            builder = builder.console(kept.path());
        }
        match builder.run_at(site, &guest::command(test)) {
            Err(error) => could_not_test(&error),
            Ok(output) => {
                let console = kept.map(|kept| read_console(kept.path()));
                let boot = if output.age.is_some() { StartMode::Warm } else { StartMode::Cold };
                self.judge(
                    planned,
                    output,
                    boot,
                    console.as_ref().map(|console| console.as_deref().map_err(String::as_str)),
                )
            }
        }
    }

    /// Runs one attempt in the existing guest, or in a new one. A guest that remains usable is left for the next cell.
    fn run_in_shared_guest(&self, guest: &mut Option<Vm>, cell: usize) -> Attempt {
        let planned = &self.plan.cells[cell];
        let test = self.plan.test(planned);
        // This target does not support a guest that runs several commands.
        if self.prepared[planned.target].get().is_some_and(|prepared| prepared.cold_only) {
            return self.run_in_own_guest(cell);
        }
        let (mut vm, is_new) = match guest.take() {
            Some(vm) => (vm, false),
            None => match self.builder(planned.target, test).start() {
                Ok(vm) => (vm, true),
                Err(VmError::NotKept(_)) => return self.run_in_own_guest(cell),
                Err(error) => return could_not_test(&error),
            },
        };
        match vm.run_with(&guest::command(test)) {
            Err(error) => could_not_test(&error),
            Ok(output) => {
                if can_reuse_guest(&output) {
                    *guest = Some(vm);
                }
                let boot = match (is_new, output.age) {
                    (false, _) => StartMode::Shared,
                    (true, Some(_)) => StartMode::Warm,
                    (true, None) => StartMode::Cold,
                };
                self.judge(planned, output, boot, None)
            }
        }
    }

    fn judge(&self, cell: &Cell, mut output: Output, boot: StartMode, console: Option<Result<&str, &str>>) -> Attempt {
        if let Some(PreparedTarget { site, .. }) = self.prepared[cell.target].get() {
            // These notes have already been reported for the target.
            output.notes.retain(|note| !site.notes().contains(note));
        }
        if let Some(release) = output.release.take() {
            self.send(Message::KernelRelease(cell.kernel, release));
        }
        let parts = parse_parts(self.plan.test(cell), &output);
        self.judges[cell.test].attempt(&output, boot, console, parts)
    }
}

/// Returns the status that results from the attempts, and the cause if they are not a success. The last attempt
/// decides, but a skipped one does not cancel a failure.
fn verdict(attempts: &[Attempt]) -> (Status, Option<String>) {
    let could_not = |attempt: &Attempt| attempt.outcome.as_deref().is_none_or(|name| name == "could-not-test");
    let cause = |attempt: &Attempt| attempt.cause.clone();
    let Some(last) = attempts.last() else { return (Status::NotRun, None) };
    if last.passed {
        return (if attempts.len() == 1 { Status::Passed } else { Status::Flaky }, None);
    }
    match attempts.iter().rev().find(|attempt| !attempt.skipped) {
        None => (Status::Skipped, cause(last)),
        Some(failed) if could_not(failed) => (Status::Error, cause(failed)),
        Some(failed) => (Status::Failed, cause(failed)),
    }
}

/// Parses the parts in a test's output.
fn parse_parts(test: &Test, output: &Output) -> Vec<Part> {
    match test.protocol {
        Some(Protocol::Plain) => Vec::new(),
        Some(Protocol::Tap | Protocol::Ktap) => tap_parser::parse(&output.stdout, TapMode::Required),
        None => tap_parser::parse(&output.stdout, TapMode::Detect),
    }
}

/// Returns the complete console log as text, or the reason why it is unavailable, which fails the test.
fn read_console(path: &std::path::Path) -> Result<String, String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(CONSOLE + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("failed to read the console log: {error}"))?;
    if bytes.len() as u64 > CONSOLE {
        return Err(format!("console log too large to search: more than {} MiB", CONSOLE >> 20));
    }
    Ok(String::from_utf8_lossy(&bytes).replace('\r', ""))
}

#[cfg(test)]
mod tests {
    use super::verdict;
    use crate::suite::report::{Attempt, Status};

    #[test]
    fn the_last_attempt_decides_but_a_skipped_one_does_not_cancel_a_failure() {
        let tried = |name: &str| Attempt {
            passed: name == "passed",
            skipped: name == "skipped",
            outcome: (name != "lost").then(|| name.to_owned()),
            cause: (name != "passed").then(|| name.to_owned()),
            ..Attempt::default()
        };
        let is = |names: &[&str], status, cause: Option<&str>| {
            let attempts: Vec<Attempt> = names.iter().map(|name| tried(name)).collect();
            assert_eq!(verdict(&attempts), (status, cause.map(str::to_owned)), "{names:?}");
        };
        is(&[], Status::NotRun, None);
        is(&["passed"], Status::Passed, None);
        is(&["failed", "passed"], Status::Flaky, None);
        is(&["failed", "panic"], Status::Failed, Some("panic"));
        is(&["lost"], Status::Error, Some("lost"));
        is(&["could-not-test"], Status::Error, Some("could-not-test"));
        is(&["skipped"], Status::Skipped, Some("skipped"));
        is(&["failed", "skipped"], Status::Failed, Some("failed"));
    }
}
