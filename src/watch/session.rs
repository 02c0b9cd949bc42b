//! A watch session: round after round until a signal ends it.

use std::ffi::OsString;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Signal, getpid, kill_process};

use super::build::Build;
use super::directories::Polling;
use super::snapshot::Snapshot;
use super::sources::Sources;
use super::stamp;
use super::watcher::{Change, PATIENCE, Watcher, is_readable};
use crate::guest::verdict::code;
use crate::guest::{self, Inputs, Listener, Prepared, RunSpec, VmError};
use crate::process::shell::Built;
use crate::process::signals::{Signals, ends};

/// Interval between signals to a guest that must end.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(200);

/// A watch session.
///
/// [`Session::run`] calls a closure for each round, which calls [`build`](Session::build),
/// [`prepare`](Session::prepare) and [`run_guest`](Session::run_guest).
#[derive(Debug)]
pub struct Session {
    sources: Sources,
    build: Option<Build>,
    /// Cache directory, which only bootling modifies.
    cache: Option<PathBuf>,
    watcher: Watcher,
    /// Caught during the whole session, in addition to the signals that a running guest catches.
    signals: Signals,
    /// Inputs of the last round.
    inputs: Inputs,
    /// States of the inputs and sources of the last round.
    snapshot: Snapshot,
    /// True if the last round could be prepared.
    was_prepared: bool,
    change: Option<Change>,
    start: Instant,
    next: Option<NextStep>,
}

/// Reason for ending a round.
#[derive(Debug)]
enum NextStep {
    Round(Change),
    End(i32),
}

impl Session {
    /// Creates a session. `build` is a shell command that builds from `sources` before each round.
    pub fn new(sources: Sources, build: Option<OsString>, cache: Option<PathBuf>) -> io::Result<Self> {
        let session = Self {
            sources,
            build: build.map(Build::new),
            cache,
            watcher: Watcher::new()?,
            signals: Signals::catch()?,
            inputs: Inputs::default(),
            snapshot: Snapshot::default(),
            was_prepared: false,
            change: None,
            start: Instant::now(),
            next: None,
        };
        // Files saved just before the start must not be mistaken for files changed during the first round.
        stamp::wait_for_tick();
        Ok(session)
    }

    /// Calls `round` for each round: the first one, started at `start`, and one after each change. Returns the exit code
    /// of a round that breaks the loop, or 128+n if signal n ended the session.
    pub fn run<E: From<io::Error>>(
        mut self,
        start: Instant,
        mut round: impl FnMut(&mut Self) -> Result<ControlFlow<u8>, E>,
    ) -> Result<u8, E> {
        self.start = start;
        loop {
            if let ControlFlow::Break(code) = round(&mut self)? {
                return Ok(code);
            }
            let next = loop {
                match self.next.take() {
                    Some(next) => break next,
                    None => self.next = self.wait(None)?,
                }
            };
            match next {
                NextStep::Round(change) => (self.change, self.start) = (Some(change), Instant::now()),
                NextStep::End(signal) => return Ok(code::SIGNAL.saturating_add(u8::try_from(signal).unwrap_or(0))),
            }
        }
    }

    /// Returns the change that started the round, `None` for the first one.
    pub fn change(&self) -> Option<&Change> {
        self.change.as_ref()
    }

    /// Returns the start time of the round.
    pub fn start(&self) -> Instant {
        self.start
    }

    /// Builds. Returns the exit status, and a path that is no longer watched because every build changes it.
    pub fn build(&mut self) -> io::Result<(Built, Option<PathBuf>)> {
        let (status, sources, always_changed) = match &mut self.build {
            None => (Built::Done, Snapshot::of_sources(&self.sources), None),
            Some(build) => build.run(&self.sources, &self.inputs, &mut self.signals)?,
        };
        if let Built::Interrupted(signal) = status {
            self.next = Some(NextStep::End(signal));
        }
        self.snapshot = sources.with_inputs(&self.inputs, Duration::MAX);
        Ok((status, always_changed))
    }

    /// Prepares the guest. Returns `None` if the round is over, because of a signal, or because the preparation failed and
    /// an input changed shortly afterwards, as while a linker runs.
    pub fn prepare(
        &mut self,
        spec: &RunSpec,
        listener: &mut dyn Listener,
    ) -> io::Result<Option<Result<Prepared, VmError>>> {
        self.prepare_with(|| match guest::prepare(spec, listener) {
            Ok(prepared) => (prepared.inputs.clone(), Ok(prepared)),
            Err(failed) => (failed.inputs, Err(failed.error)),
        })
    }

    fn prepare_with<P, E>(
        &mut self,
        prepare: impl FnOnce() -> (Inputs, Result<P, E>),
    ) -> io::Result<Option<Result<P, E>>> {
        let start = stamp::now();
        let (mut inputs, prepared) = prepare();
        if let Some(cache) = &self.cache {
            inputs.leave_out(cache);
        }
        self.snapshot = std::mem::take(&mut self.snapshot).with_inputs(&inputs, start);
        self.inputs = inputs;
        self.next = self.signals.ending().map(NextStep::End);
        let was_prepared = std::mem::replace(&mut self.was_prepared, prepared.is_ok());
        if self.next.is_none() && was_prepared && prepared.is_err() {
            self.next = self.wait(Some(PATIENCE))?;
        }
        Ok(self.next.is_none().then_some(prepared))
    }

    /// Runs a guest with a closure, and ends it with SIGTERM to this process on a change. Returns the closure's result,
    /// and true if there was a change.
    pub fn run_guest<R>(&mut self, run: impl FnOnce() -> R) -> io::Result<(R, bool)> {
        let (done, over) = UnixStream::pair()?;
        let (watcher, snapshot) = (&mut self.watcher, &mut self.snapshot);
        let (result, change) = thread::scope(|scope| {
            let watching = scope.spawn(|| end_on_change(watcher, snapshot, over.as_fd()));
            // Runs in this thread, because QEMU ends with the thread that started it.
            let result = run();
            drop(done);
            (result, watching.join())
        });
        let change = change.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let is_changed = change.is_some();
        let is_own = |signal: i32| is_changed && signal == Signal::TERM.as_raw();
        let signal = self.signals.pending().into_iter().find(|signal| ends(*signal) && !is_own(*signal));
        self.next = signal.map(NextStep::End).or(change.map(NextStep::Round));
        Ok((result, is_changed))
    }

    /// Returns the number of watched paths.
    pub fn path_count(&self) -> usize {
        self.snapshot.len()
    }

    /// Returns the reason for polling, if changes are not reported by the kernel.
    pub fn polling(&self) -> Option<&Polling> {
        self.watcher.polling()
    }

    fn wait(&mut self, limit: Option<Duration>) -> io::Result<Option<NextStep>> {
        let Some(change) = self.watcher.wait(&mut self.snapshot, self.signals.as_fd(), limit)? else {
            return Ok(self.signals.ending().map(NextStep::End));
        };
        if let Some(build) = &mut self.build {
            // No build ran, so another process changed these files.
            build.forget_products(&change.paths);
        }
        Ok(Some(NextStep::Round(change)))
    }
}

/// Waits for a change while a guest runs, and then ends the guest with the signal that a user would send.
fn end_on_change(watcher: &mut Watcher, snapshot: &mut Snapshot, over: BorrowedFd<'_>) -> io::Result<Option<Change>> {
    let Some(change) = watcher.wait(snapshot, over, None)? else { return Ok(None) };
    loop {
        // Repeats, because the thread that runs the guest may not catch signals yet.
        kill_process(getpid(), Signal::TERM)?;
        if is_readable(over, None, Some(SIGNAL_INTERVAL))? {
            return Ok(Some(change));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Built, ControlFlow, Inputs, Instant, Session, Sources, io};
    use std::fs;

    #[test]
    fn a_change_during_the_preparation_starts_another_round() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("input");
        fs::write(&path, "first").expect("written");
        let session = Session::new(Sources::default(), None, None).expect("a session");
        let mut changes = Vec::new();
        let code = session.run(Instant::now(), |session| {
            changes.push(session.change().map(|change| change.paths.clone()));
            assert_eq!(session.build()?, (Built::Done, None));
            let prepared = session.prepare_with(|| {
                let inputs = Inputs { read: [path.clone()].into(), ..Inputs::default() };
                (inputs, if changes.len() == 1 { fs::write(&path, "second") } else { Ok(()) })
            })?;
            assert!(matches!(prepared, Some(Ok(()))));
            Ok::<_, io::Error>(if changes.len() == 2 { ControlFlow::Break(3) } else { ControlFlow::Continue(()) })
        });
        assert_eq!(code.expect("an exit code"), 3);
        assert_eq!(changes, [None, Some(vec![path])]);
    }
}
