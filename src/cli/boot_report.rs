//! Result of booting a disk, as JSON and as text.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::report::{QemuReport, for_people};
use bootling::guest::hang::Hang;
use bootling::guest::health::Finding;
use bootling::guest::transcript::{Event, Transcript};
use bootling::guest::verdict::Outcome;
use bootling::qemu::drive::Drive;
use bootling::qemu::machine::Machine;

/// Result as written by `--json`. New versions only add fields.
#[derive(Debug, Serialize)]
pub struct BootReport {
    /// Outcome: `expected`, `rejected`, `powered-off`, `panic`, `timed-out`, ...
    outcome: &'static str,
    /// Exit code of bootling.
    exit_code: u8,
    /// Message for the user.
    message: Option<String>,
    /// Line that decided the outcome: the last expected or the rejected one.
    line: Option<String>,
    /// Patterns that did not match.
    missing: Vec<String>,
    /// From QEMU's start to the last expectation, milliseconds.
    expected_ms: Option<f64>,
    /// From QEMU's start to its end, milliseconds.
    duration_ms: f64,
    /// Number of reboots by the guest.
    restarts: usize,
    /// Image path.
    image: String,
    /// Image format, by QEMU's name.
    format: &'static str,
    /// Bus.
    disk: &'static str,
    /// Logical sector size in bytes.
    sector_size: u64,
    /// `bios` or `uefi`.
    firmware: &'static str,
    /// Firmware file, unless QEMU uses a bundled one.
    firmware_path: Option<String>,
    /// `kvm` or `tcg`.
    accel: &'static str,
    /// Reason for not using KVM, if `auto` chose TCG.
    accel_reason: Option<String>,
    /// QEMU.
    qemu: QemuReport,
    /// Rows of the text screen, if requested and available.
    screen_text: Option<Vec<String>>,
    /// Health findings from kernel messages on the console.
    health: Vec<Finding>,
    /// State of the guest at the timeout.
    hang: Option<Hang>,
    /// Last lines of the console.
    console_tail: Vec<String>,
}

impl BootReport {
    /// Creates the report.
    pub fn new(
        outcome: &Outcome,
        transcript: &Transcript,
        machine: &Machine,
        (image, drive): (&Path, Drive),
        command: &[OsString],
    ) -> Self {
        let ms = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
        let expected = transcript.events.iter().find_map(|event| match event {
            Event::Expected { at, .. } => Some(*at),
            _ => None,
        });
        let line = transcript.events.iter().find_map(|event| match event {
            Event::Expected { line, .. } | Event::Rejected { line } => Some(line.clone()),
            _ => None,
        });
        let restarts = transcript.events.iter().filter(|event| matches!(event, Event::Restarted { guest: true }));
        Self {
            outcome: outcome.name(),
            exit_code: outcome.exit_code(),
            message: outcome.sentence(),
            line,
            missing: transcript.missing.clone(),
            expected_ms: expected.map(ms),
            duration_ms: ms(transcript.duration),
            restarts: restarts.count(),
            image: image.display().to_string(),
            format: drive.format.name(),
            disk: drive.bus.name(),
            sector_size: drive.sector.bytes(),
            firmware: machine.firmware.name(),
            firmware_path: machine.firmware.path().map(|path| path.display().to_string()),
            accel: machine.accelerator.name(),
            accel_reason: machine.no_kvm.clone(),
            qemu: QemuReport::new(machine, command),
            screen_text: transcript.screen.text.clone(),
            health: transcript.health.clone(),
            hang: transcript.hang.as_deref().cloned(),
            console_tail: transcript.console_tail.clone(),
        }
    }
}

/// Formats the result for standard error: message, patterns that did not match, and the console unless it was `shown`.
pub fn for_people_of_disks(outcome: &Outcome, transcript: &Transcript, shown: bool) -> String {
    let more = (!shown).then_some("omit --quiet to show all");
    let mut text = for_people(outcome, transcript, more);
    if !text.is_empty() {
        for missing in &transcript.missing {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "not matched: {missing}");
        }
    }
    text
}
