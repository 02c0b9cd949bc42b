//! Result of a run, as text with the last console lines, and as JSON.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::RunResult;
use super::autoload::record::LoadedModule;
use super::collect::record::Collected;
use super::devices::report::{DiskReport, NetReport};
use super::files::report::ShareReport;
use super::hang::Hang;
use super::health::Finding;
use super::transcript::{Event, Transcript};
use super::verdict::{Outcome, signal_name};
use crate::qemu::machine::Machine;

/// Version of the JSON results. New fields do not change it.
pub const VERSION: u32 = 1;

/// Result as written by `--json`. New versions only add fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// Version of this format: 1.
    pub version: u32,
    /// Outcome: `exited`, `signaled`, `panic`, `timed-out`, ...
    pub outcome: String,
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
    /// Message for the user; `null` if the command's status is sufficient.
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
    pub accel: String,
    /// Reason for not using KVM, if `auto` chose TCG.
    pub accel_reason: Option<String>,
    /// `none`, `bios` or `uefi`.
    pub firmware: String,
    /// Firmware file, unless QEMU uses a bundled one.
    pub firmware_path: Option<String>,
    /// Channel between bootling and pid 1.
    pub channel: String,
    /// Disks (`--disk`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<DiskReport>,
    /// Network interface (`--net`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub net: Option<NetReport>,
    /// Directories of the host (`--share`, `--root`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shares: Vec<ShareReport>,
    /// QEMU.
    pub qemu: QemuReport,
    /// Health findings in the kernel log since the kernel started, or since the command was started in a restored
    /// guest.
    pub health: Vec<Finding>,
    /// Modules that were loaded on demand.
    #[serde(default)]
    pub modules: Vec<LoadedModule>,
    /// Files that were collected (`--collect`).
    #[serde(default)]
    pub collected: Vec<Collected>,
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// True if the result is the recorded one; `None` if no result was recorded.
    pub same: Option<bool>,
    /// Recorded result.
    pub expected: Option<RecordedResult>,
    /// Recorded QEMU version.
    pub qemu_version: String,
}

/// Result if nothing could be booted: a subset of the fields, with the same names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NotRun {
    /// Version of this format: 1.
    pub version: u32,
    /// `could-not-test`
    pub outcome: String,
    /// Exit code of bootling.
    pub exit_code: u8,
    /// Error message.
    pub message: String,
}

/// Durations in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QemuReport {
    /// Executable.
    pub path: String,
    /// Version.
    pub version: String,
    /// Complete command line.
    pub command: Vec<String>,
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

impl RunReport {
    /// Creates the report.
    pub fn new(result: &RunResult, fast_boot: bool, start: Instant) -> Self {
        let RunResult { outcome, transcript, machine, command, kernel, started, age, .. } = result;
        let (build, total) = (started.saturating_duration_since(start), start.elapsed());
        let age = age.map(|age| age.0);
        let ms = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
        let hello = transcript.events.iter().find_map(|event| match event {
            Event::Hello { at, uptime, taint, release } => Some((*at, *uptime, *taint, release.clone())),
            _ => None,
        });
        let exit = transcript.exit();
        let usage = exit.map(|(_, _, usage, _)| usage);
        let after = exit.map_or(Duration::ZERO, |(at, _, _, _)| total.saturating_sub(build + at));
        let (status, signal, core_dumped) = match outcome {
            Outcome::Exited { status } | Outcome::NotExecuted { status, .. } => (Some(*status), None, false),
            Outcome::Signaled { signal, core, .. } => (None, Some(*signal), *core),
            _ => (None, None, false),
        };
        Self {
            version: VERSION,
            outcome: outcome.name().to_owned(),
            exit_code: outcome.exit_code(),
            status,
            signal,
            signal_name: signal.map(|number| signal_name(i32::from(number))),
            core_dumped,
            message: outcome.sentence(),
            warm: age.is_some(),
            snapshot_age_ms: age.map(ms),
            times: Times {
                build_ms: ms(build),
                boot_ms: hello.as_ref().map(|(at, ..)| ms(*at)),
                guest_uptime_ms: hello.as_ref().map(|(_, uptime, ..)| ms(*uptime)),
                command_ms: usage.map(|usage| ms(Duration::from_nanos(usage.wall_ns))),
                total_ms: ms(total),
                own_ms: ms(build + after),
            },
            max_rss_kib: usage.map(|usage| usage.max_rss_kib),
            user_ms: usage.map(|usage| ms(Duration::from_micros(usage.user_us))),
            system_ms: usage.map(|usage| ms(Duration::from_micros(usage.system_us))),
            taint_before: hello.as_ref().map(|(_, _, taint, _)| *taint),
            taint_after: exit.map(|(_, _, _, taint)| taint),
            kernel_release: hello.map(|(_, _, _, release)| release),
            kernel: kernel.clone(),
            fast_boot,
            accel: machine.accelerator.name().to_owned(),
            accel_reason: machine.no_kvm.clone(),
            firmware: machine.firmware.name().to_owned(),
            firmware_path: machine.firmware.path().map(|path| path.display().to_string()),
            channel: machine.transport.name().to_owned(),
            disks: DiskReport::of(&machine.devices),
            net: NetReport::of(&machine.devices),
            shares: transcript.shares.clone(),
            qemu: QemuReport::new(machine, command),
            health: transcript.health.clone(),
            modules: transcript.modules.clone(),
            collected: transcript.collected.clone(),
            notes: notes(transcript),
            hang: transcript.hang.as_deref().cloned(),
            console_tail: transcript.console_tail.clone(),
            recorded: None,
        }
    }
}

/// Returns the notes from pid 1.
fn notes(transcript: &Transcript) -> Vec<String> {
    let note = |event: &Event| match event {
        Event::Note(text) => Some(text.clone()),
        _ => None,
    };
    transcript.events.iter().filter_map(note).collect()
}

impl NotRun {
    /// A guest that could not be run, with the exit code of the program.
    pub fn new(outcome: &str, exit_code: u8, message: String) -> Self {
        Self { version: VERSION, outcome: outcome.to_owned(), exit_code, message }
    }
}

/// Recorded result of a run, in a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedResult {
    /// Outcome, as in [`RunReport::outcome`].
    pub outcome: String,
    /// Exit code of bootling.
    pub exit_code: u8,
    /// Message; `None` if the command's own output was enough.
    pub message: Option<String>,
}

impl RecordedResult {
    /// Records an outcome.
    pub fn new(outcome: &Outcome) -> Self {
        Self { outcome: outcome.name().to_owned(), exit_code: outcome.exit_code(), message: outcome.sentence() }
    }

    /// Returns true if another run has the same result; messages may differ.
    pub fn is_same(&self, outcome: &Outcome) -> bool {
        self.outcome == outcome.name() && self.exit_code == outcome.exit_code()
    }

    /// Describes the result briefly.
    pub fn describe(&self) -> String {
        match &self.message {
            Some(message) => message.clone(),
            None => format!("{} with {}", self.outcome, self.exit_code),
        }
    }
}
