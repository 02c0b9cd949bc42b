//! Runs a plan: as many concurrent guests as fit, a verdict for each cell, and events as they happen.
//!
//! All cells exist from the start, as not run. Each QEMU process belongs to the thread that started it and dies with
//! that thread or with the process.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::event::Message;
pub use super::event::{Event, EventChannel, StopHandle};
use super::known::KnownFailures;
use super::plan::Plan;
use super::report::{CellReport, Header, Report, Status};
use super::schedule::{GuestNeeds, Job, Resources, Schedule};
use super::state::{Workers, may_share_guest, not_run};
use super::times::CellDurations;
use super::{budget, guest, report};
use crate::guest::Builder;

/// Options for running a plan.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Maximum number of concurrent guests; `None`: as many as the CPUs allow.
    pub jobs: Option<u32>,
    /// Memory for all guests, MiB; `None`: three quarters of the available memory.
    pub memory_mib: Option<u64>,
    /// Number of failures after which no further cell starts; `None`: unlimited.
    pub fail_fast: Option<usize>,
    /// Durations of the cells in earlier runs.
    pub times: CellDurations,
    /// True if signals to this process end the running cells: see [`Builder::interruptible`](crate::Builder::interruptible).
    pub interruptible: bool,
    /// Snapshot directory; `None`: chosen by the environment.
    pub cache: Option<PathBuf>,
    /// Suite name, if the manifest has none.
    pub suite: String,
    /// Command line that repeats a cell, up to `--only`.
    pub command_line: Vec<OsString>,
    /// Known failures, which do not count; `None` without a list.
    pub known: Option<KnownFailures>,
    /// Job system run that this report belongs to, if known.
    pub run_id: Option<String>,
}

/// Returns all cells of a plan as not run. `command_line` repeats a cell, up to `--only`.
pub fn not_run_cells(plan: &Plan, command_line: &[OsString]) -> Vec<CellReport> {
    plan.cells.iter().map(|cell| not_run(plan, cell, command_line)).collect()
}

/// Time for the reports of the cells that were running when a signal stopped the matrix. The guests of the others end with
/// the process.
const LAST_CELLS: Duration = Duration::from_secs(6);

/// Runs a plan until it is complete or stopped, and reports events. Guests that run when it is stopped are not waited
/// for, except after a signal: they end with the process.
pub fn run(plan: Plan, options: Options, channel: &EventChannel, on_event: &mut dyn FnMut(&Event)) -> Report {
    let start = Instant::now();
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let resources = available_resources(&options);
    let needs: Vec<GuestNeeds> =
        plan.targets.iter().map(|target| guest::guest_needs(&plan, target, options.jobs.is_some())).collect();
    for note in oversized_machine_notes(&plan, &needs, resources) {
        on_event(&Event::Note(note));
    }
    let schedule = Schedule::new(jobs(&plan, &options), &needs, resources);
    let workers = Arc::new(workers(plan, &options, channel, schedule, start));
    let plan = &workers.plan;
    let header = Header {
        format: report::FORMAT.to_owned(),
        version: report::VERSION,
        bootling: env!("CARGO_PKG_VERSION").to_owned(),
        suite: plan.spec.name.clone().unwrap_or(options.suite),
        started,
        shard: plan.shard,
        run: options.run_id,
        plan: plan.digest.clone(),
        planned: plan.total_cells,
        ..Header::default()
    };
    let report = Report { header, cells: not_run_cells(plan, &options.command_line) };
    let mut builder = ReportBuilder { report, fail_fast: options.fail_fast, failed: 0, is_stopped: false };
    let limit = usize::try_from(resources.slots).unwrap_or(1).min(plan.cells.len().max(1));
    let mut threads = 0;
    for _ in 0..limit {
        let workers = Arc::clone(&workers);
        match thread::Builder::new().name("bootling-cell".to_owned()).spawn(move || workers.run_worker()) {
            Ok(_) => threads += 1,
            Err(error) => {
                on_event(&Event::Note(format!("failed to start a thread: {error}")));
                break;
            }
        }
    }
    builder.collect(threads, &workers, channel, on_event);
    builder.finish(start)
}

/// Returns the available resources.
fn available_resources(options: &Options) -> Resources {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    let slots = options.jobs.unwrap_or_else(|| u32::try_from(cpus).unwrap_or(u32::MAX));
    Resources { slots: slots.max(1), memory_mib: options.memory_mib.unwrap_or_else(budget::memory_mib) }
}

/// Returns the cells to schedule.
fn jobs(plan: &Plan, options: &Options) -> Vec<Job> {
    let jobs = plan.cells.iter().map(|cell| Job {
        target: cell.target,
        shares: may_share_guest(plan.test(cell)),
        expected: options.times.get(&cell.id),
    });
    jobs.collect()
}

fn workers(plan: Plan, options: &Options, channel: &EventChannel, schedule: Schedule, start: Instant) -> Workers {
    let cache = options.cache.as_deref();
    let builder = |builder: Builder| if options.interruptible { builder.interruptible() } else { builder };
    Workers {
        schedule: Mutex::new(schedule),
        state_changed: Condvar::new(),
        builders: plan.targets.iter().map(|target| builder(guest::target_builder(&plan, target, cache))).collect(),
        prepared: plan.targets.iter().map(|_| OnceLock::new()).collect(),
        fail_fast: options.fail_fast,
        failed: AtomicUsize::new(0),
        command_line: options.command_line.clone(),
        known: options.known.clone(),
        releases: plan.spec.kernels.iter().map(|_| OnceLock::new()).collect(),
        sender: channel.sender.clone(),
        start,
        plan,
    }
}

/// Returns notes on machines that exceed the memory budget of all guests.
fn oversized_machine_notes(plan: &Plan, needs: &[GuestNeeds], resources: Resources) -> Vec<String> {
    let available = resources.memory_mib;
    let oversized = plan.targets.iter().zip(needs).filter(|(_, needs)| needs.cold_mib > available);
    let notes: BTreeMap<usize, String> = oversized
        .map(|(target, GuestNeeds { cold_mib, .. })| {
            let name = &plan.spec.machines[target.machine].name;
            let text = format!(
                "machine {name} needs {cold_mib} MiB, more than the {available} MiB for all guests: its guests run alone"
            );
            (target.machine, text)
        })
        .collect();
    notes.into_values().collect()
}

/// Adds a release to those of a kernel, which has one for each architecture.
fn add_release(releases: &mut String, release: &str) {
    let mut all: Vec<&str> = releases.split(", ").filter(|known| !known.is_empty()).chain([release]).collect();
    all.sort_unstable();
    all.dedup();
    *releases = all.join(", ");
}

/// Collects events in the report.
struct ReportBuilder {
    report: Report,
    fail_fast: Option<usize>,
    failed: usize,
    is_stopped: bool,
}

impl ReportBuilder {
    /// Receives messages until all threads have ended, or the matrix is stopped.
    fn collect(
        &mut self,
        mut threads: usize,
        workers: &Workers,
        channel: &EventChannel,
        on_event: &mut dyn FnMut(&Event),
    ) {
        let mut deadline: Option<Instant> = None;
        while threads > 0 {
            // This thread holds a sender, too: without a deadline, this does not fail.
            let message = match deadline {
                None => channel.receiver.recv().ok(),
                Some(end) => channel.receiver.recv_timeout(end.saturating_duration_since(Instant::now())).ok(),
            };
            let Some(message) = message else { break };
            match message {
                Message::Event(event) => {
                    on_event(&event);
                    self.record(event);
                }
                Message::QemuVersion(version) => self.report.header.qemu = Some(version),
                Message::KernelRelease { kernel, release } => {
                    let name = workers.plan.spec.kernels[kernel].name.clone();
                    add_release(self.report.header.kernels.entry(name).or_default(), &release);
                }
                Message::ThreadEnded => threads -= 1,
                Message::Stop { reason, waits } => {
                    workers.stop();
                    self.report.header.ended_early = Some(reason);
                    self.is_stopped = true;
                    if !waits {
                        break;
                    }
                    deadline.get_or_insert_with(|| Instant::now() + LAST_CELLS);
                }
            }
        }
    }

    fn record(&mut self, event: Event) {
        match event {
            Event::Prepared { lost, .. } => {
                for (cell, report) in lost {
                    self.record_cell(cell, report);
                }
            }
            Event::CellEnded { cell, report } => self.record_cell(cell, *report),
            Event::Preparing { .. } | Event::CellStarted { .. } | Event::Note(_) => {}
        }
    }

    fn record_cell(&mut self, cell: usize, report: CellReport) {
        self.failed += usize::from(!report.is_good());
        self.report.cells[cell] = report;
        let ended_early = &mut self.report.header.ended_early;
        if self.fail_fast.is_some_and(|limit| self.failed >= limit) && ended_early.is_none() {
            // The thread of the failed cell has not started another one yet.
            let failed = if self.failed == 1 { "one cell".to_owned() } else { format!("{} cells", self.failed) };
            *ended_early = Some(format!("{failed} failed (--fail-fast)"));
        }
    }

    fn finish(self, start: Instant) -> Report {
        let mut report = self.report;
        report.header.duration_s = start.elapsed().as_secs_f64();
        let ended_early = &mut report.header.ended_early;
        if self.is_stopped {
            // The reason is known, even if no cell is left.
        } else if report.cells.iter().all(|cell| cell.status != Status::NotRun) {
            // A failure limit reached by the last cell ends nothing early.
            *ended_early = None;
        } else if ended_early.is_none() {
            *ended_early = Some("a worker thread ended unexpectedly".to_owned());
        }
        report
    }
}
