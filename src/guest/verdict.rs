//! From a transcript to an outcome, and from an outcome to the one exit code.
//!
//! | code | meaning |
//! |---|---|
//! | 0-255 | the guest's command exited with this status |
//! | 0, 1 | of `boot`: what was expected came, or the guest powered off where nothing was; or what must not come did |
//! | 118 | QEMU died |
//! | 119 | the guest's processor reset without anybody asking for it (a triple fault) |
//! | 120 | kernel panic |
//! | 121 | the command passed, but the kernel's health did not (`--health fail`) |
//! | 122 | the guest went away without a verdict: powered off, restarted, halted, or closed its channel |
//! | 123 | a watchdog device fired |
//! | 124 | timed out |
//! | 125 | could not test: bad input, no QEMU, a module that would not load (`git bisect run` skips) |
//! | 126, 127 | the command could not be executed, was not found |
//! | 128+n | the command was killed by signal n; or signal n ended bootling |
//!
//! Silence is never success: 0 comes from pid 1's own report, or from what somebody said to expect of a disk.
//! Where a guest's status is one of these numbers, `--json` and the sentence on standard error tell them apart.

pub mod bisect;
pub mod names;
pub mod outcome;

pub use self::bisect::Bisected;
use self::names::errno_text;
pub use self::names::signal_name;
pub use self::outcome::Outcome;
use super::health::Rules;
use super::transcript::{Event, Goal, QemuExit, Transcript};
use crate::format::protocol::frame::{Ended, Failure};

/// The tool's own exit codes.
pub mod code {
    /// What must not come came.
    pub const REJECTED: u8 = 1;
    /// QEMU died.
    pub const QEMU_DIED: u8 = 118;
    /// A reset nobody asked for.
    pub const RESET: u8 = 119;
    /// Kernel panic.
    pub const PANIC: u8 = 120;
    /// The kernel is not well.
    pub const UNHEALTHY: u8 = 121;
    /// No verdict.
    pub const WENT_AWAY: u8 = 122;
    /// A watchdog fired.
    pub const WATCHDOG: u8 = 123;
    /// Timed out.
    pub const TIMED_OUT: u8 = 124;
    /// Could not test.
    pub const COULD_NOT_TEST: u8 = 125;
    /// Added to a signal's number.
    pub const SIGNAL: u8 = 128;
}

/// Computes the outcome.
pub fn judge(transcript: &Transcript) -> Outcome {
    let outcome = judge_guest(transcript);
    match &transcript.console_lost {
        // What is known of the guest still counts for more, unless it would look like success.
        Some(why) if outcome.exit_code() == 0 => {
            Outcome::CouldNotTest { why: format!("writing the console's file: {why}") }
        }
        Some(_) | None => outcome,
    }
}

/// Computes the outcome of a run whose kernel is to be well, and keeps of what is known of its health what is to be told. The
/// command's own failure counts for more: it says what was tested.
pub fn judge_with(transcript: &mut Transcript, rules: &Rules) -> Outcome {
    transcript.health.retain(|finding| rules.tells(finding));
    let outcome = judge(transcript);
    let worst = transcript.health.iter().filter(|finding| rules.fails(finding)).min_by_key(|finding| finding.kind);
    match (&outcome, worst) {
        (Outcome::Exited { status: 0 } | Outcome::Expected { .. } | Outcome::PoweredOff, Some(worst)) => {
            Outcome::Unhealthy { what: worst.to_string() }
        }
        _ => outcome,
    }
}

/// What came of the guest, whatever became of our own outputs' files.
fn judge_guest(transcript: &Transcript) -> Outcome {
    // Output that was lost after a status of 0 came in is still lost.
    let lost = transcript.events.iter().find_map(|event| match event {
        Event::OutputFailed(why) => Some(output_failed(why)),
        // It ends every run it comes in: behind a status it cut off output.
        Event::Interrupted { signal } => Some(Outcome::Interrupted { signal: *signal }),
        _ => None,
    });
    if let Some(lost) = lost {
        return lost;
    }
    for (position, event) in transcript.events.iter().enumerate() {
        let outcome = match event {
            Event::Exit { ended, .. } => from_end(*ended, &transcript.events[..position]),
            Event::Failed { what, errno, subject } => match could_not(*what, *errno, subject) {
                Some(why) => Outcome::CouldNotTest { why },
                None => continue,
            },
            Event::Nonsense(what) => Outcome::CouldNotTest {
                why: format!("the guest sent what is not a frame on the control channel: {what}"),
            },
            Event::NotRestored(why) => {
                Outcome::CouldNotTest { why: format!("QEMU could not restore the guest: {why}") }
            }
            Event::Interrupted { signal } => Outcome::Interrupted { signal: *signal },
            Event::Escaped => Outcome::Interrupted { signal: 2 },
            Event::Expected { line, .. } => Outcome::Expected { line: line.clone() },
            Event::Rejected { line } => Outcome::Rejected { line: line.clone() },
            Event::OutputClosed => Outcome::OutputClosed,
            Event::OutputFailed(why) => output_failed(why),
            // With these the machine goes on, and what comes of it is the verdict.
            Event::Watchdog { action } if matches!(action.as_str(), "none" | "inject-nmi" | "debug") => continue,
            Event::Watchdog { action } => Outcome::Watchdog { action: action.clone() },
            // A panic that did not reset the machine is still a panic, not a timeout.
            Event::TimedOut { limit, after } => {
                panic_of(transcript).unwrap_or(Outcome::TimedOut { limit: *limit, after: *after })
            }
            // Told below, once it is clear that nothing final was said; or no end at all.
            Event::Shutdown { .. }
            | Event::QemuExited(_)
            | Event::Hello { .. }
            | Event::Ready { .. }
            | Event::Started { .. }
            | Event::Note(_)
            | Event::Restarted { .. }
            | Event::GuestPanicked
            | Event::ChannelClosed => continue,
        };
        return outcome;
    }
    without_verdict(transcript)
}

fn output_failed(why: &str) -> Outcome {
    Outcome::CouldNotTest { why: format!("writing the command's output to {why}") }
}

fn panic_of(transcript: &Transcript) -> Option<Outcome> {
    let device = transcript.events.contains(&Event::GuestPanicked);
    let line = match &transcript.console.panic {
        Some(line) => line.clone(),
        None if device => "Kernel panic, reported by the guest's panic device".to_owned(),
        None => return None,
    };
    Some(Outcome::Panic { line })
}

fn from_end(ended: Ended, before: &[Event]) -> Outcome {
    match ended {
        Ended::Exited(status) => {
            let failure = before.iter().find_map(|event| match event {
                Event::Failed { what: Failure::Exec, errno, subject } => Some((*errno, subject.clone())),
                _ => None,
            });
            match failure {
                Some((errno, command)) => Outcome::NotExecuted { status, command, errno },
                None => Outcome::Exited { status },
            }
        }
        Ended::Signaled(signal, core) => Outcome::Signaled { signal, core },
        Ended::PowerOff => Outcome::WentAway { how: "was powered off from inside before the command ended" },
        Ended::Restart => Outcome::WentAway { how: "was restarted from inside before the command ended" },
        Ended::Halt => Outcome::WentAway { how: "was halted from inside before the command ended" },
    }
}

/// Why pid 1 could not even start; `None` where a status follows all the same.
fn could_not(what: Failure, errno: u32, subject: &str) -> Option<String> {
    let reason = match errno {
        0 => String::new(),
        errno => format!(": {}", errno_text(errno)),
    };
    match what {
        Failure::Exec => None,
        Failure::Job => Some(format!("pid 1 could not read its job{reason} {subject}").trim_end().to_owned()),
        Failure::Module => Some(format!("the guest could not load module {subject}{reason}")),
        Failure::Tty => Some(format!("the guest could not make a terminal{reason}")),
        Failure::Window => {
            Some(format!("the guest could not take in what it was to run: {subject}{reason}").trim_end().to_owned())
        }
        Failure::BlockDevices => Some(format!("the guest waited in vain for block devices: {subject}")),
    }
}

/// The machine stopped and pid 1 had said nothing final.
fn without_verdict(transcript: &Transcript) -> Outcome {
    if let Some(panic) = panic_of(transcript) {
        return panic;
    }
    let exit = transcript.events.iter().find_map(|event| match event {
        Event::QemuExited(exit) => Some(*exit),
        _ => None,
    });
    let shutdown = transcript.events.iter().find_map(|event| match event {
        Event::Shutdown { guest, reason } => Some((*guest, reason.as_str())),
        _ => None,
    });
    let signs = &transcript.console;
    match (transcript.goal, shutdown) {
        (Goal::PowerOff, Some((true, "guest-shutdown"))) => return Outcome::PoweredOff,
        (Goal::Expectations, Some((true, "guest-shutdown"))) => {
            return Outcome::WentAway { how: "powered off before all that was expected had come" };
        }
        (Goal::PowerOff | Goal::Expectations, None) if restarted(transcript) && exit.is_none() => {
            return Outcome::WentAway { how: "restarted once more than --restarts allows" };
        }
        (Goal::Command | Goal::PowerOff | Goal::Expectations, _) => {}
    }
    match (shutdown, exit) {
        (Some((true, "guest-reset")), _) if signs.restart => Outcome::WentAway { how: "restarted without a verdict" },
        // What spoke after it was another processor: nobody but a panic resets a machine without a word.
        (Some((true, "guest-reset")), _) => match &signs.doubted_panic {
            Some(line) => Outcome::Panic { line: line.clone() },
            None => Outcome::Reset,
        },
        (Some((true, _)), _) => Outcome::WentAway { how: "powered off without a verdict" },
        // It refused its command line, or could not open something: nothing has run.
        (None, Some(QemuExit::Status(status))) if status != 0 && !transcript.guest_lived() => {
            let said = transcript.qemu_said.join("; ");
            let said = if said.is_empty() { "it said nothing".to_owned() } else { said };
            Outcome::CouldNotTest { why: format!("QEMU would not start (status {status}): {said}") }
        }
        (_, Some(exit)) => Outcome::QemuDied { exit },
        (_, None) if signs.halted => Outcome::WentAway { how: "was halted without a verdict" },
        (_, None) => Outcome::WentAway { how: "closed its control channel without a verdict" },
    }
}

/// Whether the guest restarted its machine.
fn restarted(transcript: &Transcript) -> bool {
    transcript.events.contains(&Event::Restarted { guest: true })
}

#[cfg(test)]
mod tests {
    use super::{Outcome, judge};
    use crate::format::protocol::frame::{Ended, Failure, Usage};
    use crate::guest::transcript::{ConsoleSigns, Event, Goal, Limit, QemuExit, Transcript};
    use std::time::Duration;

    fn transcript(events: Vec<Event>, console: ConsoleSigns) -> Transcript {
        Transcript { events, console, ..Transcript::default() }
    }

    fn exit(ended: Ended) -> Event {
        Event::Exit { at: Duration::ZERO, ended, usage: Usage::default(), taint: 0 }
    }

    fn shutdown(reason: &str) -> Event {
        Event::Shutdown { guest: true, reason: reason.to_owned() }
    }

    fn spoke() -> ConsoleSigns {
        ConsoleSigns { spoke: true, ..ConsoleSigns::default() }
    }

    #[test]
    fn a_console_that_was_lost_is_no_success_and_hides_no_failure() {
        for (status, code) in [(0, 125), (3, 3)] {
            let lost = Some("No space left on device".to_owned());
            let events = vec![exit(Ended::Exited(status))];
            let outcome = judge(&Transcript { console_lost: lost, ..transcript(events, spoke()) });
            assert_eq!(outcome.exit_code(), code, "{outcome:?}");
        }
    }

    #[test]
    fn every_way_to_end_has_its_own_name_and_the_documented_code() {
        let panicked = || ConsoleSigns { panic: Some("Kernel panic - not syncing: x".to_owned()), ..spoke() };
        let doubted = || ConsoleSigns { doubted_panic: panicked().panic, ..spoke() };
        let gone = Event::QemuExited(QemuExit::Status(0));
        let failed = |what| Event::Failed { what, errno: 2, subject: "x".to_owned() };
        let late = |limit| Event::TimedOut { limit, after: Duration::from_secs(1) };
        let cases = [
            (vec![exit(Ended::Exited(0))], spoke(), "exited", 0),
            (vec![exit(Ended::Exited(124))], spoke(), "exited", 124),
            (vec![exit(Ended::Signaled(11, true))], spoke(), "signaled", 139),
            (vec![failed(Failure::Exec), exit(Ended::Exited(127))], spoke(), "not-executed", 127),
            (vec![exit(Ended::PowerOff), gone.clone()], spoke(), "went-away", 122),
            (vec![failed(Failure::Module)], spoke(), "could-not-test", 125),
            (vec![shutdown("guest-reset"), gone.clone()], panicked(), "panic", 120),
            (vec![late(Limit::Total)], panicked(), "panic", 120),
            (vec![shutdown("guest-reset"), gone.clone()], doubted(), "panic", 120),
            (vec![late(Limit::Total)], doubted(), "timed-out", 124),
            (vec![late(Limit::Boot)], spoke(), "timed-out", 124),
            (vec![shutdown("guest-reset"), gone.clone()], spoke(), "reset", 119),
            (vec![shutdown("guest-reset"), gone.clone()], ConsoleSigns { restart: true, ..spoke() }, "went-away", 122),
            (vec![shutdown("guest-shutdown"), gone.clone()], spoke(), "went-away", 122),
            (vec![Event::Watchdog { action: "poweroff".to_owned() }, gone], spoke(), "watchdog", 123),
            (vec![Event::QemuExited(QemuExit::Signal(9))], spoke(), "qemu-died", 118),
            (vec![Event::QemuExited(QemuExit::Status(1))], ConsoleSigns::default(), "could-not-test", 125),
            (vec![Event::ChannelClosed], spoke(), "went-away", 122),
            (vec![], ConsoleSigns { halted: true, ..spoke() }, "went-away", 122),
            (vec![Event::Interrupted { signal: 15 }], spoke(), "interrupted", 143),
            (vec![Event::Escaped], spoke(), "interrupted", 130),
            (vec![Event::OutputClosed], spoke(), "output-closed", 141),
            (vec![exit(Ended::Exited(0)), Event::OutputFailed("full".to_owned())], spoke(), "could-not-test", 125),
            (vec![exit(Ended::Exited(0)), Event::Interrupted { signal: 15 }], spoke(), "interrupted", 143),
            (vec![Event::Watchdog { action: "none".to_owned() }, exit(Ended::Exited(0))], spoke(), "exited", 0),
            (vec![Event::Nonsense("x".to_owned())], spoke(), "could-not-test", 125),
            (vec![], ConsoleSigns::default(), "went-away", 122),
        ];
        for (events, console, name, code) in cases {
            let told = format!("{events:?}");
            let outcome = judge(&transcript(events, console));
            assert_eq!((outcome.name(), outcome.exit_code()), (name, code), "{told}");
        }
    }

    #[test]
    fn a_verdict_given_before_the_machine_stopped_stands() {
        let events = vec![exit(Ended::Exited(3)), shutdown("guest-shutdown"), Event::QemuExited(QemuExit::Status(0))];
        assert_eq!(judge(&transcript(events, spoke())), Outcome::Exited { status: 3 });
    }

    #[test]
    fn a_disk_is_judged_by_what_was_expected_of_it() {
        let line = || "login:".to_owned();
        let met = Event::Expected { at: Duration::ZERO, line: line() };
        let wrong = Event::Rejected { line: line() };
        let again = Event::Restarted { guest: true };
        let late = Event::TimedOut { limit: Limit::Total, after: Duration::from_secs(1) };
        let cases = [
            (Goal::Expectations, vec![again.clone(), met.clone()], "expected", 0),
            // The console's last words are read after the machine has stopped.
            (Goal::Expectations, vec![shutdown("guest-shutdown"), met.clone()], "expected", 0),
            (Goal::Expectations, vec![wrong.clone(), met.clone()], "rejected", 1),
            (Goal::Expectations, vec![late.clone(), met], "timed-out", 124),
            (Goal::Expectations, vec![shutdown("guest-shutdown")], "went-away", 122),
            (Goal::Expectations, vec![again.clone()], "went-away", 122),
            (Goal::PowerOff, vec![shutdown("guest-shutdown")], "powered-off", 0),
            (Goal::PowerOff, vec![wrong, shutdown("guest-shutdown")], "rejected", 1),
            (Goal::PowerOff, vec![again], "went-away", 122),
            (Goal::PowerOff, vec![late], "timed-out", 124),
            (Goal::PowerOff, vec![Event::QemuExited(QemuExit::Status(0))], "qemu-died", 118),
        ];
        for (goal, events, name, code) in cases {
            let told = format!("{goal:?} {events:?}");
            let outcome = judge(&Transcript { goal, ..transcript(events, spoke()) });
            assert_eq!((outcome.name(), outcome.exit_code()), (name, code), "{told}");
        }
        let panicked = ConsoleSigns { panic: Some("Kernel panic - not syncing: x".to_owned()), ..spoke() };
        let outcome = judge(&Transcript { goal: Goal::PowerOff, ..transcript(vec![], panicked) });
        assert_eq!(outcome.exit_code(), 120);
    }

    #[test]
    fn nothing_but_pid_1_makes_success() {
        let quiet_ends = [vec![], vec![Event::QemuExited(QemuExit::Status(0))], vec![shutdown("guest-shutdown")]];
        for events in quiet_ends {
            assert_ne!(judge(&transcript(events, spoke())).exit_code(), 0);
        }
    }
}
