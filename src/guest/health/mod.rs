//! Kernel health: finds panics, oopses, warnings, lockups and similar reports in a kernel log.
//!
//! Pure: lines in, [`Finding`]s out. The log is untrusted, and everything that is kept is bounded. [`HealthSpec`]
//! decides which findings fail a run.

pub(crate) mod alarm;
pub(crate) mod block;
pub(crate) mod excerpt;
pub(crate) mod line;
pub(crate) mod log;
pub(crate) mod policy;
pub(crate) mod reader;
pub(crate) mod symbols;
pub(crate) mod taint;
pub(crate) mod title;

use serde::{Deserialize, Serialize};

pub(crate) use self::alarm::Alarm;
pub use self::excerpt::{excerpt, is_detail};
pub use self::log::{HealthSummary, Log};
pub(crate) use self::policy::{HealthError, Rules};
pub(crate) use self::reader::Reader;
pub(crate) use self::symbols::resolve;

/// Maximum number of findings kept.
const FINDINGS: usize = 64;
/// Maximum number of lines kept per finding.
const LINES: usize = 120;
/// Maximum length of a kept line, in bytes.
const LINE_BYTES: usize = 512;

/// Kind of finding, in order of severity: the most severe comes first.
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
    /// A report of the lock validator (`WARNING: possible circular locking dependency detected`, ...).
    Lockdep,
    /// Any other line that starts with `BUG: `.
    OtherBug,
    /// `WARNING: CPU: N PID: N at FILE:LINE FUNCTION`
    Warning,
    /// The OOM killer: `Out of memory: Killed process ...`, and within a memory cgroup.
    OutOfMemory,
    /// Taint flags that the kernel gained during the command.
    Taint,
    /// Processes that the command left behind and that SIGKILL did not end.
    Unkillable,
    /// Processes that the command left behind.
    Leaked,
}

/// One reported problem.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Kind of problem.
    pub kind: Kind,
    /// Title: the log line that identifies the report, without the timestamp.
    pub title: String,
    /// Log lines of the report, including the title and the call trace. Bounded.
    pub lines: Vec<String>,
    /// Kernel timestamp in seconds; `None` if the log has no timestamps.
    pub at: Option<f64>,
}

/// Effect of findings on the verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// A run with findings fails, even if its command succeeds.
    Fail,
    /// Report findings.
    #[default]
    Warn,
    /// Ignore findings.
    Ignore,
}

/// Health policy, and the exceptions from it (`--health`, `--health-allow`, `--health-deny`, `--fail-on`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct HealthSpec {
    /// Effect of findings.
    pub policy: Policy,
    /// Regular expressions: a finding with a matching line is not reported and does not fail the run.
    pub allow: Vec<String>,
    /// Kinds that fail a run although they normally do not: see `Kind::is_failure`.
    pub deny: Vec<Kind>,
    /// Kinds that fail a run under any policy, and end it as soon as the console shows them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fail_on: Vec<Kind>,
}

impl Kind {
    /// All kinds, the most severe first.
    pub(crate) const ALL: [Self; 19] = [
        Self::Panic,
        Self::Oops,
        Self::Bug,
        Self::HardLockup,
        Self::SoftLockup,
        Self::RcuStall,
        Self::HungTask,
        Self::Kasan,
        Self::Kmsan,
        Self::Kfence,
        Self::Kcsan,
        Self::Ubsan,
        Self::Lockdep,
        Self::OtherBug,
        Self::Warning,
        Self::OutOfMemory,
        Self::Taint,
        Self::Unkillable,
        Self::Leaked,
    ];

    /// Returns the name used in options, manifests and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Oops => "oops",
            Self::Bug => "bug",
            Self::HardLockup => "hard-lockup",
            Self::SoftLockup => "soft-lockup",
            Self::RcuStall => "rcu-stall",
            Self::HungTask => "hung-task",
            Self::Kasan => "kasan",
            Self::Kmsan => "kmsan",
            Self::Kfence => "kfence",
            Self::Kcsan => "kcsan",
            Self::Ubsan => "ubsan",
            Self::Lockdep => "lockdep",
            Self::OtherBug => "other-bug",
            Self::Warning => "warning",
            Self::OutOfMemory => "out-of-memory",
            Self::Taint => "taint",
            Self::Unkillable => "unkillable",
            Self::Leaked => "leaked",
        }
    }

    /// Returns a clause that describes the problem; a message is `CLAUSE: TITLE`.
    pub(crate) const fn sentence(self) -> &'static str {
        match self {
            Self::Panic => "the kernel panicked",
            Self::Oops => "the kernel oopsed",
            Self::Bug => "the kernel hit a bug",
            Self::HardLockup => "a guest CPU hit a hard lockup",
            Self::SoftLockup => "a guest CPU hit a soft lockup",
            Self::RcuStall => "RCU stalled in the guest",
            Self::HungTask => "a guest task hung",
            Self::Kasan | Self::Kmsan | Self::Kfence => "the kernel hit a memory error",
            Self::Kcsan => "the kernel has a data race",
            Self::Ubsan => "the kernel executed undefined behavior",
            Self::Lockdep => "the kernel violated a locking rule",
            Self::OtherBug => "the kernel has a bug",
            Self::Warning => "the kernel warned",
            Self::OutOfMemory => "the guest ran out of memory",
            Self::Taint => "the kernel was tainted",
            Self::Unkillable => "the command left unkillable processes behind",
            Self::Leaked => "the command left processes behind",
        }
    }

    /// Returns true if the finding fails a run under [`Policy::Fail`]. Leaked processes do so only if they are denied:
    /// tests start daemons, and the guest ends with its command.
    pub(crate) const fn is_failure(self) -> bool {
        match self {
            Self::Panic
            | Self::Oops
            | Self::Bug
            | Self::HardLockup
            | Self::SoftLockup
            | Self::RcuStall
            | Self::HungTask
            | Self::Kasan
            | Self::Kmsan
            | Self::Kfence
            | Self::Kcsan
            | Self::Ubsan
            | Self::Lockdep
            | Self::OtherBug
            | Self::Warning
            | Self::OutOfMemory
            | Self::Taint
            | Self::Unkillable => true,
            Self::Leaked => false,
        }
    }
}

impl std::str::FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.map(Self::name).into();
            format!("unknown finding kind {name:?}; expected one of: {}", known.join(", "))
        })
    }
}

impl Finding {
    /// Returns true if a finding on a console is from the kernel: firmware and boot loaders warn there, too. A kernel's line
    /// has a time stamp, unless `printk.time=0`; without one, only a report of several lines is attributed to the kernel.
    pub(crate) fn is_from_kernel(&self) -> bool {
        self.at.is_some() || self.lines.len() > 1
    }

    /// Returns true if the kernel crashed in a system call or a fault of a process, and killed the process for it.
    pub(crate) fn killed_a_process(&self) -> bool {
        let is_crash = matches!(self.kind, Kind::Oops | Kind::Bug);
        let came_from_program = |line: &String| line.starts_with("RIP: 0033:") || line.contains("entry_SYSCALL_64");
        is_crash && self.lines.iter().any(came_from_program)
    }
}

impl std::fmt::Display for Finding {
    /// Writes the kind's clause and the title.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.kind.sentence(), self.title)
    }
}

#[cfg(test)]
mod tests;
