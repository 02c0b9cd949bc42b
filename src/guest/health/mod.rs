//! What a kernel's log says about its health: panics, oopses, warnings, lockups and their kin, each with its lines cut out.
//!
//! Pure: takes lines, gives [`Finding`]s. What it is told is untrusted, and bounded. Which findings make a run fail is the
//! [`HealthSpec`]'s.

pub mod block;
pub mod line;
pub mod log;
pub mod policy;
pub mod reader;
pub mod symbols;
pub mod taint;
pub mod title;

use serde::{Deserialize, Serialize};

pub use self::line::Line;
pub use self::log::{Log, Told};
pub use self::policy::{HealthError, Rules};
pub use self::reader::Reader;
pub use self::symbols::{Lookup, resolve};

/// Findings kept: a kernel that is this ill need not say more.
const FINDINGS: usize = 64;
/// Lines kept of one.
const LINES: usize = 120;
/// Longest part of a line that is kept, in bytes.
const LINE_BYTES: usize = 512;

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
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct HealthSpec {
    /// What findings do.
    pub policy: Policy,
    /// Regular expressions: a finding with a line that one of them matches does not count, and is not told.
    pub allow: Vec<String>,
    /// Kinds that count although they are only told otherwise: see [`Kind::is_failure`].
    pub deny: Vec<Kind>,
}

impl Kind {
    /// All of them, the worst first.
    pub const ALL: [Self; 19] = [
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

    /// Its name, as options, manifests and reports have it.
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

    /// What has happened, as the start of a sentence that its title ends.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Panic => "the kernel panicked",
            Self::Oops => "the kernel oopsed",
            Self::Bug => "the kernel hit a bug",
            Self::HardLockup => "a CPU of the guest was locked up hard",
            Self::SoftLockup => "a CPU of the guest was locked up",
            Self::RcuStall => "RCU stalled in the guest",
            Self::HungTask => "a task of the guest hung",
            Self::Kasan | Self::Kmsan | Self::Kfence => "the kernel misused memory",
            Self::Kcsan => "the kernel raced with itself",
            Self::Ubsan => "the kernel did what C does not define",
            Self::Lockdep => "the kernel broke its rules of locking",
            Self::OtherBug => "the kernel has a bug",
            Self::Warning => "the kernel warned",
            Self::OutOfMemory => "the guest ran out of memory",
            Self::Taint => "the kernel was tainted",
            Self::Unkillable => "the command left behind what cannot be killed",
            Self::Leaked => "the command left processes behind",
        }
    }

    /// Whether it fails a run where the policy is [`Policy::Fail`]. Processes that are left behind do not, unless they are
    /// denied: tests start daemons, and guests end with their command.
    pub const fn is_failure(self) -> bool {
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
            format!("{name:?} is no kind of finding; there are: {}", known.join(", "))
        })
    }
}

impl std::fmt::Display for Finding {
    /// Two halves of a sentence: what has happened, and the kernel's words for it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.kind.sentence(), self.title)
    }
}

#[cfg(test)]
mod tests;
