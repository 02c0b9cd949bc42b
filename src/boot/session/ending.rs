//! The end: QEMU gone, everything written, the transcript complete.

use std::io::Write;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use super::{QEMU_LINES, QUIT_GRACE, Session};
use crate::boot::outlet::Outlet;
use crate::boot::qmp;
use crate::boot::transcript::{Event, Transcript};

impl Session<'_> {
    pub(super) fn write_stdout(&mut self) {
        match self.out.flush() {
            Ok(()) if self.out.is_closed() => self.end(Event::OutputClosed),
            Ok(()) => {}
            Err(error) => self.end(Event::OutputFailed(error.to_string())),
        }
    }

    /// Ends QEMU, writes out what waits, and tells what happened.
    pub(super) fn finish(mut self) -> std::io::Result<Transcript> {
        if self.settings.flush_disks && self.guest.exit()?.is_none() {
            self.quit_qemu()?;
        }
        self.guest.kill();
        while self.read_console() {}
        if self.raw.take().is_some() && !matches!(self.events.last(), Some(Event::Exit { .. })) {
            // A program that was cut off may have left colours on and the cursor hidden (ECMA-48, DECTCEM).
            self.out.push(b"\r\n\x1b[0m\x1b[?25h");
        }
        self.flush_all()?;
        let (console_tail, console) = self.console.finish();
        let (mut qemu_said, _) = self.qemu_stderr.finish();
        qemu_said.drain(..qemu_said.len().saturating_sub(QEMU_LINES));
        Ok(Transcript { events: self.events, console_tail, console, qemu_said, duration: self.start.elapsed() })
    }

    pub(super) fn quit_qemu(&mut self) -> std::io::Result<()> {
        if self.guest.monitor.write(qmp::QUIT).is_ok() {
            let wait = Timespec { tv_sec: QUIT_GRACE, tv_nsec: 0 };
            match poll(&mut [PollFd::new(&self.guest.ended, PollFlags::IN)], Some(&wait)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The guest is gone; what it wrote still has to reach its readers, however slow. A signal ends the wait.
    pub(super) fn flush_all(&mut self) -> std::io::Result<()> {
        while !(self.out.is_empty() && self.err.is_empty()) {
            let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
            for outlet in [&self.out, &self.err] {
                if !outlet.is_empty() {
                    fds.push(PollFd::new(outlet, PollFlags::OUT));
                }
            }
            match poll(&mut fds, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if self.signals.pending().iter().any(|signal| *signal != Signal::WINCH.as_raw()) {
                break;
            }
            let ready = |outlet: &Outlet| {
                let mut fd = [PollFd::new(outlet, PollFlags::OUT)];
                poll(&mut fd, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|count| count > 0)
            };
            if !self.out.is_empty() && ready(&self.out) {
                self.write_stdout();
            }
            if !self.err.is_empty() && ready(&self.err) {
                drop(self.err.flush());
            }
        }
        Ok(())
    }
}
