//! Result of a comparison as JSON.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Side as Tested;
use super::{Aspect, Difference, words};
use crate::guest::health::Finding;
use crate::guest::verdict::Outcome;

/// Result of a comparison, as written by `compare --json`. New versions only add fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// True if there are no differences.
    pub(crate) same: bool,
    /// Aspects that differ.
    pub(crate) differs: Vec<Aspect>,
    /// Both sides, in the order of the command line.
    pub(crate) sides: [Side; 2],
    /// With `--words`: the words present on only one side, if they differ.
    pub(crate) only: Option<[Vec<String>; 2]>,
}

/// One side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Side {
    /// Options that only this side has.
    pub(crate) label: String,
    /// Outcome, as in `run --json`.
    pub(crate) outcome: String,
    /// Exit code that `run` would have.
    pub(crate) exit_code: u8,
    /// Exit status of the command, if it exited.
    pub(crate) status: Option<u8>,
    /// Message for the user.
    pub(crate) message: Option<String>,
    /// Standard output of the command.
    pub(crate) stdout: String,
    /// Standard error of the command.
    pub(crate) stderr: String,
    /// Health findings.
    pub(crate) health: Vec<Finding>,
    /// Source of the kernel, as given by the user.
    pub kernel: String,
    /// `uname -r`.
    pub(crate) kernel_release: Option<String>,
    /// `kvm` or `tcg`.
    pub(crate) accel: String,
    /// `-cpu`
    pub(crate) cpu: String,
    /// `-machine`
    pub machine: String,
    /// QEMU program.
    pub(crate) qemu: String,
    /// QEMU version.
    pub(crate) qemu_version: String,
    /// QEMU's command line.
    pub command: Vec<String>,
    /// True if the guest was restored rather than booted.
    pub(crate) warm: bool,
    /// From the start of QEMU to the first message of pid 1.
    pub(crate) boot_ms: Option<f64>,
    /// Duration of the command, by the guest's clock.
    pub(crate) command_ms: Option<f64>,
    /// Duration of the run.
    pub(crate) total_ms: f64,
}

impl Report {
    /// Creates the report.
    pub fn new(labels: [&str; 2], sides: [&Tested; 2], found: &[Difference], as_words: bool) -> Self {
        let stdout = found.iter().find(|difference| difference.aspect == Aspect::Stdout && as_words).map(words);
        Self {
            same: found.is_empty(),
            differs: found.iter().map(|difference| difference.aspect).collect(),
            sides: [Side::new(labels[0], sides[0]), Side::new(labels[1], sides[1])],
            only: stdout.map(|words| [words.left, words.right]),
        }
    }
}

impl Side {
    fn new(label: &str, side: &Tested) -> Self {
        let Tested { output, machine, command, kernel } = side;
        let ms = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            label: label.to_owned(),
            outcome: output.outcome.name().to_owned(),
            exit_code: output.outcome.exit_code(),
            status: match output.outcome {
                Outcome::NotExecuted { status, .. } => Some(status),
                _ => output.status(),
            },
            message: output.outcome.sentence(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
            health: output.health.clone(),
            kernel: kernel.clone(),
            kernel_release: output.release.clone(),
            accel: machine.accelerator.name().to_owned(),
            cpu: machine.cpu.to_string_lossy().into_owned(),
            machine: machine.machine.to_string_lossy().into_owned(),
            qemu: machine.qemu.path.display().to_string(),
            qemu_version: machine.qemu.facts.version.clone(),
            command: command.iter().map(|argument| argument.to_string_lossy().into_owned()).collect(),
            warm: output.age.is_some(),
            boot_ms: output.hello.filter(|_| output.age.is_none()).map(ms),
            command_ms: output.usage.map(|usage| ms(Duration::from_nanos(usage.wall_ns))),
            total_ms: ms(output.duration),
        }
    }
}
