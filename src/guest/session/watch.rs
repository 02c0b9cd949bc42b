//! Guests without bootling's pid 1: matches their console and screen against expectations.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};

use super::{Session, Source};
use crate::guest::expect::Sighting;
use crate::guest::screen::{ScreenContent, ScreenReader, ScreenRequest};
use crate::guest::transcript::Event;
use crate::qemu::qmp::Reply;

/// Interval between two screen reads.
const EVERY: Duration = Duration::from_millis(400);
/// Time limit of the last screen read: the machine's threads may be busy.
const LAST_READ: Duration = Duration::from_secs(5);

/// Time limit for the rest of the matching line.
const REST: Duration = Duration::from_millis(200);

impl Session<'_> {
    /// Time of the next screen read.
    pub(super) fn next_screen_read(&self) -> Option<Instant> {
        let wanted = self.settings.watch.as_ref()?.expectations.expects_screen() && self.watching.reader.is_none();
        wanted.then(|| self.watching.last.unwrap_or(self.start) + EVERY)
    }

    pub(super) fn read_screen_if_due(&mut self) {
        if self.next_screen_read().is_some_and(|due| Instant::now() >= due) {
            self.watching.last = Some(Instant::now());
            self.read_screen(ScreenRequest { text: true, picture: false });
        }
    }

    fn read_screen(&mut self, request: ScreenRequest) {
        let Some(file) = &self.guest.scratch else { return };
        let (path, qmp) = (file.name.clone(), &mut self.guest.qmp);
        let mut execute = |name: &str, arguments: &Value| qmp.execute(name, arguments);
        self.watching.reader = Some(ScreenReader::start(request, path, !self.watching.stopped, &mut execute));
    }

    /// Handles the reply to a command that is not one of this session's own queries.
    pub(super) fn handle_screen_reply(&mut self, id: u64, result: Reply) {
        let (Some(reader), Some(file)) = (&mut self.watching.reader, &self.guest.scratch) else { return };
        let qmp = &mut self.guest.qmp;
        let mut execute = |name: &str, arguments: &Value| qmp.execute(name, arguments);
        match reader.handle_reply(id, result, &file.file, &mut execute) {
            Ok(None) => {}
            Ok(Some(mut content)) => {
                // A read without text does not detect the mode.
                content.is_graphical |= content.text.is_none() && self.watching.seen.is_graphical;
                self.watching.reader = None;
                self.match_screen(&content);
                self.watching.seen = content;
            }
            Err(error) => {
                // The machine is stopped during a screen read, and must be resumed.
                reader.cancel(&mut execute);
                self.watching.reader = None;
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

    fn match_screen(&mut self, content: &ScreenContent) {
        let watch = self.settings.watch.as_mut().filter(|watch| watch.expectations.expects_screen());
        let sighting = watch.zip(content.text.as_ref()).and_then(|(watch, rows)| watch.expectations.see(rows));
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

    /// Queries the state of a machine that may have stopped while QEMU stays. QEMU reports no events before the negotiation
    /// of capabilities; on a busy host a short boot may already be over by then.
    pub(super) fn query_status(&mut self) {
        let is_watched = self.settings.watch.is_some();
        self.watching.status_command = is_watched.then(|| self.guest.qmp.execute("query-status", &json!({})));
    }

    /// Handles the reply to [`Session::query_status`].
    pub(super) fn handle_status(&mut self, id: u64, status: &Value) {
        if self.watching.status_command != Some(id) {
            return;
        }
        if status.get("status").and_then(Value::as_str) == Some("shutdown") && !self.watching.stopped {
            let event = Event::Shutdown { guest: true, reason: "guest-shutdown".to_owned() };
            self.watch_machine(&event);
            self.note(event);
        }
    }

    /// Handles events of a machine whose stop does not end QEMU.
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
    pub(super) fn read_last_screen(&mut self) -> std::io::Result<()> {
        let wanted = self.settings.watch.as_ref().map(|watch| watch.last_screen).unwrap_or_default();
        if wanted.is_empty() || self.guest.scratch.is_none() {
            return Ok(());
        }
        let end = Instant::now() + LAST_READ;
        let end = self.last_moment().map_or(end, |last| last.min(end));
        self.wait_for_screen(end)?;
        self.watching.seen =
            ScreenContent { is_graphical: self.watching.seen.is_graphical, ..ScreenContent::default() };
        self.read_screen(wanted);
        self.wait_for_screen(end)
    }

    /// Waits until a screen read has finished.
    fn wait_for_screen(&mut self, end: Instant) -> std::io::Result<()> {
        while self.watching.reader.is_some() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || self.closed.contains(&Source::Monitor) {
                break;
            }
            let qmp = &self.guest.qmp;
            let mut fds = [PollFd::new(qmp, qmp.interest()), PollFd::new(self.guest.ended(), PollFlags::IN)];
            let time = Timespec::try_from(left).ok();
            match poll(&mut fds, time.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let ended = !fds[1].revents().is_empty();
            if !self.read_monitor() && ended {
                break;
            }
        }
        Ok(())
    }
}
