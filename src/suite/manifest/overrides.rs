//! What the command line says about all tests and machines at once.

use std::path::PathBuf;
use std::time::Duration;

use super::{BootWay, Isolate, TestSpec};
use crate::guest::health::Policy;
use crate::qemu::spec::Accel;

/// Settings that count for all; `None`: what the manifest says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// KVM or TCG.
    pub accel: Option<Accel>,
    /// The QEMU program.
    pub qemu: Option<PathBuf>,
    /// Longest time for a test.
    pub timeout: Option<Duration>,
    /// Longest time without a sign of life.
    pub idle_timeout: Option<Duration>,
    /// How often a test is tried again.
    pub retries: Option<u32>,
    /// How often it is run.
    pub repeat: Option<u32>,
    /// What the kernel's health does.
    pub health: Option<Policy>,
    /// Whether guests boot.
    pub boot: Option<BootWay>,
    /// Whether they are shared.
    pub isolate: Option<Isolate>,
}

impl Overrides {
    /// Puts them in place of what the manifest says.
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
