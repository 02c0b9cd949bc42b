//! State shared by the worker threads: the plan, the schedule and the prepared targets. Runs the cells.

use std::ffi::OsString;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use super::event::{Event, Message};
use super::judge::{Judge, can_reuse_guest, could_not_test, verdict};
use super::known::KnownFailures;
use super::manifest::{Isolate, Protocol, Test};
use super::plan::{Cell, Plan};
use super::report::{Attempt, CellReport, Part, StartMode, Times};
use super::reproduce;
use super::schedule::{Action, Schedule, Task};
use super::tap_parser::{self, TapMode};
use crate::guest::{Builder, Command, Output, Site, Vm, VmError};

/// Size limit of a console log that is searched for patterns, bytes.
const MAX_CONSOLE: u64 = 16 << 20;

/// State shared by the worker threads.
pub(crate) struct Workers {
    pub(crate) plan: Plan,
    /// Builders of the targets' guests.
    pub(crate) builders: Vec<Builder>,
    /// Command line that repeats a cell, up to `--only`.
    pub(crate) command_line: Vec<OsString>,
    /// Known failures; `None` without a list.
    pub(crate) known: Option<KnownFailures>,
    /// Release of each kernel, set when a guest reports it.
    pub(crate) releases: Vec<OnceLock<String>>,
    pub(crate) start: Instant,
    pub(crate) sender: Sender<Message>,
    pub(crate) schedule: Mutex<Schedule>,
    /// Notified when work has ended or is no longer needed.
    pub(crate) state_changed: Condvar,
    /// Number of failures after which no further cell starts.
    pub(crate) fail_fast: Option<usize>,
    /// Number of failures so far.
    pub(crate) failed: AtomicUsize,
    /// Prepared targets, each set by the thread that prepares it.
    pub(crate) prepared: Vec<OnceLock<PreparedTarget>>,
}

/// A prepared target.
pub(crate) struct PreparedTarget {
    site: Site,
    /// True if its guests boot although they should be restored: no snapshot could be made.
    cold_only: bool,
}

/// Returns true if a test may share its guest. A test that checks the console needs a separate guest.
pub(crate) fn may_share_guest(test: &Test) -> bool {
    test.isolate == Isolate::Nothing && !needs_console(test)
}

/// Returns true if a test is judged by its console log.
fn needs_console(test: &Test) -> bool {
    !test.console.is_empty() || test.kunit.is_some()
}

/// Returns a test's command, which also ends at the findings that end the test.
fn command(test: &Test) -> Command {
    let mut command = test.command.clone();
    if !test.health.fail_on.is_empty() {
        command.fail_on.extend_from_slice(&test.health.fail_on);
        command.health_allow.extend(test.health.allow.iter().map(|pattern| pattern.as_str().to_owned()));
    }
    command
}

/// Returns the report of a cell that has not run.
pub(crate) fn not_run(plan: &Plan, cell: &Cell, command_line: &[OsString]) -> CellReport {
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
    pub(crate) fn run_worker(&self) {
        let _guard = ThreadEndGuard(self);
        while let Some(task) = self.wait_for_task() {
            match task {
                Task::Prepare(target) => self.prepare(target),
                Task::Run(cell) => self.run_cells(cell),
            }
        }
    }

    /// Starts no further cells.
    pub(crate) fn stop(&self) {
        self.lock().stop();
        self.state_changed.notify_all();
    }

    /// Counts failures, before any other work starts.
    fn count(&self, failed: usize) {
        let failed = self.failed.fetch_add(failed, Ordering::SeqCst) + failed;
        if self.fail_fast.is_some_and(|limit| failed >= limit) {
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

    /// Returns the time since the start of the matrix, seconds.
    fn elapsed(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    fn send_event(&self, event: Event) {
        self.send(Message::Event(event));
    }

    fn send(&self, message: Message) {
        // The receiver may be gone; then the message is not needed.
        let _ = self.sender.send(message);
    }

    /// Looks up the inputs of a target's guests and makes their snapshot.
    fn prepare(&self, target: usize) {
        self.send_event(Event::Preparing { target });
        let start = self.elapsed();
        let found = Site::find(&self.builders[target]).and_then(|site| Ok((site.make_snapshot()?, site)));
        let (lost, attempt, note) = match found {
            Ok((unfit, site)) => {
                self.send(Message::QemuVersion(site.qemu_version().to_owned()));
                site.notes().iter().for_each(|note| self.send_event(Event::Note(note.clone())));
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
                attempt.times.start = start;
                attempt.times.total = self.elapsed() - start;
                (self.lock().prepared(target, false), attempt, None)
            }
        };
        self.count(lost.len());
        self.state_changed.notify_all();
        let lost = lost.into_iter().map(|cell| (cell, self.cell_report(cell, vec![attempt.clone()]))).collect();
        self.send_event(Event::Prepared { target, note, cause: attempt.cause, lost });
    }

    /// Runs a cell. If it may share its guest, then runs further such cells in the same guest.
    fn run_cells(&self, first: usize) {
        let shares = may_share_guest(self.plan.test(&self.plan.cells[first]));
        let mut guest = None;
        let mut cell = first;
        loop {
            self.send_event(Event::CellStarted { cell });
            let report = self.run_with_retries(cell, |tried| {
                if tried > 0 {
                    // A retry needs a fresh guest.
                    guest = None;
                }
                if shares { self.run_in_shared_guest(&mut guest, cell) } else { self.run_in_own_guest(cell) }
            });
            self.count(usize::from(!report.is_good()));
            self.send_event(Event::CellEnded { cell, report: Box::new(report) });
            let next = if shares { self.lock().next_shared(cell) } else { None };
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
    fn run_with_retries(&self, cell: usize, mut attempt: impl FnMut(u32) -> Result<Attempt, VmError>) -> CellReport {
        if let Some(skipped) = self.skipped_for_option(cell) {
            return self.cell_report(cell, vec![skipped]);
        }
        let mut attempts: Vec<Attempt> = Vec::new();
        for tried in 0..=self.plan.test(&self.plan.cells[cell]).retries {
            let start = self.elapsed();
            let mut attempt = attempt(tried).unwrap_or_else(|error| could_not_test(&error));
            let total = self.elapsed() - start;
            let prepared = (total - attempt.times.verdict).max(0.0);
            (attempt.times.start, attempt.times.prepared, attempt.times.total) = (start, prepared, total);
            let is_interrupted = attempt.outcome.as_deref() == Some("interrupted");
            let is_over = attempt.passed || attempt.skipped || attempt.outcome.is_none() || is_interrupted;
            attempts.push(attempt);
            if is_over {
                break;
            }
        }
        self.cell_report(cell, attempts)
    }

    /// Returns the attempt of a cell that is skipped because the kernel lacks an option.
    fn skipped_for_option(&self, cell: usize) -> Option<Attempt> {
        let cell = &self.plan.cells[cell];
        let site = &self.prepared[cell.target].get()?.site;
        let option = site.lacking_option(&self.plan.test(cell).needs_config)?;
        let times = Times { start: self.elapsed(), ..Times::default() };
        Some(Attempt { skipped: true, cause: Some(format!("needs CONFIG_{option}")), times, ..Attempt::default() })
    }

    fn cell_report(&self, cell: usize, attempts: Vec<Attempt>) -> CellReport {
        let (status, cause) = verdict(&attempts);
        let kernel = self.plan.cells[cell].kernel;
        let mut report =
            CellReport { status, cause, attempts, ..not_run(&self.plan, &self.plan.cells[cell], &self.command_line) };
        if let Some(known) = &self.known {
            known.judge(&mut report, self.releases[kernel].get().map(String::as_str));
        }
        report
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
    fn run_in_own_guest(&self, cell: usize) -> Result<Attempt, VmError> {
        let cell = &self.plan.cells[cell];
        let test = self.plan.test(cell);
        let Some(PreparedTarget { site, cold_only }) = self.prepared[cell.target].get() else {
            return Ok(Attempt::default());
        };
        let mut builder = self.builder(cell.target, test);
        if *cold_only {
            // Otherwise each guest would boot once to be saved, and again because that is not possible.
            builder = builder.cold();
        }
        let console = needs_console(test)
            .then(tempfile::NamedTempFile::new)
            .transpose()
            .map_err(|source| VmError::Io { action: "create", object: "a file for the console".to_owned(), source })?;
        if let Some(console) = &console {
            builder = builder.console(console.path());
        }
        let output = builder.run_at(site, &command(test))?;
        let boot = if output.age.is_some() { StartMode::Warm } else { StartMode::Cold };
        let console = console.map(|console| read_console(console.path()));
        Ok(self.judge(cell, output, boot, console.as_ref()))
    }

    /// Runs one attempt in the existing guest, or in a new one. A guest that remains usable is left for the next cell.
    fn run_in_shared_guest(&self, guest: &mut Option<Vm>, index: usize) -> Result<Attempt, VmError> {
        let cell = &self.plan.cells[index];
        let test = self.plan.test(cell);
        // This target does not support a guest that runs several commands.
        if self.prepared[cell.target].get().is_some_and(|prepared| prepared.cold_only) {
            return self.run_in_own_guest(index);
        }
        let (mut vm, is_new) = match guest.take() {
            Some(vm) => (vm, false),
            None => match self.builder(cell.target, test).start() {
                Err(VmError::NotKept(_)) => return self.run_in_own_guest(index),
                vm => (vm?, true),
            },
        };
        let output = vm.run_with(&command(test))?;
        if can_reuse_guest(&output) {
            *guest = Some(vm);
        }
        let boot = match (is_new, output.age) {
            (false, _) => StartMode::Shared,
            (true, Some(_)) => StartMode::Warm,
            (true, None) => StartMode::Cold,
        };
        Ok(self.judge(cell, output, boot, None))
    }

    fn judge(
        &self,
        cell: &Cell,
        mut output: Output,
        boot: StartMode,
        console: Option<&Result<String, String>>,
    ) -> Attempt {
        if let Some(PreparedTarget { site, .. }) = self.prepared[cell.target].get() {
            // These notes have already been reported for the target.
            output.notes.retain(|note| !site.notes().contains(note));
        }
        if let Some(release) = output.release.take() {
            // All guests of a kernel report the same release.
            let _ = self.releases[cell.kernel].set(release.clone());
            self.send(Message::KernelRelease { kernel: cell.kernel, release });
        }
        let test = self.plan.test(cell);
        Judge::new(test).attempt(&output, boot, console, parse_parts(test, &output, console))
    }
}

/// Parses the parts in a test's output, or in the console log of a `KUnit` test.
fn parse_parts(test: &Test, output: &Output, console: Option<&Result<String, String>>) -> Vec<Part> {
    if let (Some(suites), Some(Ok(console))) = (&test.kunit, console) {
        return tap_parser::kunit::parse(console, suites);
    }
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
        .and_then(|file| file.take(MAX_CONSOLE + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("failed to read the console log: {error}"))?;
    if bytes.len() as u64 > MAX_CONSOLE {
        return Err(format!("console log too large to search: more than {} MiB", MAX_CONSOLE >> 20));
    }
    Ok(String::from_utf8_lossy(&bytes).replace('\r', ""))
}
