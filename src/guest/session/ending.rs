//! End of a session: ends QEMU, writes all output, completes the transcript.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::json;

use super::{Opening, QEMU_LINES, QUIT_GRACE, Session, Watch};
use crate::guest::health::HealthSummary;
use crate::guest::outlet::{Captured, Outlet};
use crate::guest::transcript::{Event, Goal, KernelTraits, Transcript};
use crate::sys::stdout_was_closed;

/// Minimum time for a reader of bootling's output, or for QEMU's end.
const MOMENT: Duration = Duration::from_millis(200);

impl Session<'_> {
    pub(super) fn write_stdout(&mut self) {
        match self.out.flush() {
            Ok(()) if self.out.is_closed() => self.end(Event::OutputClosed),
            Ok(()) => {}
            Err(_) if stdout_was_closed() => self.end(Event::OutputFailed("standard output: it is closed".to_owned())),
            Err(error) => self.end(Event::OutputFailed(format!("standard output: {error}"))),
        }
    }

    pub(super) fn write_stderr(&mut self) {
        // A closed standard error does not end the session; messages lost on a full disk do.
        if let Err(error) = self.err.flush() {
            self.end(Event::OutputFailed(format!("standard error: {error}")));
        }
    }

    /// Ends QEMU, writes pending output, and returns the transcript.
    pub(super) fn finish(mut self) -> std::io::Result<(Transcript, Captured, Captured)> {
        self.inspect_if_timed_out()?;
        if self.hang.is_none() {
            self.read_last_screen()?;
        }
        self.collect_in_overtime()?;
        if self.guest_stays() {
            // All output of the command before its exit status has been received, except for data in the console pipe.
            self.drain_console();
        } else {
            self.end_qemu()?;
        }
        if self.raw.take().is_some() && !matches!(self.events.last(), Some(Event::Exit { .. })) {
            // An interrupted program may have left colors, a hidden cursor or disabled line wrap (ECMA-48, DECTCEM,
            // DECAWM).
            self.out.push(b"\r\n\x1b[0m\x1b[?25h\x1b[?7h");
        }
        let HealthSummary { mut findings, notes } = std::mem::take(&mut self.health).finish(self.taint());
        self.name_functions(&mut findings);
        let (collected, more) = self.take_collected();
        let notes = [notes, more].concat();
        if !self.settings.quiet {
            for note in &notes {
                self.say(note);
            }
        }
        insert_notes(&mut self.events, notes);
        self.flush_all()?;
        let (console_tail, console) = self.console.finish();
        let (mut qemu_output, _) = self.qemu_stderr.finish();
        qemu_output.drain(..qemu_output.len().saturating_sub(QEMU_LINES));
        let watch = self.settings.watch.as_ref();
        let transcript = Transcript {
            events: self.events,
            console_tail,
            console,
            goal: watch.map_or(Goal::Command, Watch::goal),
            missing: watch.map(|watch| watch.expectations.missing()).unwrap_or_default(),
            screen: self.watching.seen,
            qemu_output,
            console_lost: self.console_lost,
            health: findings,
            hang: self.hang,
            duration: self.start.elapsed(),
            kernel: KernelTraits::default(),
            modules: self.autoload.finish(),
            shares: Vec::new(),
            collected,
        };
        Ok((transcript, self.out.captured(), self.err.captured()))
    }

    /// Returns true if the guest can run another command or be saved.
    fn guest_stays(&self) -> bool {
        match (&self.settings.opening, self.events.last()) {
            (Opening::Boot | Opening::Command { stays: false, .. }, _) | (_, None) => false,
            (Opening::Base, Some(last)) => matches!(last, Event::Ready { .. }),
            (Opening::Command { stays: true, .. }, Some(last)) => last.ends_command(),
        }
    }

    /// Returns the kernel's taint at pid 1's greeting and at its final report; `None` if one of them is missing.
    fn taint(&self) -> Option<(u64, u64)> {
        let mut before = None;
        for event in &self.events {
            match event {
                Event::Hello { taint, .. } => before = Some(*taint),
                Event::Ready { .. } => return before.map(|taint| (taint, taint)),
                Event::Exit { taint, .. } => return before.map(|before| (before, *taint)),
                _ => {}
            }
        }
        None
    }

    fn end_qemu(&mut self) -> std::io::Result<()> {
        if self.settings.flush_disks && self.guest.exit()?.is_none() {
            self.quit_qemu()?;
        }
        self.guest.kill();
        // Output caused by the inspection is in the hang report, and not part of the boot.
        if self.hang.is_none() {
            self.drain_console();
        }
        Ok(())
    }

    pub(super) fn quit_qemu(&mut self) -> std::io::Result<()> {
        self.guest.qmp.execute("quit", &json!({}));
        if self.guest.qmp.flush().is_ok() {
            let left = self.last_moment().map_or(QUIT_GRACE, |end| end.saturating_duration_since(Instant::now()));
            let time = Timespec::try_from(left.clamp(MOMENT, QUIT_GRACE)).ok();
            match poll(&mut [PollFd::new(self.guest.ended(), PollFlags::IN)], time.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Writes all pending output, even to slow readers, but after a timeout only for a limited time. A signal ends the
    /// wait, and the loss of output is reported.
    pub(super) fn flush_all(&mut self) -> std::io::Result<()> {
        // The inspection, or QEMU's end, may have used up the time: a reader that is not stuck needs a moment only.
        let patience = self.last_moment().map(|end| end.max(Instant::now() + MOMENT));
        while !(self.out.is_empty() && self.err.is_empty()) {
            let left = patience.map(|end| end.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                break;
            }
            let mut fds: Vec<_> =
                self.signals.as_ref().map(|signals| PollFd::new(*signals, PollFlags::IN)).into_iter().collect();
            for fd in [&self.out, &self.err].into_iter().filter_map(Outlet::fd) {
                fds.push(PollFd::from_borrowed_fd(fd, PollFlags::OUT));
            }
            let time = left.and_then(|left| Timespec::try_from(left).ok());
            match poll(&mut fds, time.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if let Some(signal) = self.signals.as_mut().and_then(|signals| signals.ending()) {
                self.end(Event::Interrupted { signal });
                break;
            }
            if !self.out.is_empty() {
                self.write_stdout();
            }
            if !self.err.is_empty() {
                self.write_stderr();
            }
        }
        Ok(())
    }
}

/// Inserts notes before the event that ended the session: callers expect that to be the last one.
fn insert_notes(events: &mut Vec<Event>, notes: Vec<String>) {
    let end = events.len().saturating_sub(1);
    events.splice(end..end, notes.into_iter().map(Event::Note));
}

#[cfg(test)]
mod tests {
    use super::{Event, insert_notes};

    #[test]
    fn the_event_that_ended_a_session_stays_the_last_one() {
        let note = || Event::Note("the kernel log is not readable".to_owned());
        let mut events = vec![Event::GuestPanicked, Event::ChannelClosed];
        insert_notes(&mut events, vec!["the kernel log is not readable".to_owned()]);
        assert_eq!(events, [Event::GuestPanicked, note(), Event::ChannelClosed]);
        let mut empty = Vec::new();
        insert_notes(&mut empty, vec!["the kernel log is not readable".to_owned()]);
        assert_eq!(empty, [note()]);
    }
}
