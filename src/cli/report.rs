//! What came of a run: a sentence with the console's last lines for people, JSON for scripts.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use bootling::guest::hang::Hang;
use bootling::guest::health::Finding;
use bootling::guest::transcript::{Event, Transcript};
use bootling::guest::verdict::{Outcome, signal_name};
use bootling::qemu::machine::Machine;
use bootling::regress::bundle::Expected;

/// Console lines shown under a sentence.
const TAIL: usize = 20;

/// The verdict as `--json` writes it. Fields are only ever added.
#[derive(Debug, Serialize)]
pub struct Report {
    /// One word: `exited`, `signaled`, `panic`, `timed-out`, ...
    pub outcome: &'static str,
    /// What bootling exits with.
    pub exit_code: u8,
    /// The command's status, where it exited.
    pub status: Option<u8>,
    /// The signal that killed it, where one did.
    pub signal: Option<u8>,
    /// That signal's name.
    pub signal_name: Option<String>,
    /// Whether it dumped core.
    pub core_dumped: bool,
    /// The sentence that people get; `null` where the command spoke for itself.
    pub message: Option<String>,
    /// Whether the guest was restored rather than booted.
    pub warm: bool,
    /// How old the snapshot was that it was restored from, milliseconds; 0 where this run made it.
    pub snapshot_age_ms: Option<f64>,
    /// How long things took.
    pub times: Times,
    /// Largest resident set of the command, KiB.
    pub max_rss_kib: Option<u64>,
    /// Processor time of the command in user mode, milliseconds.
    pub user_ms: Option<f64>,
    /// Processor time of the command in the kernel, milliseconds.
    pub system_ms: Option<f64>,
    /// `/proc/sys/kernel/tainted` when pid 1 was ready.
    pub taint_before: Option<u64>,
    /// And after the command.
    pub taint_after: Option<u64>,
    /// `uname -r`.
    pub kernel_release: Option<String>,
    /// Where the kernel came from, in the user's words.
    pub kernel: String,
    /// Whether its command line had the words of `--fast-boot`.
    pub fast_boot: bool,
    /// `kvm` or `tcg`.
    pub accel: &'static str,
    /// Why not KVM, where `auto` chose.
    pub accel_reason: Option<String>,
    /// `none`, `bios` or `uefi`.
    pub firmware: &'static str,
    /// The firmware's file, where QEMU did not bring its own.
    pub firmware_path: Option<String>,
    /// How host and pid 1 talked.
    pub channel: &'static str,
    /// The emulator.
    pub qemu: QemuReport,
    /// What the kernel's log says about its health since it started; since the command was given, where the guest has run others.
    pub health: Vec<Finding>,
    /// Lines of pid 1's for the user.
    pub notes: Vec<String>,
    /// What the guest was doing when its time was up.
    pub hang: Option<Hang>,
    /// The console's last lines.
    pub console_tail: Vec<String>,
    /// Of a bundle: what came of it where it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded: Option<Recorded>,
}

/// What a bundle says of its run.
#[derive(Debug, Serialize)]
pub struct Recorded {
    /// Whether the same came of it again; `None`: nobody knows, since it was not run where it was made.
    pub same: Option<bool>,
    /// What came of it.
    pub expected: Option<Expected>,
    /// The version of QEMU that it ran in.
    pub qemu_version: String,
}

/// The verdict where nothing could be booted: the few fields that have a value then, under the same names.
#[derive(Debug, Serialize)]
pub struct NotBooted {
    /// `could-not-test`
    pub outcome: &'static str,
    /// What bootling exits with.
    pub exit_code: u8,
    /// Why.
    pub message: String,
}

/// Times, in milliseconds.
#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "the unit belongs into the JSON keys")]
pub struct Times {
    /// From bootling's start to QEMU's.
    pub build_ms: f64,
    /// From QEMU's start to pid 1's first word.
    pub boot_ms: Option<f64>,
    /// The kernel's own clock at that moment.
    pub guest_uptime_ms: Option<f64>,
    /// The command's run, by the guest's clock.
    pub command_ms: Option<f64>,
    /// From bootling's start to now.
    pub total_ms: f64,
    /// bootling's own share: before QEMU started, and after the verdict was in.
    pub own_ms: f64,
}

/// The emulator.
#[derive(Debug, Serialize)]
pub struct QemuReport {
    /// The program.
    pub path: String,
    /// Its version.
    pub version: String,
    /// Its whole command line.
    pub command: Vec<String>,
}

/// What a report needs beside the transcript.
#[derive(Debug)]
pub struct Circumstances<'a> {
    /// The machine.
    pub machine: &'a Machine,
    /// The command line QEMU was started with.
    pub command: &'a [OsString],
    /// Where the kernel came from.
    pub kernel: &'a str,
    /// How old the snapshot was that it began from; `None`: it booted.
    pub age: Option<Duration>,
    /// Whether `--fast-boot` was given.
    pub fast_boot: bool,
    /// From bootling's start to QEMU's.
    pub build: Duration,
    /// From bootling's start to now.
    pub total: Duration,
}

impl QemuReport {
    /// The emulator of a machine, and the command line it was started with.
    pub fn new(machine: &Machine, command: &[OsString]) -> Self {
        Self {
            path: machine.qemu.path.display().to_string(),
            version: machine.qemu.facts.version.clone(),
            command: command.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
        }
    }
}

impl Report {
    /// Puts everything together.
    pub fn new(outcome: &Outcome, transcript: &Transcript, around: &Circumstances<'_>) -> Self {
        let ms = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
        let hello = transcript.events.iter().find_map(|event| match event {
            Event::Hello { at, uptime, taint, release } => Some((*at, *uptime, *taint, release.clone())),
            _ => None,
        });
        let exit = transcript.exit();
        let usage = exit.map(|(_, _, usage, _)| usage);
        let after = exit.map_or(Duration::ZERO, |(at, _, _, _)| around.total.saturating_sub(around.build + at));
        let (status, signal, core_dumped) = match outcome {
            Outcome::Exited { status } | Outcome::NotExecuted { status, .. } => (Some(*status), None, false),
            Outcome::Signaled { signal, core } => (None, Some(*signal), *core),
            _ => (None, None, false),
        };
        let notes = transcript.events.iter().filter_map(|event| match event {
            Event::Note(text) => Some(text.clone()),
            _ => None,
        });
        Self {
            outcome: outcome.name(),
            exit_code: outcome.exit_code(),
            status,
            signal,
            signal_name: signal.map(|number| signal_name(i32::from(number))),
            core_dumped,
            message: outcome.sentence(),
            warm: around.age.is_some(),
            snapshot_age_ms: around.age.map(ms),
            times: Times {
                build_ms: ms(around.build),
                boot_ms: hello.as_ref().map(|(at, ..)| ms(*at)),
                guest_uptime_ms: hello.as_ref().map(|(_, uptime, ..)| ms(*uptime)),
                command_ms: usage.map(|usage| ms(Duration::from_nanos(usage.wall_ns))),
                total_ms: ms(around.total),
                own_ms: ms(around.build + after),
            },
            max_rss_kib: usage.map(|usage| usage.max_rss_kib),
            user_ms: usage.map(|usage| ms(Duration::from_micros(usage.user_us))),
            system_ms: usage.map(|usage| ms(Duration::from_micros(usage.system_us))),
            taint_before: hello.as_ref().map(|(_, _, taint, _)| *taint),
            taint_after: exit.map(|(_, _, _, taint)| taint),
            kernel_release: hello.map(|(_, _, _, release)| release),
            kernel: around.kernel.to_owned(),
            fast_boot: around.fast_boot,
            accel: around.machine.accelerator.name(),
            accel_reason: around.machine.no_kvm.clone(),
            firmware: around.machine.firmware.name(),
            firmware_path: around.machine.firmware.path().map(|path| path.display().to_string()),
            channel: around.machine.transport.name(),
            qemu: QemuReport::new(around.machine, around.command),
            health: transcript.health.clone(),
            notes: notes.collect(),
            hang: transcript.hang.as_deref().cloned(),
            console_tail: transcript.console_tail.clone(),
            recorded: None,
        }
    }
}

/// What a person gets to read on standard error; empty where the command has spoken for itself. `more` says how to see
/// all of the console; without it the console was seen, and is not shown again.
pub fn for_people(outcome: &Outcome, transcript: &Transcript, more: Option<&str>) -> String {
    let Some(sentence) = outcome.sentence() else { return String::new() };
    let bold = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
    let dim = Style::new().dimmed();
    let mut text = format!("{bold}bootling: {sentence}{bold:#}\n");
    // Writing to a String cannot fail.
    for line in transcript.hang.iter().flat_map(|hang| &hang.summary) {
        let _ = writeln!(text, "  - {line}");
    }
    let mut lines = |title: &str, lines: &[String]| {
        let _ = writeln!(text, "{title}");
        for line in &lines[lines.len().saturating_sub(TAIL)..] {
            let _ = writeln!(text, "{dim}  | {line}{dim:#}");
        }
    };
    let qemu_refused = matches!(outcome, Outcome::CouldNotTest { .. }) && !transcript.guest_lived();
    if !outcome.wants_console() || qemu_refused {
        return text;
    }
    if !transcript.qemu_said.is_empty() {
        lines("QEMU said:", &transcript.qemu_said);
    }
    match more {
        _ if transcript.console_tail.is_empty() => lines("The guest's console is empty.", &[]),
        Some(more) => lines(&format!("The guest's console ended with ({more}):"), &transcript.console_tail),
        None => {}
    }
    text
}
