//! Handling of frames from pid 1.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::sequence::Progress;
use super::{Foreground, Opening, Phase, Session};
use crate::format::protocol;
use crate::format::protocol::frame::{Failure, SEED, ToGuest, ToHost};
use crate::guest::console::printable;
use crate::guest::terminal;
use crate::guest::transcript::Event;

impl Session<'_> {
    pub(super) fn on_frame(&mut self, frame: &ToHost<'_>) {
        let at = self.start.elapsed();
        // A frame out of sequence is not from bootling's pid 1.
        if let Some(what) = self.violation(frame) {
            self.end(Event::Nonsense(what.to_owned()));
            return;
        }
        match *frame {
            ToHost::Hello { version, uptime_ns, taint, window, release } => {
                if version != protocol::VERSION {
                    let ours = protocol::VERSION;
                    self.end(Event::Nonsense(format!(
                        "unsupported protocol version of pid 1: expected {ours}, found {version}"
                    )));
                    return;
                }
                let uptime = Duration::from_nanos(uptime_ns);
                self.outbox.grant(window);
                self.note(Event::Hello { at, uptime, taint, release: printable(release) });
                match self.settings.opening {
                    Opening::Base => self.phase = Phase::Greeted,
                    Opening::Boot | Opening::Command { .. } => self.greet(),
                }
            }
            ToHost::Ready => self.end(Event::Ready { at }),
            ToHost::Started(_) => {
                self.phase = Phase::Running;
                self.note(Event::Started { at });
            }
            ToHost::Stdout(bytes) => self.out.push(bytes),
            ToHost::Stderr(bytes) => self.err.push(bytes),
            ToHost::Window(more) => self.outbox.grant(more),
            ToHost::Note(text) => {
                let text = printable(text);
                if !self.settings.quiet {
                    self.say(&format!("guest: {text}"));
                }
                self.note(Event::Note(text));
            }
            ToHost::Failed { what, errno, subject } => {
                let event = Event::Failed { what, errno, subject: printable(subject) };
                match what {
                    // The exit status follows.
                    Failure::Exec => {
                        self.is_refused = true;
                        self.note(event);
                    }
                    Failure::Job | Failure::Module | Failure::Tty | Failure::BlockDevices | Failure::Window => {
                        self.end(event);
                    }
                }
            }
            ToHost::Log { lost, records } => self.health.take_records(lost, records),
            ToHost::Left { pid, lives, name } => self.health.take_left(pid, lives, name),
            ToHost::Exit { ended, usage, taint } => self.end(Event::Exit { at, ended, usage, taint }),
        }
    }

    /// Returns what is wrong with a frame that the guest may not send now.
    fn violation(&self, frame: &ToHost<'_>) -> Option<&'static str> {
        if !self.has_our_pid1() {
            return Some("a message of a guest without bootling's pid 1");
        }
        let is_base = self.settings.opening == Opening::Base;
        Progress { phase: self.phase, is_base, is_refused: self.is_refused }.violation(frame)
    }

    /// Sends a ready guest its command.
    pub(super) fn renew(&mut self, len: u64) {
        let mut seed = [0; SEED];
        let filled = rustix::rand::getrandom(&mut seed[..], rustix::rand::GetRandomFlags::empty());
        if filled != Ok(SEED) {
            // Two guests with identical random numbers would be worse than a failure.
            self.end(Event::NotRestored("failed to get random numbers for the guest".to_owned()));
            return;
        }
        self.outbox.send(&ToGuest::Renew { len, seed });
    }

    pub(super) fn greet(&mut self) {
        self.phase = Phase::Greeted;
        let (rows, columns) = match (&self.input, self.settings.foreground) {
            (Some(input), Foreground::Terminal) => match terminal::size(input) {
                // No terminal: use the default size of most programs.
                (0, _) | (_, 0) => (24, 80),
                size => size,
            },
            (
                Some(_) | None,
                Foreground::Streams
                | Foreground::Console
                | Foreground::Terminal
                | Foreground::Viewer
                | Foreground::Nobody,
            ) => (0, 0),
        };
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let realtime_ns = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        self.outbox.send(&ToGuest::Go { rows, columns, realtime_ns });
    }
}
