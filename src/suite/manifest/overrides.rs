//! Command line options that override all tests and machines.

use std::path::PathBuf;
use std::time::Duration;

use super::{BootWay, Isolate, TestSpec};
use crate::guest::health::Policy;
use crate::qemu::spec::Accel;

/// Settings for all tests and machines; `None` keeps those of the manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// KVM or TCG.
    pub accel: Option<Accel>,
    /// The QEMU program.
    pub qemu: Option<PathBuf>,
    /// Time limit for a test.
    pub timeout: Option<Duration>,
    /// Time limit without any sign of activity.
    pub idle_timeout: Option<Duration>,
    /// Maximum number of retries.
    pub retries: Option<u32>,
    /// Number of runs.
    pub repeat: Option<u32>,
    /// Effect of kernel health findings.
    pub health: Option<Policy>,
    /// Warm or cold boot.
    pub boot: Option<BootWay>,
    /// Isolation of the tests.
    pub isolate: Option<Isolate>,
}

impl Overrides {
    /// Replaces the manifest's settings.
    pub fn apply(&self, spec: &mut TestSpec) {
        fn put<T: Clone>(place: &mut T, value: Option<&T>) {
            if let Some(value) = value {
                place.clone_from(value);
            }
        }
        for machine in &mut spec.machines {
            put(&mut machine.boot.accel, self.accel.as_ref());
            if self.qemu.is_some() {
                machine.boot.qemu.clone_from(&self.qemu);
            }
        }
        for test in &mut spec.tests {
            test.timeout = self.timeout.or(test.timeout);
            test.idle_timeout = self.idle_timeout.or(test.idle_timeout);
            put(&mut test.retries, self.retries.as_ref());
            put(&mut test.repeat, self.repeat.as_ref());
            put(&mut test.health.policy, self.health.as_ref());
            put(&mut test.boot, self.boot.as_ref());
            put(&mut test.isolate, self.isolate.as_ref());
        }
    }
}
