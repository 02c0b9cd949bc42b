//! Runs a plan: as many concurrent guests as fit, a verdict for each cell, and events as they happen.
//!
//! All cells exist from the start, as not run. Each QEMU process belongs to the thread that started it and dies with
//! that thread or with the process.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::judge::Judge;
use super::plan::Plan;
use super::report::{CellReport, Header, Report, Status};
use super::schedule::{Job, Resources, Schedule};
use super::state::{Workers, may_share_guest, not_run};
use super::times::CellDurations;
use super::{budget, guest};

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
    /// Snapshot directory; `None`: chosen by the environment.
    pub cache: Option<PathBuf>,
    /// Suite name, if the manifest has none.
    pub suite: String,
    /// Command line that repeats a cell, up to `--only`.
    pub command_line: Vec<OsString>,
    /// Job system run that this report belongs to, if known.
    pub run_id: Option<String>,
}

/// Event.
#[derive(Debug)]
pub enum Event<'a> {
    /// A target is being prepared: inputs are looked up and the snapshot is made.
    Preparing {
        /// Kernel name and machine name.
        names: (&'a str, &'a str),
    },
    /// A target is prepared.
    Prepared {
        /// Kernel name and machine name.
        names: (&'a str, &'a str),
        /// Reason for booting guests that should be restored.
        note: Option<&'a str>,
        /// Reason why nothing can run on the target.
        cause: Option<&'a str>,
        /// Cells that cannot be tested for that reason.
        lost: &'a [CellReport],
    },
    /// A cell starts.
    CellStarted {
        /// Cell id.
        id: &'a str,
    },
    /// A cell has ended.
    CellEnded {
        /// Report of the cell.
        report: &'a CellReport,
        /// Index in the plan.
        cell: usize,
    },
    /// A message for the user.
    Note(&'a str),
}

/// Message from a worker thread.
pub(crate) enum Message {
    /// A target is being prepared.
    Preparing(usize),
    /// Result of the lookup.
    Inputs { qemu: String, notes: Vec<String> },
    /// A target is prepared.
    Prepared { target: usize, lost: Vec<(usize, CellReport)>, cause: Option<String>, note: Option<String> },
    /// A cell starts.
    CellStarted(usize),
    /// A cell has ended.
    CellEnded(usize, Box<CellReport>),
    /// A kernel reported its release.
    KernelRelease(usize, String),
    /// A worker thread has ended.
    ThreadEnded,
    /// Request to stop, with the reason as a sentence.
    Stop(String),
}

/// Receiver of the worker threads' messages.
#[derive(Debug)]
pub struct EventChannel {
    sender: Sender<Message>,
    receiver: Receiver<Message>,
}

/// Handle that stops a matrix from another thread.
#[derive(Clone)]
pub struct StopHandle(Sender<Message>);

impl Default for EventChannel {
    fn default() -> Self {
        let (sender, receiver) = channel();
        Self { sender, receiver }
    }
}

impl EventChannel {
    /// Returns a handle that stops the matrix that reads this channel.
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle(self.sender.clone())
    }
}

impl StopHandle {
    /// Stops the matrix without waiting for running cells. `why` is a sentence.
    pub fn stop(&self, why: impl Into<String>) {
        // The matrix has already ended.
        let _ = self.0.send(Message::Stop(why.into()));
    }
}

/// Returns all cells of a plan as not run. `command_line` is the command line that repeats a cell, up to `--only`.
pub fn not_run_cells(plan: &Plan, command_line: &[OsString]) -> Vec<CellReport> {
    plan.cells.iter().map(|cell| not_run(plan, cell, command_line)).collect()
}

/// Runs a plan until it is complete or stopped, and reports events. Guests that run when it is stopped are not waited
/// for: they end with the process.
pub fn run(plan: Plan, options: Options, channel: &EventChannel, on_event: &mut dyn FnMut(Event<'_>)) -> Report {
    let began = Instant::now();
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let resources = available_resources(&options);
    let state = Arc::new(state(plan, &options, channel, resources, began));
    for note in oversized_machine_notes(&state.plan, &options, resources) {
        on_event(Event::Note(&note));
    }
    let plan = &state.plan;
    let cells = not_run_cells(plan, &options.command_line);
    let header = Header {
        format: "bootling-report".to_owned(),
        version: 1,
        bootling: env!("CARGO_PKG_VERSION").to_owned(),
        suite: plan.spec.name.clone().unwrap_or(options.suite),
        started,
        shard: plan.shard,
        run: options.run_id,
        plan: plan.digest.clone(),
        planned: plan.total_cells,
        ..Header::default()
    };
    let mut builder =
        ReportBuilder { report: Report { header, cells }, fail_fast: options.fail_fast, failed: 0, state: &state };
    let most = usize::try_from(resources.slots).unwrap_or(1).min(plan.cells.len().max(1));
    let mut threads = 0;
    for _ in 0..most {
        let worker_state = Arc::clone(&state);
        match thread::Builder::new().name("bootling-cell".to_owned()).spawn(move || worker_state.run_worker()) {
            Ok(_) => threads += 1,
            Err(error) => {
                on_event(Event::Note(&format!("failed to start a thread: {error}")));
                break;
            }
        }
    }
    while threads > 0 {
        // This thread holds a sender, too, so this does not fail.
        let Ok(message) = channel.receiver.recv() else { break };
        match message {
            Message::ThreadEnded => threads -= 1,
            Message::Stop(why) => {
                state.stop();
                builder.report.header.ended_early = Some(why);
                break;
            }
            message => builder.handle(message, on_event),
        }
    }
    let mut report = builder.report;
    report.header.duration_s = began.elapsed().as_secs_f64();
    let is_whole = report.cells.iter().all(|cell| cell.status != Status::NotRun);
    let early = &mut report.header.ended_early;
    if is_whole {
        // A failure limit reached by the last cell ends nothing early.
        *early = None;
    } else if early.is_none() {
        *early = Some("a worker thread ended unexpectedly".to_owned());
    }
    report
}

/// Returns the available resources.
fn available_resources(options: &Options) -> Resources {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let slots = options.jobs.unwrap_or_else(|| u32::try_from(processors).unwrap_or(u32::MAX));
    Resources { slots: slots.max(1), memory_mib: options.memory_mib.unwrap_or_else(budget::memory_mib) }
}

fn state(plan: Plan, options: &Options, channel: &EventChannel, resources: Resources, began: Instant) -> Workers {
    let jobs = plan.cells.iter().map(|cell| Job {
        target: cell.target,
        shares: may_share_guest(plan.test(cell)),
        expected: options.times.get(&cell.id),
    });
    let needs: Vec<_> =
        plan.targets.iter().map(|target| guest::guest_needs(&plan, target, options.jobs.is_some())).collect();
    Workers {
        schedule: Mutex::new(Schedule::new(jobs.collect(), &needs, resources)),
        state_changed: Condvar::new(),
        builders: plan
            .targets
            .iter()
            .map(|target| guest::target_builder(&plan, target, options.cache.as_deref()))
            .collect(),
        judges: plan.spec.tests.iter().map(Judge::new).collect(),
        prepared: plan.targets.iter().map(|_| OnceLock::new()).collect(),
        fail_fast: options.fail_fast,
        failed: AtomicUsize::new(0),
        command_line: options.command_line.clone(),
        sender: channel.sender.clone(),
        start: began,
        plan,
    }
}

/// Returns notes on machines that exceed the memory budget of all guests.
fn oversized_machine_notes(plan: &Plan, options: &Options, resources: Resources) -> Vec<String> {
    let mut notes = BTreeMap::new();
    for target in &plan.targets {
        let need = guest::guest_needs(plan, target, options.jobs.is_some());
        if need.cold_mib > resources.memory_mib {
            let name = &plan.spec.machines[target.machine].name;
            let (wants, has) = (need.cold_mib, resources.memory_mib);
            let note = format!(
                "machine {name} needs {wants} MiB, more than the {has} MiB for all guests: its guests run alone"
            );
            notes.insert(target.machine, note);
        }
    }
    notes.into_values().collect()
}

/// Collects messages in the report.
struct ReportBuilder<'a> {
    report: Report,
    fail_fast: Option<usize>,
    failed: usize,
    state: &'a Workers,
}

impl ReportBuilder<'_> {
    fn handle(&mut self, message: Message, on_event: &mut dyn FnMut(Event<'_>)) {
        let plan = &self.state.plan;
        match message {
            Message::Preparing(target) => on_event(Event::Preparing { names: plan.target_names(target) }),
            Message::Inputs { qemu, notes } => {
                self.report.header.qemu = Some(qemu);
                for note in &notes {
                    on_event(Event::Note(note));
                }
            }
            Message::Prepared { target, lost, cause, note } => {
                let reports: Vec<CellReport> = lost.iter().map(|(_, report)| report.clone()).collect();
                let (note, cause) = (note.as_deref(), cause.as_deref());
                on_event(Event::Prepared { names: plan.target_names(target), note, cause, lost: &reports });
                for (cell, report) in lost {
                    self.record(cell, report);
                }
            }
            Message::CellStarted(cell) => on_event(Event::CellStarted { id: &plan.cells[cell].id }),
            Message::CellEnded(cell, report) => {
                on_event(Event::CellEnded { report: &report, cell });
                self.record(cell, *report);
            }
            Message::KernelRelease(kernel, release) => {
                let name = plan.spec.kernels[kernel].name.clone();
                self.report.header.kernels.insert(name, release);
            }
            Message::ThreadEnded | Message::Stop(_) => {}
        }
    }

    fn record(&mut self, cell: usize, report: CellReport) {
        if !report.status.is_good() {
            self.failed += 1;
        }
        self.report.cells[cell] = report;
        if self.fail_fast.is_some_and(|most| self.failed >= most) && self.report.header.ended_early.is_none() {
            // The thread of the failed cell has started nothing since.
            let counted = if self.failed == 1 { "one cell".to_owned() } else { format!("{} cells", self.failed) };
            self.report.header.ended_early = Some(format!("{counted} failed (--fail-fast)"));
        }
    }
}
