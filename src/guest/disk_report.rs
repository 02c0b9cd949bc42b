//! Result of booting a disk, as JSON and as text.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::RunResult;
use super::hang::Hang;
use super::health::Finding;
use super::report::{QemuReport, VERSION};
use super::transcript::Event;
use crate::qemu::drive::Drive;

/// Result as written by `--json`. New versions only add fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BootReport {
    /// Version of this format: 1.
    pub version: u32,
    /// Outcome: `expected`, `rejected`, `powered-off`, `panic`, `timed-out`, ...
    pub outcome: String,
    /// Exit code of bootling.
    pub exit_code: u8,
    /// Message for the user.
    pub message: Option<String>,
    /// Line that decided the outcome: the last expected or the rejected one.
    pub line: Option<String>,
    /// Patterns that did not match.
    pub missing: Vec<String>,
    /// From QEMU's start to the last expectation, milliseconds.
    pub expected_ms: Option<f64>,
    /// From QEMU's start to its end, milliseconds.
    pub duration_ms: f64,
    /// Number of reboots by the guest.
    pub restarts: usize,
    /// Image path.
    pub image: String,
    /// Image format, by QEMU's name.
    pub format: String,
    /// Bus.
    pub disk: String,
    /// Logical sector size in bytes.
    pub sector_size: u64,
    /// `bios` or `uefi`.
    pub firmware: String,
    /// Firmware file, unless QEMU uses a bundled one.
    pub firmware_path: Option<String>,
    /// `kvm` or `tcg`.
    pub accel: String,
    /// Reason for not using KVM, if `auto` chose TCG.
    pub accel_reason: Option<String>,
    /// QEMU.
    pub qemu: QemuReport,
    /// Rows of the text screen, if requested and available.
    pub screen_text: Option<Vec<String>>,
    /// Health findings from kernel messages on the console.
    pub health: Vec<Finding>,
    /// State of the guest at the timeout.
    pub hang: Option<Hang>,
    /// Last lines of the console.
    pub console_tail: Vec<String>,
}

impl BootReport {
    /// Creates the report.
    pub fn new(result: &RunResult, image: &Path, drive: Drive) -> Self {
        let RunResult { outcome, transcript, machine, command, .. } = result;
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
            version: VERSION,
            outcome: outcome.name().to_owned(),
            exit_code: outcome.exit_code(),
            message: outcome.sentence(),
            line,
            missing: transcript.missing.clone(),
            expected_ms: expected.map(ms),
            duration_ms: ms(transcript.duration),
            restarts: restarts.count(),
            image: image.display().to_string(),
            format: drive.format.name().to_owned(),
            disk: drive.bus.name().to_owned(),
            sector_size: drive.sector.bytes(),
            firmware: machine.firmware.name().to_owned(),
            firmware_path: machine.firmware.path().map(|path| path.display().to_string()),
            accel: machine.accelerator.name().to_owned(),
            accel_reason: machine.no_kvm.clone(),
            qemu: QemuReport::new(machine, command),
            screen_text: transcript.screen.text.clone(),
            health: transcript.health.clone(),
            hang: transcript.hang.as_deref().cloned(),
            console_tail: transcript.console_tail.clone(),
        }
    }
}
