//! Events of a running matrix, and the channel from the worker threads to the thread that collects the report.

use std::sync::mpsc::{Receiver, Sender, channel};

use super::report::CellReport;

/// Progress of a run. Targets and cells are indexes in the plan.
#[derive(Debug)]
pub enum Event {
    /// A target is being prepared: inputs are looked up and the snapshot is made.
    Preparing {
        /// The target.
        target: usize,
    },
    /// A target is prepared.
    Prepared {
        /// The target.
        target: usize,
        /// Reason for booting guests that should be restored.
        note: Option<String>,
        /// Reason why nothing can run on the target.
        cause: Option<String>,
        /// Cells that cannot be tested for that reason, with their reports.
        lost: Vec<(usize, CellReport)>,
    },
    /// A cell starts.
    CellStarted {
        /// The cell.
        cell: usize,
    },
    /// A cell has ended.
    CellEnded {
        /// The cell.
        cell: usize,
        /// Its report.
        report: Box<CellReport>,
    },
    /// A message for the user.
    Note(String),
}

/// Message to the collecting thread.
#[derive(Debug)]
pub(crate) enum Message {
    /// Progress.
    Event(Event),
    /// Version of QEMU.
    QemuVersion(String),
    /// A kernel reported its release.
    KernelRelease { kernel: usize, release: String },
    /// A worker thread has ended.
    ThreadEnded,
    /// Request to stop, with the reason as a sentence.
    Stop {
        /// The reason.
        reason: String,
        /// True if the running cells end by themselves, with reports.
        waits: bool,
    },
}

/// Channel from the worker threads.
#[derive(Debug)]
pub struct EventChannel {
    pub(crate) sender: Sender<Message>,
    pub(crate) receiver: Receiver<Message>,
}

/// Handle that stops a matrix from another thread.
#[derive(Debug, Clone)]
pub struct StopHandle(Sender<Message>);

impl Default for EventChannel {
    fn default() -> Self {
        let (sender, receiver) = channel();
        Self { sender, receiver }
    }
}

impl EventChannel {
    /// Returns a handle that stops the matrix that uses this channel.
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle(self.sender.clone())
    }
}

impl StopHandle {
    /// Stops the matrix without waiting for running cells. `reason` is a sentence.
    pub fn stop(&self, reason: impl Into<String>) {
        // If this fails, the matrix has already ended.
        let _ = self.0.send(Message::Stop { reason: reason.into(), waits: false });
    }

    /// Stops the matrix because of a signal. Running cells that are [interruptible](super::run::Options::interruptible)
    /// end with a report of their progress.
    pub fn interrupt(&self, reason: impl Into<String>) {
        let _ = self.0.send(Message::Stop { reason: reason.into(), waits: true });
    }
}
