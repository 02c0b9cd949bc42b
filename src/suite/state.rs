//! What the threads of a matrix share: the plan, the schedule, what was found for each stand; and how a cell is run.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use super::judge::{Judge, may_go_on, not_tested};
use super::manifest::{Isolate, Protocol, Test};
use super::parts::{self, Speaks};
use super::plan::{Cell, Plan};
use super::report::{Attempt, Boot, CellReport, Part, Status};
use super::run::Mail;
use super::schedule::{Next, Schedule, Step};
use super::{guest, repeat};
use crate::guest::{Builder, Output, Site, Vm, VmError};

/// Largest console that patterns are looked for in, bytes.
const CONSOLE: u64 = 16 << 20;

/// All of it.
pub struct State {
    pub plan: Plan,
    pub builders: Vec<Builder>,
    /// What repeats a cell, up to `--only`.
    pub words: Vec<std::ffi::OsString>,
    pub began: Instant,
    pub mail: Sender<Mail>,
    pub schedule: Mutex<Schedule>,
    pub ended: Condvar,
    pub judges: Vec<Judge>,
    /// After how many failures nothing more begins.
    pub fail_fast: Option<usize>,
    /// How many there were.
    pub failed: AtomicUsize,
    pub sites: Vec<OnceLock<Ground>>,
}

/// What was found for a stand's guests.
pub struct Ground {
    site: Site,
    /// Whether they boot, whatever was asked for: nothing could be kept to restore them from.
    boots: bool,
}

/// Whether a test may share its guest. What looks at the console needs one whose console is its own.
pub fn shares(test: &Test) -> bool {
    test.isolate == Isolate::Nothing && test.console.is_empty()
}

/// A cell that has not run.
pub fn not_run(plan: &Plan, cell: &Cell, words: &[std::ffi::OsString]) -> CellReport {
    CellReport {
        id: cell.id.clone(),
        test: plan.test(cell).name.clone(),
        kernel: plan.spec.kernels[cell.kernel].name.clone(),
        machine: plan.spec.machines[cell.machine].name.clone(),
        repetition: cell.repetition,
        place: cell.place,
        tags: plan.tags(cell),
        repeat: repeat::by_manifest(words, &cell.id),
        ..CellReport::default()
    }
}

/// Tells that a thread has ended, however it ended.
struct Leaving<'a>(&'a State);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        // Others may wait for what this one had begun: it will never be there.
        if std::thread::panicking() {
            self.0.stop();
        }
        self.0.tell(Mail::Left);
        self.0.ended.notify_all();
    }
}

impl State {
    /// Does what there is to do until there is nothing more.
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

    /// Begins nothing any more.
    pub fn stop(&self) {
        self.lock().stop();
        self.ended.notify_all();
    }

    /// Counts failures, before anything else begins.
    fn count(&self, failed: usize) {
        let failed = self.failed.fetch_add(failed, Ordering::SeqCst) + failed;
        if self.fail_fast.is_some_and(|most| failed >= most) {
            self.stop();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Schedule> {
        // A thread that panicked did so while it ran a cell, not while it held this.
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
        // Whoever asked for the matrix may have gone: then nobody is left to tell.
        let _ = self.mail.send(mail);
    }

    /// Finds what a stand's guests need, and makes their snapshot.
    fn prepare(&self, stand: usize) {
        self.tell(Mail::Preparing(stand));
        let begun = self.began.elapsed().as_secs_f64();
        let found = Site::find(&self.builders[stand]).and_then(|site| Ok((site.make_snapshot()?, site)));
        let (lost, attempt, note) = match found {
            Ok((unfit, site)) => {
                self.tell(Mail::Found { qemu: site.qemu_version().to_owned(), notes: site.notes().to_vec() });
                let boots = unfit.is_some();
                // Nobody else prepares it.
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

    /// Runs a cell in a guest that others may use after it, and those others.
    fn share(&self, first: usize) {
        let mut guest = None;
        let mut cell = first;
        loop {
            self.tell(Mail::Began(cell));
            let report = self.report(cell, |tried| {
                if tried > 0 {
                    // What it is tried again in is nobody's leftovers.
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

    /// Tries a cell as often as it may be tried.
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

    /// What makes a test's guest.
    fn builder(&self, stand: usize, test: &Test) -> Builder {
        let builder = self.builders[stand].clone();
        match test.boot_timeout {
            Some(limit) => builder.boot_timeout(limit),
            None => builder,
        }
    }

    /// One try in a guest of its own.
    fn alone(&self, cell: usize) -> Attempt {
        let planned = &self.plan.cells[cell];
        let test = self.plan.test(planned);
        let Some(Ground { site, boots }) = self.sites[planned.stand].get() else { return Attempt::default() };
        let mut builder = self.builder(planned.stand, test);
        if *boots {
            // Otherwise each of them would boot to be saved, and once more because it could not be.
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

    /// One try in the guest that is there, or in a new one; what is left of it stays for the next.
    fn among_others(&self, guest: &mut Option<Vm>, cell: usize) -> Attempt {
        let planned = &self.plan.cells[cell];
        let test = self.plan.test(planned);
        // This kernel, or this machine, keeps no guest for several commands.
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
            // Told once for all of them.
            output.notes.retain(|note| !site.notes().contains(note));
        }
        if let Some(release) = output.release.take() {
            self.tell(Mail::Release(cell.kernel, release));
        }
        let parts = parts_of(self.plan.test(cell), &output);
        self.judges[cell.test].attempt(&output, boot, console, parts)
    }
}

/// What tries come to, and why that is no success. The last one decides, but a try that was skipped takes no failure back.
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

/// What a test's output says of its parts.
fn parts_of(test: &Test, output: &Output) -> Vec<Part> {
    match test.protocol {
        Some(Protocol::Plain) => Vec::new(),
        Some(Protocol::Tap | Protocol::Ktap) => parts::parse(&output.stdout, Speaks::Surely),
        None => parts::parse(&output.stdout, Speaks::Perhaps),
    }
}

/// All that the console said, as text; or why that cannot be told, which is no success.
fn console_in(path: &std::path::Path) -> Result<String, String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(CONSOLE + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("the console's file could not be read: {error}"))?;
    if bytes.len() as u64 > CONSOLE {
        return Err(format!("the console said more than the {} MiB that patterns are looked for in", CONSOLE >> 20));
    }
    Ok(String::from_utf8_lossy(&bytes).replace('\r', ""))
}

#[cfg(test)]
mod tests {
    use super::came_to;
    use crate::suite::report::{Attempt, Status};

    #[test]
    fn the_last_try_decides_and_a_skipped_one_takes_no_failure_back() {
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
