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
use super::schedule::{Job, Room, Schedule};
use super::state::{State, not_run, shares};
use super::times::Times;
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
    pub times: Times,
    /// Snapshot directory; `None`: chosen by the environment.
    pub cache: Option<PathBuf>,
    /// Suite name, if the manifest has none.
    pub suite: String,
    /// Command line that repeats a cell, up to `--only`.
    pub words: Vec<OsString>,
    /// Job system run that this report belongs to, if known.
    pub run: Option<String>,
}

/// Event.
#[derive(Debug)]
pub enum Happened<'a> {
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
    Began {
        /// Cell id.
        id: &'a str,
    },
    /// A cell has ended.
    Ended {
        /// Report of the cell.
        report: &'a CellReport,
        /// Index in the plan.
        cell: usize,
    },
    /// A message for the user.
    Note(&'a str),
}

/// Message from a worker thread.
pub(crate) enum Mail {
    /// A target is being prepared.
    Preparing(usize),
    /// Result of the lookup.
    Found { qemu: String, notes: Vec<String> },
    /// A target is prepared.
    Prepared { stand: usize, lost: Vec<(usize, CellReport)>, cause: Option<String>, note: Option<String> },
    /// A cell starts.
    Began(usize),
    /// A cell has ended.
    Ended(usize, Box<CellReport>),
    /// A kernel reported its release.
    Release(usize, String),
    /// A worker thread has ended.
    Left,
    /// Request to stop, with the reason as a sentence.
    Stop(String),
}

/// Receiver of the worker threads' messages.
#[derive(Debug)]
pub struct Mailbox {
    sender: Sender<Mail>,
    receiver: Receiver<Mail>,
}

/// Handle that stops a matrix from another thread.
#[derive(Clone)]
pub struct Stopper(Sender<Mail>);

impl Default for Mailbox {
    fn default() -> Self {
        let (sender, receiver) = channel();
        Self { sender, receiver }
    }
}

impl Mailbox {
    /// Returns a handle that stops the matrix that reads this mailbox.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.sender.clone())
    }
}

impl Stopper {
    /// Stops the matrix without waiting for running cells. `why` is a sentence.
    pub fn stop(&self, why: impl Into<String>) {
        // The matrix has already ended.
        let _ = self.0.send(Mail::Stop(why.into()));
    }
}

/// Returns all cells of a plan as not run. `words` is the command line that repeats a cell, up to `--only`.
pub fn not_yet(plan: &Plan, words: &[OsString]) -> Vec<CellReport> {
    plan.cells.iter().map(|cell| not_run(plan, cell, words)).collect()
}

/// Runs a plan until it is complete or stopped, and reports events. Guests that run when it is stopped are not waited
/// for: they end with the process.
pub fn run(plan: Plan, options: Options, mailbox: &Mailbox, told: &mut dyn FnMut(Happened<'_>)) -> Report {
    let began = Instant::now();
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let room = room(&options);
    let state = Arc::new(state(plan, &options, mailbox, room, began));
    for note in too_large(&state.plan, &options, room) {
        told(Happened::Note(&note));
    }
    let plan = &state.plan;
    let cells = not_yet(plan, &options.words);
    let header = Header {
        format: "bootling-report".to_owned(),
        version: 1,
        bootling: env!("CARGO_PKG_VERSION").to_owned(),
        suite: plan.spec.name.clone().unwrap_or(options.suite),
        started,
        shard: plan.shard,
        run: options.run,
        plan: plan.digest.clone(),
        planned: plan.planned,
        ..Header::default()
    };
    let mut post = Post { report: Report { header, cells }, fail_fast: options.fail_fast, failed: 0, state: &state };
    let most = usize::try_from(room.slots).unwrap_or(1).min(plan.cells.len().max(1));
    let mut threads = 0;
    for _ in 0..most {
        let theirs = Arc::clone(&state);
        match thread::Builder::new().name("bootling-cell".to_owned()).spawn(move || theirs.work()) {
            Ok(_) => threads += 1,
            Err(error) => {
                told(Happened::Note(&format!("failed to start a thread: {error}")));
                break;
            }
        }
    }
    while threads > 0 {
        // This thread holds a sender, too, so this does not fail.
        let Ok(mail) = mailbox.receiver.recv() else { break };
        match mail {
            Mail::Left => threads -= 1,
            Mail::Stop(why) => {
                state.stop();
                post.report.header.ended_early = Some(why);
                break;
            }
            mail => post.read(mail, told),
        }
    }
    let mut report = post.report;
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
fn room(options: &Options) -> Room {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let slots = options.jobs.unwrap_or_else(|| u32::try_from(processors).unwrap_or(u32::MAX));
    Room { slots: slots.max(1), memory_mib: options.memory_mib.unwrap_or_else(budget::memory_mib) }
}

fn state(plan: Plan, options: &Options, mailbox: &Mailbox, room: Room, began: Instant) -> State {
    let jobs = plan.cells.iter().map(|cell| Job {
        stand: cell.stand,
        shares: shares(plan.test(cell)),
        expected: options.times.of(&cell.id),
    });
    let needs: Vec<_> = plan.stands.iter().map(|stand| guest::need(&plan, stand, options.jobs.is_some())).collect();
    State {
        schedule: Mutex::new(Schedule::new(jobs.collect(), &needs, room)),
        ended: Condvar::new(),
        builders: plan.stands.iter().map(|stand| guest::builder(&plan, stand, options.cache.as_deref())).collect(),
        judges: plan.spec.tests.iter().map(Judge::new).collect(),
        sites: plan.stands.iter().map(|_| OnceLock::new()).collect(),
        fail_fast: options.fail_fast,
        failed: AtomicUsize::new(0),
        words: options.words.clone(),
        mail: mailbox.sender.clone(),
        began,
        plan,
    }
}

/// Returns notes on machines that exceed the memory budget of all guests.
fn too_large(plan: &Plan, options: &Options, room: Room) -> Vec<String> {
    let mut notes = BTreeMap::new();
    for stand in &plan.stands {
        let need = guest::need(plan, stand, options.jobs.is_some());
        if need.cold_mib > room.memory_mib {
            let name = &plan.spec.machines[stand.machine].name;
            let (wants, has) = (need.cold_mib, room.memory_mib);
            let note = format!(
                "machine {name} needs {wants} MiB, more than the {has} MiB for all guests: its guests run alone"
            );
            notes.insert(stand.machine, note);
        }
    }
    notes.into_values().collect()
}

/// Collects messages in the report.
struct Post<'a> {
    report: Report,
    fail_fast: Option<usize>,
    failed: usize,
    state: &'a State,
}

impl Post<'_> {
    fn read(&mut self, mail: Mail, told: &mut dyn FnMut(Happened<'_>)) {
        let plan = &self.state.plan;
        match mail {
            Mail::Preparing(stand) => told(Happened::Preparing { names: plan.names(stand) }),
            Mail::Found { qemu, notes } => {
                self.report.header.qemu = Some(qemu);
                for note in &notes {
                    told(Happened::Note(note));
                }
            }
            Mail::Prepared { stand, lost, cause, note } => {
                let reports: Vec<CellReport> = lost.iter().map(|(_, report)| report.clone()).collect();
                let (note, cause) = (note.as_deref(), cause.as_deref());
                told(Happened::Prepared { names: plan.names(stand), note, cause, lost: &reports });
                for (cell, report) in lost {
                    self.keep(cell, report);
                }
            }
            Mail::Began(cell) => told(Happened::Began { id: &plan.cells[cell].id }),
            Mail::Ended(cell, report) => {
                told(Happened::Ended { report: &report, cell });
                self.keep(cell, *report);
            }
            Mail::Release(kernel, release) => {
                let name = plan.spec.kernels[kernel].name.clone();
                self.report.header.kernels.insert(name, release);
            }
            Mail::Left | Mail::Stop(_) => {}
        }
    }

    fn keep(&mut self, cell: usize, report: CellReport) {
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
