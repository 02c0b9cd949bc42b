//! What came of booting a disk, for scripts and for people.

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

/// The verdict as `--json` writes it. Fields are only ever added.
#[derive(Debug, Serialize)]
pub struct BootReport {
    /// One word: `expected`, `rejected`, `powered-off`, `panic`, `timed-out`, ...
    outcome: &'static str,
    /// What bootling exits with.
    exit_code: u8,
    /// The sentence that people get.
    message: Option<String>,
    /// The line that decided: the last expected one, or the rejected one.
    line: Option<String>,
    /// Expectations that were not met.
    missing: Vec<String>,
    /// From QEMU's start to the last expectation, milliseconds.
    expected_ms: Option<f64>,
    /// From QEMU's start to its end.
    duration_ms: f64,
    /// How often the guest restarted its machine.
    restarts: usize,
    /// The image.
    image: String,
    /// Its format, in QEMU's word.
    format: &'static str,
    /// How the guest saw it.
    disk: &'static str,
    /// Bytes of a logical sector.
    sector_size: u64,
    /// `bios` or `uefi`.
    firmware: &'static str,
    /// The firmware's file, where QEMU did not bring its own.
    firmware_path: Option<String>,
    /// `kvm` or `tcg`.
    accel: &'static str,
    /// Why not KVM, where `auto` chose.
    accel_reason: Option<String>,
    /// The emulator.
    qemu: QemuReport,
    /// The rows of the text screen, where they were asked for and there were any.
    screen_text: Option<Vec<String>>,
    /// What a kernel's log on the console says of its health.
    health: Vec<Finding>,
    /// What the guest was doing when its time was up.
    hang: Option<Hang>,
    /// The console's last lines.
    console_tail: Vec<String>,
}

impl BootReport {
    /// Puts everything together.
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

/// What a person gets to read: the sentence, what was waited for in vain, the console where it was not shown.
pub fn for_people_of_disks(outcome: &Outcome, transcript: &Transcript, shown: bool) -> String {
    let more = (!shown).then_some("without --quiet all of it is shown");
    let mut text = for_people(outcome, transcript, more);
    if !text.is_empty() {
        for missing in &transcript.missing {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "not seen: {missing}");
        }
    }
    text
}
