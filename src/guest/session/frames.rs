//! Handling of frames from pid 1.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::sequence::Progress;
use super::{Foreground, Opening, Phase, Session};
use crate::format::guest_text;
use crate::format::protocol;
use crate::format::protocol::frame::{Failure, SEED, ToGuest, ToHost};
use crate::guest::terminal;
use crate::guest::transcript::Event;
use crate::guest::verdict::errno_text;

impl Session<'_> {
    pub(super) fn on_frame(&mut self, frame: &ToHost<'_>) {
        let at = self.start.elapsed();
        // A frame out of sequence is not from bootling's pid 1.
        if let Some(what) = self.violation(frame) {
            self.end(Event::InvalidData(what.to_owned()));
            return;
        }
        match *frame {
            ToHost::Hello { version, uptime_ns, taint, window, release } => {
                if version != protocol::VERSION {
                    let ours = protocol::VERSION;
                    self.end(Event::InvalidData(format!(
                        "unsupported protocol version of pid 1: expected {ours}, found {version}"
                    )));
                    return;
                }
                let uptime = Duration::from_nanos(uptime_ns);
                self.outbox.grant(window);
                self.note(Event::Hello { at, uptime, taint, release: guest_text::line(release) });
                match self.settings.opening {
                    Opening::Base => self.phase = Phase::Greeted,
                    Opening::Boot | Opening::Command { .. } => self.greet(),
                }
            }
            ToHost::CommandLine(text) => self.check_command_line(&guest_text::line(text)),
            ToHost::Loading(path) => self.loading = Some(guest_text::line(path)).filter(|path| !path.is_empty()),
            ToHost::Ready => self.end(Event::Ready { at }),
            ToHost::Started(_) => {
                self.phase = Phase::Running;
                self.note(Event::Started { at });
            }
            ToHost::Stdout(bytes) => self.out.push(bytes),
            ToHost::Stderr(bytes) => self.err.push(bytes),
            ToHost::Collected(bytes) => self.on_collected(bytes),
            ToHost::Window(more) => self.outbox.grant(more),
            ToHost::Note(text) => {
                self.guest_note(guest_text::line(text));
            }
            ToHost::Failed { what, errno, subject } => self.on_failure(what, errno, guest_text::line(subject)),
            ToHost::Log { lost, records } => self.health.take_records(lost, records),
            ToHost::Left { pid, lives, name } => self.health.take_left(pid, lives, name),
            ToHost::Helper { id, message } => self.on_helper(id, message),
            ToHost::Exit { ended, usage, taint } => self.end(Event::Exit { at, ended, usage, taint }),
        }
    }

    /// Returns a description of the fault if the guest may not send the frame now.
    fn on_failure(&mut self, what: Failure, errno: u32, subject: String) {
        match what {
            // The exit status follows.
            Failure::Exec => {
                self.is_refused = true;
                self.note(Event::Failed { what, errno, subject });
            }
            Failure::SoftModule => {
                self.guest_note(format!("optional module {subject} was not loaded: {}", errno_text(errno)));
            }
            Failure::Job
            | Failure::Module
            | Failure::Crash
            | Failure::Tty
            | Failure::BlockDevices
            | Failure::Window
            | Failure::Setup
            | Failure::Seed => self.end(Event::Failed { what, errno, subject }),
        }
    }

    fn violation(&self, frame: &ToHost<'_>) -> Option<&'static str> {
        if !self.has_our_pid1() {
            return Some("a message of a guest without bootling's pid 1");
        }
        let is_base = self.settings.opening == Opening::Base;
        Progress { phase: self.phase, is_base, is_refused: self.is_refused }.violation(frame)
    }

    fn on_helper(&mut self, id: u32, message: &[u8]) {
        match self.autoload.receive(id, message, self.start, &mut self.outbox) {
            Ok(()) => self.provide_modules(),
            Err(what) => self.end(Event::InvalidData(what.to_owned())),
        }
    }

    /// Sends the modules that were found, and prints the notes about them.
    pub(super) fn provide_modules(&mut self) {
        self.autoload.answer(&mut self.outbox);
        for note in self.autoload.take_notes() {
            self.guest_note(note);
        }
    }

    fn guest_note(&mut self, text: String) {
        if !self.settings.quiet {
            self.say(&format!("guest: {text}"));
        }
        self.note(Event::Note(text));
    }

    /// Notes the words of its command line that the kernel ignores.
    fn check_command_line(&mut self, found: &str) {
        let lost = lost_words(&self.settings.command_line, found);
        // Without /proc, the command line is unknown.
        if !lost.is_empty() && !found.is_empty() {
            self.guest_note(format!(
                "the kernel ignores {} of its command line; it uses {found:?} (CONFIG_CMDLINE_OVERRIDE, or too long)",
                lost.join(" ")
            ));
        }
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
                // Without a terminal, use the default size of most programs.
                (0, _) | (_, 0) => (24, 80),
                size => size,
            },
            (
                Some(_) | None,
                Foreground::Streams
                | Foreground::Console
                | Foreground::Terminal
                | Foreground::Viewer
                | Foreground::None,
            ) => (0, 0),
        };
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let realtime_ns = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        self.outbox.send(&ToGuest::Go { rows, columns, realtime_ns });
    }
}

/// Returns the words of a command line that are not in another.
fn lost_words<'a>(given: &'a str, found: &str) -> Vec<&'a str> {
    given.split_whitespace().filter(|word| !found.split_whitespace().any(|other| other == *word)).collect()
}

#[cfg(test)]
mod tests {
    use super::lost_words;

    #[test]
    fn words_that_the_kernel_ignores_are_found_whatever_it_adds() {
        let given = "console=ttyS0 quiet  lost=1";
        assert!(lost_words(given, "BOOT_IMAGE=x console=ttyS0 quiet lost=1 more").is_empty());
        assert_eq!(lost_words(given, "console=ttyS0 lost=12"), ["quiet", "lost=1"]);
    }
}
