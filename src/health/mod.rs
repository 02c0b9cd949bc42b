//! What a kernel's log says about its health: panics, oopses, warnings, lockups and their kin, each with its lines cut out.
//!
//! Pure: takes lines, gives [`Finding`]s. What it is told is untrusted, and bounded. Which findings make a run fail is the
//! [`HealthSpec`]'s.

use serde::{Deserialize, Serialize};

/// What is wrong with a kernel. In order of weight: the first is the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `Kernel panic - not syncing: ...`
    Panic,
    /// An oops: a fault in the kernel (`BUG: kernel NULL pointer dereference`, `general protection fault`, ...).
    Oops,
    /// `kernel BUG at FILE:LINE!`
    Bug,
    /// `Watchdog detected hard LOCKUP on cpu N`
    HardLockup,
    /// `watchdog: BUG: soft lockup - CPU#N stuck for Ns!`
    SoftLockup,
    /// `rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:`, `self-detected stall`
    RcuStall,
    /// `INFO: task NAME:PID blocked for more than N seconds.`
    HungTask,
    /// `BUG: KASAN: ...`
    Kasan,
    /// `BUG: KMSAN: ...`
    Kmsan,
    /// `BUG: KFENCE: ...`
    Kfence,
    /// `BUG: KCSAN: ...`
    Kcsan,
    /// `UBSAN: ...`
    Ubsan,
    /// A complaint of the lock validator (`WARNING: possible circular locking dependency detected`, ...).
    Lockdep,
    /// Any other line that begins with `BUG: `.
    OtherBug,
    /// `WARNING: CPU: N PID: N at FILE:LINE FUNCTION`
    Warning,
    /// The OOM killer: `Out of memory: Killed process ...`, and within a memory cgroup.
    OutOfMemory,
    /// Taint flags that the kernel did not have before the command.
    Taint,
    /// Processes that the command left behind and that could not be killed.
    Unkillable,
    /// Processes that the command left behind.
    Leaked,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// What.
    pub kind: Kind,
    /// Its own first line, without the timestamp.
    pub title: String,
    /// Its lines of the log, the title's among them, call trace included: bounded.
    pub lines: Vec<String>,
    /// The kernel's clock then, seconds; `None`: its log did not say.
    pub at: Option<f64>,
}

/// What findings do to a verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// A run with findings has failed, whatever its command says.
    Fail,
    /// They are told.
    #[default]
    Warn,
    /// Nobody looks.
    Ignore,
}

/// `--health`, and of which findings it does not speak.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HealthSpec {
    /// What findings do.
    pub policy: Policy,
    /// Regular expressions: a finding with a line that one of them matches does not count.
    pub allow: Vec<String>,
}
