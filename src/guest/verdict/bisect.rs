//! Answers to `git bisect run` (git-bisect(1), "Bisect run").
//!
//! | answer | code | outcomes |
//! |---|---|---|
//! | good | 0 | the command exited with 0 |
//! | bad | 1 | any other status except 125, a signal, a panic, an unhealthy kernel (`--health fail`), a reset, a hang, a watchdog, a guest that is gone, a QEMU crash |
//! | skip | 125 | could not test, or the command exited with 125; QEMU exited or was killed |
//! | stop | 128+n | a signal terminated bootling, or its output was closed |
//!
//! Elsewhere, a broken guest has separate exit codes (see [`crate::guest::verdict`]); git aborts the bisection at those
//! above 127.

use super::{Outcome, code};
use crate::guest::transcript::QemuExit;

/// Signals that indicate a crash: ILL, TRAP, ABRT, BUS, FPE, SEGV, SYS.
const CRASHES: [i32; 7] = [4, 5, 6, 7, 8, 11, 31];

/// An answer to `git bisect run`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bisected {
    /// The revision is good.
    Good,
    /// The revision is bad.
    Bad,
    /// The revision cannot be tested.
    Skip,
    /// Abort the bisection with this exit code.
    Stop(u8),
}

impl Bisected {
    /// Returns the exit code for `git bisect run`.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Good => 0,
            Self::Bad => 1,
            Self::Skip => code::COULD_NOT_TEST,
            Self::Stop(code) => code,
        }
    }

    /// Returns the name of the answer.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Skip => "skip",
            Self::Stop(_) => "stop",
        }
    }
}

impl Outcome {
    /// Returns the answer to `git bisect run`.
    pub fn bisected(&self) -> Bisected {
        match self {
            Self::Exited { status: 0 } | Self::Expected { .. } | Self::PoweredOff => Bisected::Good,
            Self::QemuDied { exit: QemuExit::Signal(signal) } if CRASHES.contains(signal) => Bisected::Bad,
            // A script in the guest may exit with 125, too.
            Self::Exited { status: code::COULD_NOT_TEST } | Self::CouldNotTest { .. } | Self::QemuDied { .. } => {
                Bisected::Skip
            }
            Self::Exited { .. }
            | Self::Signaled { .. }
            | Self::NotExecuted { .. }
            | Self::Rejected { .. }
            | Self::Panic { .. }
            | Self::Unhealthy { .. }
            | Self::Reset
            | Self::WentAway { .. }
            | Self::Watchdog { .. }
            | Self::TimedOut { .. } => Bisected::Bad,
            Self::Interrupted { .. } | Self::OutputClosed => Bisected::Stop(self.exit_code()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Bisected, Outcome, QemuExit};
    use crate::guest::transcript::Limit;
    use std::time::Duration;

    #[test]
    fn every_failure_in_the_guest_is_bad_and_a_run_without_a_result_is_skipped() {
        let panic = Outcome::Panic { line: "x".to_owned() };
        let late = Outcome::TimedOut { limit: Limit::Boot, after: Duration::ZERO };
        let not_executed = Outcome::NotExecuted { status: 126, command: "x".to_owned(), errno: 8 };
        let died = |exit| Outcome::QemuDied { exit };
        let cases = [
            (Outcome::Exited { status: 0 }, Bisected::Good, 0),
            (Outcome::Exited { status: 1 }, Bisected::Bad, 1),
            (Outcome::Exited { status: 124 }, Bisected::Bad, 1),
            (Outcome::Exited { status: 125 }, Bisected::Skip, 125),
            (Outcome::Exited { status: 127 }, Bisected::Bad, 1),
            (Outcome::Exited { status: 200 }, Bisected::Bad, 1),
            (Outcome::Signaled { signal: 11, core: false }, Bisected::Bad, 1),
            (not_executed, Bisected::Bad, 1),
            (panic, Bisected::Bad, 1),
            (Outcome::Unhealthy { what: "x".to_owned() }, Bisected::Bad, 1),
            (Outcome::Reset, Bisected::Bad, 1),
            (Outcome::WentAway { how: "x" }, Bisected::Bad, 1),
            (Outcome::Watchdog { action: "x".to_owned() }, Bisected::Bad, 1),
            (late, Bisected::Bad, 1),
            (died(QemuExit::Signal(11)), Bisected::Bad, 1),
            (died(QemuExit::Signal(9)), Bisected::Skip, 125),
            (died(QemuExit::Status(1)), Bisected::Skip, 125),
            (Outcome::CouldNotTest { why: "x".to_owned() }, Bisected::Skip, 125),
            (Outcome::Interrupted { signal: 2 }, Bisected::Stop(130), 130),
            (Outcome::OutputClosed, Bisected::Stop(141), 141),
        ];
        for (outcome, answer, code) in cases {
            assert_eq!((outcome.bisected(), outcome.bisected().exit_code()), (answer, code), "{outcome:?}");
        }
    }
}
