//! Maps a transcript to an outcome, and an outcome to an exit code.
//!
//! | code | meaning |
//! |---|---|
//! | 0-255 | the guest's command exited with this status |
//! | 0, 1 | (`boot` only) 0: all `--expect` patterns matched, or the guest powered off and none was given; 1: a `--reject` pattern matched |
//! | 118 | QEMU exited or was killed before a verdict |
//! | 119 | the guest reset unexpectedly (triple fault) |
//! | 120 | the guest kernel panicked |
//! | 121 | the kernel is unhealthy: the command passed, but the kernel reported a problem (`--health fail`), or the kernel crashed while it loaded a module for the command |
//! | 122 | the guest is gone without a verdict: powered off, restarted, halted, or closed its control channel |
//! | 123 | a watchdog device fired |
//! | 124 | timed out |
//! | 125 | could not test: bad input, no QEMU, a module that failed to load (`git bisect run` skips) |
//! | 126, 127 | the command is not executable, was not found |
//! | 128+n | signal n killed the command, or terminated bootling |
//!
//! Silence is never success: exit code 0 requires a report from pid 1 or, for a disk, a matched `--expect` pattern or
//! a clean power-off. If a command's status equals one of bootling's codes, `--json` and the message on standard error
//! tell them apart.

pub(crate) mod bisect;
pub(crate) mod names;
pub(crate) mod outcome;

pub use self::bisect::BisectAnswer;
pub(crate) use self::names::errno_text;
pub use self::names::signal_name;
pub use self::outcome::Outcome;
use super::autoload::record::KILLED;
use super::collect::record::fault;
use super::health::{Finding, Rules};
use super::transcript::{Event, Goal, QemuExit, Transcript};
use crate::format::protocol::frame::{Ended, Failure};

/// bootling's own exit codes.
pub mod code {
    /// A `--reject` pattern matched.
    pub(crate) const REJECTED: u8 = 1;
    /// QEMU exited or was killed before a verdict.
    pub(crate) const QEMU_DIED: u8 = 118;
    /// Unexpected reset.
    pub(crate) const RESET: u8 = 119;
    /// Kernel panic.
    pub(crate) const PANIC: u8 = 120;
    /// The kernel is unhealthy.
    pub(crate) const UNHEALTHY: u8 = 121;
    /// The guest is gone without a verdict.
    pub(crate) const WENT_AWAY: u8 = 122;
    /// A watchdog device fired.
    pub(crate) const WATCHDOG: u8 = 123;
    /// Timed out.
    pub(crate) const TIMED_OUT: u8 = 124;
    /// The test could not be run.
    pub const COULD_NOT_TEST: u8 = 125;
    /// Added to the signal number.
    pub const SIGNAL: u8 = 128;
}

/// Panic messages of a kernel that finds no init (`init/main.c`, `init/do_mounts.c`): without initrd support, it is not a
/// fault of the kernel.
const NO_INIT: [&str; 2] = ["No working init found", "Unable to mount root fs"];

/// Determines the outcome of a run, without health rules.
pub(crate) fn judge(transcript: &Transcript) -> Outcome {
    let outcome = judge_guest(transcript);
    // The guest's own outcome takes precedence, unless it would look like success.
    if outcome.exit_code() != 0 {
        return outcome;
    }
    let lost = transcript.console_lost.as_ref().map(|why| format!("failed to write the console file: {why}"));
    lost.or_else(|| fault(&transcript.collected)).map_or(outcome, |why| Outcome::CouldNotTest { why })
}

/// Determines the outcome of a run under health rules. Removes the findings that are not reported from the transcript.
/// A failing command takes precedence over findings, since the command is what the run tests.
pub(crate) fn judge_with(transcript: &mut Transcript, rules: &Rules) -> Outcome {
    // A crash is the reason why no command ran, even if the rules allow it.
    let outcome = judge(transcript);
    if let (Outcome::Exited { .. } | Outcome::NotExecuted { .. } | Outcome::Signaled { .. }, Some(crashed)) =
        (&outcome, crashed_on_demand(transcript))
    {
        return crashed;
    }
    transcript.health.retain(|finding| rules.is_reported(finding));
    let worst = transcript.health.iter().filter(|finding| rules.fails(finding)).min_by_key(|finding| finding.kind);
    match (&outcome, worst) {
        (Outcome::Exited { status: 0 } | Outcome::Expected { .. } | Outcome::PoweredOff, Some(worst)) => {
            Outcome::Unhealthy { what: worst.to_string(), early: false }
        }
        // The crash is the cause, the signal its consequence.
        (Outcome::Signaled { signal, core, .. }, _) if is_of_crash(*signal) => {
            let crash = crash(&transcript.health).map(|finding| finding.title.clone());
            Outcome::Signaled { signal: *signal, core: *core, crash }
        }
        _ => outcome,
    }
}

/// Returns the first crash of the kernel in a process.
pub(crate) fn crash(findings: &[Finding]) -> Option<&Finding> {
    findings.iter().find(|finding| finding.killed_a_process())
}

/// Returns true if the kernel kills a process with this signal when it crashes in it: SIGKILL or SIGSEGV
/// (`arch/x86/mm/fault.c`, `page_fault_oops`; `arch/x86/kernel/dumpstack.c`, `die`).
pub(crate) fn is_of_crash(signal: u8) -> bool {
    matches!(signal, 9 | 11)
}

/// Determines the guest's outcome; ignores a failed write to the console file.
fn judge_guest(transcript: &Transcript) -> Outcome {
    // Lost output is an error even after an exit status of 0.
    let lost = transcript.events.iter().find_map(|event| match event {
        Event::OutputFailed(why) => Some(output_failed(why)),
        // An interrupt ends the run; after an exit status it truncated the output.
        Event::Interrupted { signal } => Some(Outcome::Interrupted { signal: *signal }),
        _ => None,
    });
    if let Some(lost) = lost {
        return lost;
    }
    for (position, event) in transcript.events.iter().enumerate() {
        let outcome = match event {
            Event::Exit { ended, .. } => from_end(*ended, &transcript.events[..position]),
            Event::GaveUp(why) => gave_up(why, &transcript.health),
            Event::Failed { what: Failure::Crash, errno, subject } => crashed(*errno, subject, &transcript.health),
            Event::Failed { what, errno, subject } => match failure_reason(*what, *errno, subject) {
                Some(why) => Outcome::CouldNotTest { why },
                None => continue,
            },
            Event::InvalidData(what) => {
                Outcome::CouldNotTest { why: format!("invalid frame on the control channel: {what}") }
            }
            Event::NotRestored(why) => {
                Outcome::CouldNotTest { why: format!("QEMU failed to restore the guest: {why}") }
            }
            Event::Interrupted { signal } => Outcome::Interrupted { signal: *signal },
            Event::Escaped => Outcome::Interrupted { signal: 2 },
            Event::Expected { line, .. } => Outcome::Expected { line: line.clone() },
            Event::Rejected { line } => Outcome::Rejected { line: line.clone() },
            Event::OutputClosed => Outcome::OutputClosed,
            Event::OutputFailed(why) => output_failed(why),
            // The machine continues after these actions; a later event decides.
            Event::Watchdog { action } if matches!(action.as_str(), "none" | "inject-nmi" | "debug") => continue,
            Event::Watchdog { action } => Outcome::Watchdog { action: action.clone() },
            // A panic that did not reset the machine is still a panic, not a timeout.
            Event::TimedOut { limit, after } => {
                panic_of(transcript).unwrap_or(Outcome::TimedOut { limit: *limit, after: *after })
            }
            Event::FailedOn(what) => Outcome::Unhealthy { what: what.clone(), early: true },
            // Handled in `without_verdict` if no final event follows, or no end of the guest.
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
    Outcome::CouldNotTest { why: format!("failed to write the command's output to {why}") }
}

fn panic_of(transcript: &Transcript) -> Option<Outcome> {
    let device = transcript.events.contains(&Event::GuestPanicked);
    let line = match &transcript.console.panic {
        Some(line) => line.clone(),
        None if device => "Kernel panic, reported by the guest's panic device".to_owned(),
        None => return None,
    };
    let contains = |words: &&str| line.contains(words);
    let may_lack_options = transcript.goal == Goal::Command && transcript.kernel.starts_init != Some(true);
    if may_lack_options && !transcript.greeted() && NO_INIT.iter().any(contains) {
        let why = format!(
            "the kernel did not start pid 1 (does it have CONFIG_BLK_DEV_INITRD and CONFIG_BINFMT_ELF?): {line}"
        );
        return Some(Outcome::CouldNotTest { why });
    }
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
        Ended::Signaled(signal, core) => Outcome::Signaled { signal, core, crash: None },
        Ended::PowerOff => Outcome::WentAway { how: "was powered off from inside before the command ended" },
        Ended::Restart => Outcome::WentAway { how: "was restarted from inside before the command ended" },
        Ended::Halt => Outcome::WentAway { how: "was halted from inside before the command ended" },
    }
}

/// Reason why pid 1 could not run the command; `None` if an exit status follows.
fn failure_reason(what: Failure, errno: u32, subject: &str) -> Option<String> {
    let reason = match errno {
        0 => String::new(),
        errno => format!(": {}", errno_text(errno)),
    };
    match what {
        Failure::Exec | Failure::SoftModule | Failure::Crash => None,
        Failure::Job => Some(format!("pid 1 failed to read its job: {subject}{reason}").trim_end().to_owned()),
        Failure::Module => Some(format!("the guest failed to load module {subject}{reason}")),
        Failure::Tty => Some(format!("the guest failed to create a terminal{reason}")),
        Failure::Setup => Some(format!("pid 1 failed to create {subject}{reason}")),
        Failure::Seed => Some(format!("the guest failed to reseed its random generator ({subject}){reason}")),
        Failure::Window => {
            Some(format!("the guest failed to unpack the payload: {subject}{reason}").trim_end().to_owned())
        }
        Failure::BlockDevices => Some(format!("timed out waiting for block devices in the guest: {subject}")),
    }
}

/// Outcome of a crash while a module was loaded.
fn crashed(signal: u32, path: &str, findings: &[Finding]) -> Outcome {
    let file = path.rsplit('/').next().unwrap_or_default();
    let module = file.strip_suffix(".ko").unwrap_or(file).to_owned();
    let what = crash(findings).map(|finding| finding.title.clone());
    let what = what.unwrap_or_else(|| format!("the loading process was killed by signal {signal}"));
    Outcome::KernelCrashed { module, what }
}

/// Returns the outcome of a crash while a module was loaded on demand. Without a kernel report, something other than a
/// crash killed the process that loaded it.
fn crashed_on_demand(transcript: &Transcript) -> Option<Outcome> {
    let module = transcript.modules.iter().find(|module| module.error.as_deref() == Some(KILLED))?;
    let what = crash(&transcript.health)?.title.clone();
    Some(Outcome::KernelCrashed { module: module.name.clone(), what })
}

/// Outcome of a pid 1 without a channel. The module that crashed may be a driver of the channel.
fn gave_up(why: &str, findings: &[Finding]) -> Outcome {
    match crash(findings) {
        Some(Finding { title, .. }) => {
            Outcome::KernelCrashed { module: "(a driver of the control channel)".to_owned(), what: title.clone() }
        }
        None => Outcome::CouldNotTest { why: format!("pid 1 gave up: {why}") },
    }
}

/// Outcome of a machine that stopped before pid 1 reported a final result.
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
            return Outcome::WentAway { how: "powered off before every --expect pattern had matched" };
        }
        (Goal::PowerOff | Goal::Expectations, None) if restarted(transcript) && exit.is_none() => {
            return Outcome::WentAway { how: "restarted more often than --restarts allows" };
        }
        (Goal::Command | Goal::PowerOff | Goal::Expectations, _) => {}
    }
    match (shutdown, exit) {
        (Some((true, "guest-reset")), _) if signs.restart => Outcome::WentAway { how: "restarted without a verdict" },
        // The lines after the panic message came from another processor: only a panic resets a machine without a
        // message.
        (Some((true, "guest-reset")), _) => match &signs.unconfirmed_panic {
            Some(line) => Outcome::Panic { line: line.clone() },
            None => Outcome::Reset { silent: !transcript.kernel.writes_console.unwrap_or(signs.has_output) },
        },
        (Some((true, _)), _) => Outcome::WentAway { how: "powered off without a verdict" },
        // QEMU rejected its command line or failed to open a file: the guest has not run.
        (None, Some(QemuExit::Status(status))) if status != 0 && !transcript.showed_activity() => {
            let messages = transcript.qemu_output.join("; ");
            let messages = if messages.is_empty() { "no message".to_owned() } else { messages };
            Outcome::CouldNotTest { why: format!("QEMU failed to start (status {status}): {messages}") }
        }
        (_, Some(exit)) => Outcome::QemuDied { exit },
        (_, None) if signs.halted => Outcome::WentAway { how: "was halted without a verdict" },
        (_, None) => Outcome::WentAway { how: "closed its control channel without a verdict" },
    }
}

/// Returns true if the guest restarted its machine.
fn restarted(transcript: &Transcript) -> bool {
    transcript.events.contains(&Event::Restarted { guest: true })
}

#[cfg(test)]
mod tests {
    use super::{Outcome, judge, judge_with};
    use crate::format::protocol::frame::{Ended, Failure, Usage};
    use crate::guest::health::{Finding, HealthSpec, Kind};
    use crate::guest::transcript::{ConsoleSigns, Event, Goal, KernelTraits, Limit, QemuExit, Transcript};
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

    fn some_output() -> ConsoleSigns {
        ConsoleSigns { has_output: true, ..ConsoleSigns::default() }
    }

    #[test]
    fn a_lost_console_is_never_a_success_and_hides_no_failure() {
        for (status, code) in [(0, 125), (3, 3)] {
            let lost = Some("No space left on device".to_owned());
            let events = vec![exit(Ended::Exited(status))];
            let outcome = judge(&Transcript { console_lost: lost, ..transcript(events, some_output()) });
            assert_eq!(outcome.exit_code(), code, "{outcome:?}");
        }
    }

    #[test]
    fn every_kind_of_end_has_its_own_name_and_the_documented_code() {
        let panicked = || ConsoleSigns { panic: Some("Kernel panic - not syncing: x".to_owned()), ..some_output() };
        let doubted = || ConsoleSigns { unconfirmed_panic: panicked().panic, ..some_output() };
        let gone = Event::QemuExited(QemuExit::Status(0));
        let failed = |what| Event::Failed { what, errno: 2, subject: "x".to_owned() };
        let late = |limit| Event::TimedOut { limit, after: Duration::from_secs(1) };
        let cases = [
            (vec![exit(Ended::Exited(0))], some_output(), "exited", 0),
            (vec![exit(Ended::Exited(124))], some_output(), "exited", 124),
            (vec![exit(Ended::Signaled(11, true))], some_output(), "signaled", 139),
            (vec![failed(Failure::Exec), exit(Ended::Exited(127))], some_output(), "not-executed", 127),
            (vec![exit(Ended::PowerOff), gone.clone()], some_output(), "went-away", 122),
            (vec![failed(Failure::Module)], some_output(), "could-not-test", 125),
            (vec![shutdown("guest-reset"), gone.clone()], panicked(), "panic", 120),
            (vec![late(Limit::Total)], panicked(), "panic", 120),
            (vec![shutdown("guest-reset"), gone.clone()], doubted(), "panic", 120),
            (vec![late(Limit::Total)], doubted(), "timed-out", 124),
            (vec![late(Limit::Boot)], some_output(), "timed-out", 124),
            (vec![Event::FailedOn("x".to_owned())], some_output(), "unhealthy", 121),
            (vec![shutdown("guest-reset"), gone.clone()], some_output(), "reset", 119),
            (
                vec![shutdown("guest-reset"), gone.clone()],
                ConsoleSigns { restart: true, ..some_output() },
                "went-away",
                122,
            ),
            (vec![shutdown("guest-shutdown"), gone.clone()], some_output(), "went-away", 122),
            (vec![Event::Watchdog { action: "poweroff".to_owned() }, gone], some_output(), "watchdog", 123),
            (vec![Event::QemuExited(QemuExit::Signal(9))], some_output(), "qemu-died", 118),
            (vec![Event::QemuExited(QemuExit::Status(1))], ConsoleSigns::default(), "could-not-test", 125),
            (vec![Event::ChannelClosed], some_output(), "went-away", 122),
            (vec![], ConsoleSigns { halted: true, ..some_output() }, "went-away", 122),
            (vec![Event::Interrupted { signal: 15 }], some_output(), "interrupted", 143),
            (vec![Event::Escaped], some_output(), "interrupted", 130),
            (vec![Event::OutputClosed], some_output(), "output-closed", 141),
            (
                vec![exit(Ended::Exited(0)), Event::OutputFailed("full".to_owned())],
                some_output(),
                "could-not-test",
                125,
            ),
            (vec![exit(Ended::Exited(0)), Event::Interrupted { signal: 15 }], some_output(), "interrupted", 143),
            (vec![Event::Watchdog { action: "none".to_owned() }, exit(Ended::Exited(0))], some_output(), "exited", 0),
            (vec![Event::InvalidData("x".to_owned())], some_output(), "could-not-test", 125),
            (vec![], ConsoleSigns::default(), "went-away", 122),
        ];
        for (events, console, name, code) in cases {
            let shown = format!("{events:?}");
            let outcome = judge(&transcript(events, console));
            assert_eq!((outcome.name(), outcome.exit_code()), (name, code), "{shown}");
        }
    }

    #[test]
    fn a_crash_of_the_kernel_in_the_command_is_the_cause_of_its_signal() {
        let title = "kernel BUG at drivers/misc/lkdtm/bugs.c:105!";
        let lines = vec![title.to_owned(), "RIP: 0010:lkdtm_BUG+0x5/0x10".to_owned(), "RIP: 0033:0x47b7a0".to_owned()];
        let bug = Finding { kind: Kind::Bug, title: title.to_owned(), lines, at: None };
        let thread = Finding { lines: vec![title.to_owned(), " ret_from_fork+0x22/0x30".to_owned()], ..bug.clone() };
        for (ended, finding, crash) in [
            (Ended::Signaled(11, false), &bug, Some(title)),
            (Ended::Signaled(11, false), &thread, None),
            (Ended::Signaled(6, false), &bug, None),
        ] {
            let mut transcript = transcript(vec![exit(ended)], some_output());
            transcript.health = vec![finding.clone()];
            let outcome = judge_with(&mut transcript, &HealthSpec::default().rules().expect("no patterns"));
            let Outcome::Signaled { crash: found, .. } = &outcome else { panic!("{outcome:?}") };
            assert_eq!(found.as_deref(), crash, "{ended:?} {finding:?}");
        }
        let outcome = Outcome::Signaled { signal: 11, core: false, crash: Some(title.to_owned()) };
        let sentence = format!("{title}: the kernel killed the guest's command (signal 11, SIGSEGV)");
        assert_eq!((outcome.sentence(), outcome.exit_code()), (Some(sentence), 139));
    }

    #[test]
    fn a_reset_without_a_console_may_be_a_panic() {
        let events = || vec![shutdown("guest-reset"), Event::QemuExited(QemuExit::Status(0))];
        let judged = |writes_console, console| {
            let kernel = KernelTraits { writes_console, ..KernelTraits::default() };
            judge(&Transcript { kernel, ..transcript(events(), console) })
        };
        let silent = ConsoleSigns::default;
        for (known, console, expected) in [
            (None, some_output(), false),
            (None, silent(), true),
            (Some(true), silent(), false),
            (Some(false), silent(), true),
        ] {
            assert_eq!(judged(known, console), Outcome::Reset { silent: expected }, "{known:?}");
        }
        let sentence = judged(None, silent()).sentence().expect("a sentence");
        assert!(sentence.contains("a panic or a triple fault"), "{sentence}");
    }

    #[test]
    fn a_kernel_that_may_not_support_an_initrd_could_not_be_tested() {
        let line = "Kernel panic - not syncing: No working init found.  Try passing init= option to kernel.";
        let console = || ConsoleSigns { panic: Some(line.to_owned()), ..some_output() };
        for (known, goal, code) in [
            (None, Goal::Command, 125),
            (Some(false), Goal::Command, 125),
            (Some(true), Goal::Command, 120),
            (None, Goal::PowerOff, 120),
        ] {
            let kernel = KernelTraits { starts_init: known, ..KernelTraits::default() };
            let outcome = judge(&Transcript { goal, kernel, ..transcript(vec![], console()) });
            assert_eq!(outcome.exit_code(), code, "{known:?} {goal:?}");
        }
    }

    #[test]
    fn a_verdict_reported_before_the_machine_stopped_is_kept() {
        let events = vec![exit(Ended::Exited(3)), shutdown("guest-shutdown"), Event::QemuExited(QemuExit::Status(0))];
        assert_eq!(judge(&transcript(events, some_output())), Outcome::Exited { status: 3 });
    }

    #[test]
    fn a_disk_is_judged_by_its_expectations() {
        let line = || "login:".to_owned();
        let met = Event::Expected { at: Duration::ZERO, line: line() };
        let wrong = Event::Rejected { line: line() };
        let again = Event::Restarted { guest: true };
        let late = Event::TimedOut { limit: Limit::Total, after: Duration::from_secs(1) };
        let cases = [
            (Goal::Expectations, vec![again.clone(), met.clone()], "expected", 0),
            // The console's last lines are read after the machine has stopped.
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
            let shown = format!("{goal:?} {events:?}");
            let outcome = judge(&Transcript { goal, ..transcript(events, some_output()) });
            assert_eq!((outcome.name(), outcome.exit_code()), (name, code), "{shown}");
        }
        let panicked = ConsoleSigns { panic: Some("Kernel panic - not syncing: x".to_owned()), ..some_output() };
        let outcome = judge(&Transcript { goal: Goal::PowerOff, ..transcript(vec![], panicked) });
        assert_eq!(outcome.exit_code(), 120);
    }

    #[test]
    fn only_pid_1_can_report_success() {
        let quiet_ends = [vec![], vec![Event::QemuExited(QemuExit::Status(0))], vec![shutdown("guest-shutdown")]];
        for events in quiet_ends {
            assert_ne!(judge(&transcript(events, some_output())).exit_code(), 0);
        }
    }
}
