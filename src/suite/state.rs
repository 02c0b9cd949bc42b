//! State shared by the worker threads: the plan, the schedule and the prepared targets. Runs the cells.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use super::judge::{Judge, may_go_on, not_tested};
use super::manifest::{Isolate, Protocol, Test};
use super::plan::{Cell, Plan};
use super::report::{Attempt, Boot, CellReport, Part, Status};
use super::run::Mail;
use super::schedule::{Next, Schedule, Step};
use super::tap_parser::{self, Speaks};
use super::{guest, reproduce};
use crate::guest::{Builder, Output, Site, Vm, VmError};

/// Size limit of a console log that is searched for patterns, bytes.
const CONSOLE: u64 = 16 << 20;

/// State shared by the worker threads.
pub struct State {
    pub plan: Plan,
    pub builders: Vec<Builder>,
    /// Command line that repeats a cell, up to `--only`.
    pub words: Vec<std::ffi::OsString>,
    pub began: Instant,
    pub mail: Sender<Mail>,
    pub schedule: Mutex<Schedule>,
    pub ended: Condvar,
    pub judges: Vec<Judge>,
    /// Number of failures after which no further cell starts.
    pub fail_fast: Option<usize>,
    /// Number of failures so far.
    pub failed: AtomicUsize,
    pub sites: Vec<OnceLock<Ground>>,
}

/// A prepared target.
pub struct Ground {
    site: Site,
    /// True if its guests boot although they should be restored: no snapshot could be made.
    boots: bool,
}

/// Returns true if a test may share its guest. A test that checks the console needs a separate guest.
pub fn shares(test: &Test) -> bool {
    test.isolate == Isolate::Nothing && test.console.is_empty()
}

/// Returns the report of a cell that has not run.
pub fn not_run(plan: &Plan, cell: &Cell, words: &[std::ffi::OsString]) -> CellReport {
    CellReport {
        id: cell.id.clone(),
        test: plan.test(cell).name.clone(),
        kernel: plan.spec.kernels[cell.kernel].name.clone(),
        machine: plan.spec.machines[cell.machine].name.clone(),
        repetition: cell.repetition,
        place: cell.place,
        tags: plan.tags(cell),
        repeat: reproduce::by_manifest(words, &cell.id),
        ..CellReport::default()
    }
}

/// Reports the end of a thread, even if it panics.
struct Leaving<'a>(&'a State);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        // Other threads may wait for the work of this one, which will never be done.
        if std::thread::panicking() {
            self.0.stop();
        }
        self.0.tell(Mail::Left);
        self.0.ended.notify_all();
    }
}

impl State {
    /// Works until nothing is left to do.
    pub fn work(&self) {
        let _leaving = Leaving(self);
        while let Some(step) = self.next() {
            match step {
                Step::Prepare(stand) => self.prepare(stand),
                Step::Run(cell) if shares(self.plan.test(&self.plan.cells[cell])) => self.share(cell),
                Step::Run(cell) => {
                    self.tell(Mail::Began(cell));
                    let report = self.report(cell, |_| self.alone(cell));
                    self.count(usize::from(!report.status.is_good()));
                    self.lock().ended(cell);
                    self.ended.notify_all();
                    self.tell(Mail::Ended(cell, Box::new(report)));
                }
            }
        }
    }

    /// Starts no further cells.
    pub fn stop(&self) {
        self.lock().stop();
        self.ended.notify_all();
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

    fn next(&self) -> Option<Step> {
        let mut schedule = self.lock();
        loop {
            match schedule.next() {
                Next::Do(step) => return Some(step),
                Next::Done => return None,
                Next::Wait => schedule = self.ended.wait(schedule).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn tell(&self, mail: Mail) {
        // The receiver may be gone; then the message is not needed.
        let _ = self.mail.send(mail);
    }

    /// Looks up the inputs of a target's guests and makes their snapshot.
    fn prepare(&self, stand: usize) {
        self.tell(Mail::Preparing(stand));
        let begun = self.began.elapsed().as_secs_f64();
        let found = Site::find(&self.builders[stand]).and_then(|site| Ok((site.make_snapshot()?, site)));
        let (lost, attempt, note) = match found {
            Ok((unfit, site)) => {
                self.tell(Mail::Found { qemu: site.qemu_version().to_owned(), notes: site.notes().to_vec() });
                let boots = unfit.is_some();
                // Only this thread prepares the target.
                let _ = self.sites[stand].set(Ground { site, boots });
                let mut schedule = self.lock();
                if boots {
                    schedule.boots(stand);
                }
                (schedule.prepared(stand, true), Attempt::default(), unfit)
            }
            Err(error) => {
                let mut attempt = not_tested(&error);
                attempt.times.begun = begun;
                attempt.times.total = self.began.elapsed().as_secs_f64() - begun;
                (self.lock().prepared(stand, false), attempt, None)
            }
        };
        self.count(lost.len());
        self.ended.notify_all();
        let lost = lost.into_iter().map(|cell| (cell, self.judged(cell, vec![attempt.clone()]))).collect();
        self.tell(Mail::Prepared { stand, lost, cause: attempt.cause, note });
    }

    /// Runs a cell in a guest that other cells may use after it, and then those cells.
    fn share(&self, first: usize) {
        let mut guest = None;
        let mut cell = first;
        loop {
            self.tell(Mail::Began(cell));
            let report = self.report(cell, |tried| {
                if tried > 0 {
                    // A retry needs a fresh guest.
                    guest = None;
                }
                self.among_others(&mut guest, cell)
            });
            self.count(usize::from(!report.status.is_good()));
            self.tell(Mail::Ended(cell, Box::new(report)));
            let next = self.lock().another(cell);
            match next {
                Some(next) => cell = next,
                None => break,
            }
        }
        drop(guest);
        self.lock().ended(cell);
        self.ended.notify_all();
    }

    /// Runs a cell, with retries.
    fn report(&self, cell: usize, mut attempt: impl FnMut(u32) -> Attempt) -> CellReport {
        let begun = |state: &Self| state.began.elapsed().as_secs_f64();
        let mut attempts: Vec<Attempt> = Vec::new();
        for tried in 0..=self.plan.test(&self.plan.cells[cell]).retries {
            let start = begun(self);
            let mut attempt = attempt(tried);
            let total = begun(self) - start;
            let prepared = (total - attempt.times.verdict).max(0.0);
            (attempt.times.begun, attempt.times.prepared, attempt.times.total) = (start, prepared, total);
            let is_over = attempt.passed || attempt.skipped || attempt.outcome.is_none();
            attempts.push(attempt);
            if is_over {
                break;
            }
        }
        self.judged(cell, attempts)
    }

    fn judged(&self, cell: usize, attempts: Vec<Attempt>) -> CellReport {
        let (status, cause) = came_to(&attempts);
        CellReport { status, cause, attempts, ..not_run(&self.plan, &self.plan.cells[cell], &self.words) }
    }

    /// Returns the builder of a test's guest.
    fn builder(&self, stand: usize, test: &Test) -> Builder {
        let builder = self.builders[stand].clone();
        match test.boot_timeout {
            Some(limit) => builder.boot_timeout(limit),
            None => builder,
        }
    }

    /// Runs one attempt in a separate guest.
    fn alone(&self, cell: usize) -> Attempt {
        let planned = &self.plan.cells[cell];
        let test = self.plan.test(planned);
        let Some(Ground { site, boots }) = self.sites[planned.stand].get() else { return Attempt::default() };
        let mut builder = self.builder(planned.stand, test);
        if *boots {
            // Otherwise each guest would boot once to be saved, and again because that is not possible.
            builder = builder.cold();
        }
        let kept = (!test.console.is_empty()).then(tempfile::NamedTempFile::new).transpose();
        let kept = match kept {
            Ok(kept) => kept,
            Err(source) => {
                let object = "a file for the console".to_owned();
                return not_tested(&VmError::Io { doing: "making", object, source });
            }
        };
        if let Some(kept) = &kept {
            builder = builder.console(kept.path());
        }
        match builder.run_at(site, &guest::command(test)) {
            Err(error) => not_tested(&error),
            Ok(output) => {
                let console = kept.map(|kept| console_in(kept.path()));
                let boot = if output.age.is_some() { Boot::Warm } else { Boot::Cold };
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
    fn among_others(&self, guest: &mut Option<Vm>, cell: usize) -> Attempt {
        let planned = &self.plan.cells[cell];
        let test = self.plan.test(planned);
        // This target does not support a guest that runs several commands.
        if self.sites[planned.stand].get().is_some_and(|ground| ground.boots) {
            return self.alone(cell);
        }
        let (mut vm, is_new) = match guest.take() {
            Some(vm) => (vm, false),
            None => match self.builder(planned.stand, test).start() {
                Ok(vm) => (vm, true),
                Err(VmError::NotKept(_)) => return self.alone(cell),
                Err(error) => return not_tested(&error),
            },
        };
        match vm.run_with(&guest::command(test)) {
            Err(error) => not_tested(&error),
            Ok(output) => {
                if may_go_on(&output) {
                    *guest = Some(vm);
                }
                let boot = match (is_new, output.age) {
                    (false, _) => Boot::Shared,
                    (true, Some(_)) => Boot::Warm,
                    (true, None) => Boot::Cold,
                };
                self.judge(planned, output, boot, None)
            }
        }
    }

    fn judge(&self, cell: &Cell, mut output: Output, boot: Boot, console: Option<Result<&str, &str>>) -> Attempt {
        if let Some(Ground { site, .. }) = self.sites[cell.stand].get() {
            // These notes have already been reported for the target.
            output.notes.retain(|note| !site.notes().contains(note));
        }
        if let Some(release) = output.release.take() {
            self.tell(Mail::Release(cell.kernel, release));
        }
        let parts = parts_of(self.plan.test(cell), &output);
        self.judges[cell.test].attempt(&output, boot, console, parts)
    }
}

/// Returns the status that results from the attempts, and the cause if they are not a success. The last attempt
/// decides, but a skipped one does not cancel a failure.
fn came_to(attempts: &[Attempt]) -> (Status, Option<String>) {
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
fn parts_of(test: &Test, output: &Output) -> Vec<Part> {
    match test.protocol {
        Some(Protocol::Plain) => Vec::new(),
        Some(Protocol::Tap | Protocol::Ktap) => tap_parser::parse(&output.stdout, Speaks::Surely),
        None => tap_parser::parse(&output.stdout, Speaks::Perhaps),
    }
}

/// Returns the complete console log as text, or the reason why it is unavailable, which fails the test.
fn console_in(path: &std::path::Path) -> Result<String, String> {
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
    use super::came_to;
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
            assert_eq!(came_to(&attempts), (status, cause.map(str::to_owned)), "{names:?}");
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
