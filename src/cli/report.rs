//! Result of a run, as text with the last console lines, and as JSON.

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
use bootling::regress::bundle::RecordedResult;

/// Maximum number of console lines shown.
const TAIL: usize = 20;

/// Result as written by `--json`. New versions only add fields.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Outcome: `exited`, `signaled`, `panic`, `timed-out`, ...
    pub outcome: &'static str,
    /// Exit code of bootling.
    pub exit_code: u8,
    /// Exit status of the command, if it exited.
    pub status: Option<u8>,
    /// Signal that killed the command, if any.
    pub signal: Option<u8>,
    /// Name of the signal.
    pub signal_name: Option<String>,
    /// True if the command dumped core.
    pub core_dumped: bool,
    /// Message for the user; `null` if the command's status says everything.
    pub message: Option<String>,
    /// True if the guest was restored rather than booted.
    pub warm: bool,
    /// Age of the restored snapshot, milliseconds; 0 if this run created it.
    pub snapshot_age_ms: Option<f64>,
    /// Durations.
    pub times: Times,
    /// Maximum resident set size of the command, KiB.
    pub max_rss_kib: Option<u64>,
    /// CPU time of the command in user mode, milliseconds.
    pub user_ms: Option<f64>,
    /// CPU time of the command in the kernel, milliseconds.
    pub system_ms: Option<f64>,
    /// `/proc/sys/kernel/tainted` when pid 1 was ready.
    pub taint_before: Option<u64>,
    /// `/proc/sys/kernel/tainted` after the command.
    pub taint_after: Option<u64>,
    /// `uname -r`.
    pub kernel_release: Option<String>,
    /// Source of the kernel, as given by the user.
    pub kernel: String,
    /// True if `--fast-boot` was given.
    pub fast_boot: bool,
    /// `kvm` or `tcg`.
    pub accel: &'static str,
    /// Reason for not using KVM, if `auto` chose TCG.
    pub accel_reason: Option<String>,
    /// `none`, `bios` or `uefi`.
    pub firmware: &'static str,
    /// Firmware file, unless QEMU uses a bundled one.
    pub firmware_path: Option<String>,
    /// Channel between bootling and pid 1.
    pub channel: &'static str,
    /// QEMU.
    pub qemu: QemuReport,
    /// Health findings in the kernel log since the kernel started, or since the command was started in a restored
    /// guest.
    pub health: Vec<Finding>,
    /// Notes from pid 1.
    pub notes: Vec<String>,
    /// State of the guest at the timeout.
    pub hang: Option<Hang>,
    /// Last lines of the console.
    pub console_tail: Vec<String>,
    /// For a bundle: comparison with the recorded run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded: Option<Recorded>,
}

/// Recorded run of a bundle.
#[derive(Debug, Serialize)]
pub struct Recorded {
    /// True if the result is the recorded one; `None` if no result was recorded.
    pub same: Option<bool>,
    /// Recorded result.
    pub expected: Option<RecordedResult>,
    /// Recorded QEMU version.
    pub qemu_version: String,
}

/// Result if nothing could be booted: a subset of the fields, with the same names.
#[derive(Debug, Serialize)]
pub struct NotBooted {
    /// `could-not-test`
    pub outcome: &'static str,
    /// Exit code of bootling.
    pub exit_code: u8,
    /// Error message.
    pub message: String,
}

/// Durations in milliseconds.
#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "the unit is part of the JSON keys")]
pub struct Times {
    /// From the start of bootling to the start of QEMU.
    pub build_ms: f64,
    /// From the start of QEMU to the first message of pid 1.
    pub boot_ms: Option<f64>,
    /// Kernel uptime at that message.
    pub guest_uptime_ms: Option<f64>,
    /// Duration of the command, by the guest's clock.
    pub command_ms: Option<f64>,
    /// From the start of bootling to the creation of the report.
    pub total_ms: f64,
    /// Time spent in bootling itself: before the start of QEMU, and after the verdict.
    pub own_ms: f64,
}

/// QEMU process.
#[derive(Debug, Serialize)]
pub struct QemuReport {
    /// Executable.
    pub path: String,
    /// Version.
    pub version: String,
    /// Complete command line.
    pub command: Vec<String>,
}

/// Context of a run, besides its transcript.
#[derive(Debug)]
pub struct Circumstances<'a> {
    /// Machine.
    pub machine: &'a Machine,
    /// QEMU's command line.
    pub command: &'a [OsString],
    /// Source of the kernel.
    pub kernel: &'a str,
    /// Age of the restored snapshot; `None` for a boot.
    pub age: Option<Duration>,
    /// True if `--fast-boot` was given.
    pub fast_boot: bool,
    /// From the start of bootling to the start of QEMU.
    pub build: Duration,
    /// From the start of bootling to the creation of the report.
    pub total: Duration,
}

impl QemuReport {
    /// Creates a report from a machine and the command line.
    pub fn new(machine: &Machine, command: &[OsString]) -> Self {
        Self {
            path: machine.qemu.path.display().to_string(),
            version: machine.qemu.facts.version.clone(),
            command: command.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
        }
    }
}

impl Report {
    /// Creates the report.
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

/// Formats the result for standard error; empty if the command's status says everything. `more` explains how to show
/// the complete console; with `None`, it was shown already and is omitted.
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
        lines("Output of QEMU:", &transcript.qemu_said);
    }
    match more {
        _ if transcript.console_tail.is_empty() => lines("The guest's console is empty.", &[]),
        Some(more) => lines(&format!("Last lines of the guest's console ({more}):"), &transcript.console_tail),
        None => {}
    }
    text
}
