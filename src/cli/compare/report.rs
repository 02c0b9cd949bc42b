//! A comparison as JSON. New versions only add fields.

use std::time::Duration;

use serde::Serialize;

use super::Side as Tested;
use bootling::guest::health::Finding;
use bootling::guest::verdict::Outcome;
use bootling::regress::compare::{Difference, Part, words};

/// Result of a comparison.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    /// True if there are no differences.
    same: bool,
    /// Parts that differ.
    differs: Vec<&'static str>,
    /// Both sides, in the order of the command line.
    sides: [Side<'a>; 2],
    /// With `--words`: the words present on only one side, if they differ.
    only: Option<[Vec<String>; 2]>,
}

/// One side.
#[derive(Debug, Serialize)]
struct Side<'a> {
    /// Options that only this side has.
    label: &'a str,
    outcome: &'static str,
    exit_code: u8,
    status: Option<u8>,
    message: Option<String>,
    stdout: String,
    stderr: String,
    health: &'a [Finding],
    kernel: &'a str,
    kernel_release: Option<&'a str>,
    accel: &'static str,
    cpu: String,
    machine: String,
    qemu: String,
    qemu_version: &'a str,
    /// QEMU's command line.
    command: Vec<String>,
    /// True if the guest was restored rather than booted.
    warm: bool,
    boot_ms: Option<f64>,
    command_ms: Option<f64>,
    total_ms: f64,
}

impl<'a> Report<'a> {
    /// Creates the report.
    pub fn new(labels: &'a [String; 2], sides: [&'a Tested; 2], found: &[Difference], as_words: bool) -> Self {
        let [left, right] = sides;
        let stdout = found.iter().find(|difference| difference.part == Part::Stdout && as_words).map(words);
        Self {
            same: found.is_empty(),
            differs: found.iter().map(|difference| difference.part.name()).collect(),
            sides: [Side::new(&labels[0], left), Side::new(&labels[1], right)],
            only: stdout.map(|words| [words.left, words.right]),
        }
    }
}

impl<'a> Side<'a> {
    fn new(label: &'a str, side: &'a Tested) -> Self {
        let Tested { output, machine, command, kernel } = side;
        let ms = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            label,
            outcome: output.outcome.name(),
            exit_code: output.outcome.exit_code(),
            status: match output.outcome {
                Outcome::Exited { status } | Outcome::NotExecuted { status, .. } => Some(status),
                _ => None,
            },
            message: output.outcome.sentence(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
            health: &output.health,
            kernel,
            kernel_release: output.release.as_deref(),
            accel: machine.accelerator.name(),
            cpu: machine.cpu.to_string_lossy().into_owned(),
            machine: machine.machine.to_string_lossy().into_owned(),
            qemu: machine.qemu.path.display().to_string(),
            qemu_version: &machine.qemu.facts.version,
            command: command.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
            warm: output.age.is_some(),
            boot_ms: output.hello.filter(|_| output.age.is_none()).map(ms),
            command_ms: output.usage.map(|usage| ms(Duration::from_nanos(usage.wall_ns))),
            total_ms: ms(output.duration),
        }
    }
}
