//! Guests without bootling's pid 1: matches their console and screen against expectations.

use std::io::Write;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};

use super::{Session, Source};
use crate::guest::expect::{Expectations, Sighting};
use crate::guest::screen::{Look, Progress, Seen, Wanted};
use crate::guest::transcript::{Event, Goal};
use crate::qemu::qmp;

/// ID of the QMP command that queries the machine's state.
pub(super) const STATUS: u64 = u64::MAX - 2;
/// Interval between two screen reads.
const EVERY: Duration = Duration::from_millis(400);
/// Time limit of the last screen read: the machine's threads may be busy.
const LAST_LOOK: Duration = Duration::from_secs(5);

/// Time limit for the rest of the matching line.
const REST: Duration = Duration::from_millis(200);

/// Expectations and limits.
#[derive(Debug, Default)]
pub struct Watch {
    /// Expectations for the console and the screen.
    pub expectations: Expectations,
    /// Screen content to read at the end.
    pub last_look: Wanted,
    /// Maximum number of resets.
    pub restarts: u32,
    /// Time to continue after all expectations matched.
    pub linger: Duration,
}

impl Watch {
    /// Goal of the boot.
    pub fn goal(&self) -> Goal {
        if self.expectations.are_any() { Goal::Expectations } else { Goal::PowerOff }
    }
}

/// State of the matching.
#[derive(Debug, Default)]
pub(super) struct Watching {
    /// Time of the last screen read.
    last: Option<Instant>,
    look: Option<Look>,
    /// ID of the next QMP command.
    next: u64,
    restarts: u32,
    /// True if the machine has stopped permanently.
    stopped: bool,
    pub(super) seen: Seen,
}

impl Session<'_> {
    /// Time of the next screen read.
    pub(super) fn next_look(&self) -> Option<Instant> {
        let wanted = self.settings.watch.as_ref()?.expectations.want_screen() && self.watching.look.is_none();
        wanted.then(|| self.watching.last.unwrap_or(self.start) + EVERY)
    }

    pub(super) fn look_if_due(&mut self) {
        if self.next_look().is_some_and(|due| Instant::now() >= due) {
            self.watching.last = Some(Instant::now());
            self.begin_look(Wanted { text: true, picture: false });
        }
    }

    fn begin_look(&mut self, wanted: Wanted) {
        let Some(scratch) = self.guest.scratch.as_ref().map(|scratch| scratch.name.clone()) else { return };
        let (look, orders) = Look::begin(wanted, scratch, !self.watching.stopped, self.watching.next);
        self.watching.look = Some(look);
        self.orders.extend(orders);
        self.write_orders();
    }

    /// Writes as much to the monitor as possible without blocking.
    pub(super) fn write_orders(&mut self) {
        // The rest is written later; if QEMU has exited, it is not needed.
        if let Ok(written) = self.guest.monitor.write(&self.orders) {
            if let Some(keep) = &mut self.settings.keep {
                keep.asked(&self.orders[..written]);
            }
            drop(self.orders.drain(..written));
        }
    }

    pub(super) fn on_reply(&mut self, id: u64, result: Result<Value, String>) {
        let (Some(mut look), Some(scratch)) = (self.watching.look.take(), self.guest.scratch.as_ref()) else { return };
        match look.reply(id, result, &scratch.file) {
            Ok(Progress::Waiting) => self.watching.look = Some(look),
            Ok(Progress::Orders(orders)) => {
                self.watching.look = Some(look);
                self.orders.extend(orders);
                self.write_orders();
            }
            Ok(Progress::Done(seen)) => {
                self.watching.next = look.next();
                self.watch_screen(&seen);
                self.watching.seen = seen;
            }
            Err(error) => {
                // The machine is stopped during a screen read, and must be resumed.
                self.orders.extend(look.give_up());
                self.write_orders();
                self.watching.next = look.next();
                self.say(&format!("failed to read the screen from QEMU: {error}"));
            }
        }
    }

    pub(super) fn watch_console(&mut self, bytes: &[u8]) {
        let sighting = self.settings.watch.as_mut().and_then(|watch| watch.expectations.feed(bytes));
        self.on_sighting(sighting);
        let linger = self.settings.watch.as_ref().is_none_or(|watch| !watch.linger.is_zero());
        let whole = self.settings.watch.as_ref().and_then(|watch| watch.expectations.whole_line());
        if let Some((whole, ended)) = whole {
            for event in &mut self.events {
                match event {
                    Event::Expected { line, .. } | Event::Rejected { line } => line.clone_from(&whole),
                    _ => {}
                }
            }
            if ended && !linger {
                self.grace = Some(Instant::now());
            }
        }
    }

    fn watch_screen(&mut self, seen: &Seen) {
        let watch = self.settings.watch.as_mut().filter(|watch| watch.expectations.want_screen());
        let sighting = watch.zip(seen.text.as_ref()).and_then(|(watch, rows)| watch.expectations.see(rows));
        self.on_sighting(sighting);
    }

    fn on_sighting(&mut self, sighting: Option<Sighting>) {
        let Some(sighting) = sighting else { return };
        let event = match sighting {
            Sighting::Met(line) => Event::Expected { at: self.start.elapsed(), line },
            Sighting::Rejected(line) => Event::Rejected { line },
        };
        // Later matches are ignored.
        if !self.events.iter().any(|event| matches!(event, Event::Expected { .. } | Event::Rejected { .. })) {
            // The final event is always recorded.
            self.events.push(event);
            let linger = self.settings.watch.as_ref().map(|watch| watch.linger).unwrap_or_default();
            self.grace = Some(Instant::now() + linger.max(REST));
        }
    }

    /// Returns the command that detects a machine that stopped while QEMU stays. QEMU reports no events before the
    /// negotiation of capabilities; on a busy host a short boot may already be over by then.
    pub(super) fn asks_for_status(&self) -> Option<Vec<u8>> {
        self.settings.watch.as_ref().map(|_| qmp::order(STATUS, "query-status", &json!({})))
    }

    pub(super) fn learn_status(&mut self, status: &Value) {
        if status.get("status").and_then(Value::as_str) == Some("shutdown") && !self.watching.stopped {
            let event = Event::Shutdown { guest: true, reason: "guest-shutdown".to_owned() };
            self.watch_machine(&event);
            self.note(event);
        }
    }

    /// Handles events of a machine that QEMU was configured to outlive.
    pub(super) fn watch_machine(&mut self, event: &Event) {
        let Some(watch) = &self.settings.watch else { return };
        match event {
            Event::Shutdown { .. } => {
                self.watching.stopped = true;
                // The last console output may not have been read yet.
                self.grace = Some(Instant::now() + Duration::from_millis(100));
            }
            Event::Restarted { guest: true } => {
                self.watching.restarts += 1;
                if self.watching.restarts > watch.restarts {
                    self.grace = Some(Instant::now());
                }
            }
            _ => {}
        }
    }

    /// Reads the screen a last time after the verdict, if QEMU is still running.
    pub(super) fn look_at_the_end(&mut self) -> std::io::Result<()> {
        let wanted = self.settings.watch.as_ref().map(|watch| watch.last_look).unwrap_or_default();
        if wanted.is_nothing() || self.guest.scratch.is_none() {
            return Ok(());
        }
        let end = Instant::now() + LAST_LOOK;
        self.wait_for_look(end)?;
        self.watching.seen = Seen::default();
        self.begin_look(wanted);
        self.wait_for_look(end)
    }

    /// Waits until a screen read has finished.
    fn wait_for_look(&mut self, end: Instant) -> std::io::Result<()> {
        while self.watching.look.is_some() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || self.closed.contains(&Source::Monitor) {
                break;
            }
            let flags = if self.orders.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
            let mut fds = [PollFd::new(&self.guest.monitor, flags), PollFd::new(self.guest.ended(), PollFlags::IN)];
            let time = Timespec::try_from(left).ok();
            match poll(&mut fds, time.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let ended = !fds[1].revents().is_empty();
            self.write_orders();
            if !self.read_monitor() && ended {
                break;
            }
        }
        Ok(())
    }
}
