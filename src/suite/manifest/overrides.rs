//! Command-line options that override the manifest for all tests and machines.

use std::path::PathBuf;
use std::time::Duration;

use super::{BootWay, Isolate, TestSpec};
use crate::guest::TimeLimit;
use crate::guest::health::{Kind, Policy};
use crate::qemu::spec::Accel;

/// Overriding values; `None` keeps the manifest's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Accelerator.
    pub accel: Option<Accel>,
    /// QEMU program.
    pub qemu: Option<PathBuf>,
    /// Time limit for a test.
    pub timeout: Option<Duration>,
    /// Time limit without guest activity.
    pub idle_timeout: Option<Duration>,
    /// Time for a hang report.
    pub hang_report: Option<TimeLimit>,
    /// Maximum number of retries.
    pub retries: Option<u32>,
    /// Number of repetitions.
    pub repeat: Option<u32>,
    /// Effect of kernel health.
    pub health: Option<Policy>,
    /// Additional kinds of findings that end a test.
    pub fail_on: Vec<Kind>,
    /// Whether guests are restored or booted.
    pub boot: Option<BootWay>,
    /// Whether guests are shared.
    pub isolate: Option<Isolate>,
}

impl Overrides {
    /// Overrides the values of a manifest.
    pub fn apply(&self, spec: &mut TestSpec) {
        for machine in &mut spec.machines {
            machine.boot.accel = self.accel.unwrap_or(machine.boot.accel);
            machine.boot.qemu = self.qemu.clone().or(machine.boot.qemu.take());
        }
        for test in &mut spec.tests {
            test.command.timeout = self.timeout.or(test.command.timeout);
            test.command.idle = self.idle_timeout.or(test.command.idle);
            test.command.hang_report = self.hang_report.unwrap_or(test.command.hang_report);
            test.retries = self.retries.unwrap_or(test.retries);
            test.repeat = self.repeat.unwrap_or(test.repeat);
            test.health.policy = self.health.unwrap_or(test.health.policy);
            test.health.fail_on.extend_from_slice(&self.fail_on);
            test.boot = self.boot.unwrap_or(test.boot);
            test.isolate = self.isolate.unwrap_or(test.isolate);
        }
    }
}
