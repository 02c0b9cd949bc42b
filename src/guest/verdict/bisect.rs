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

use serde::{Deserialize, Serialize};

use super::{Outcome, code};
use crate::guest::transcript::QemuExit;

/// Signals that indicate a crash: ILL, TRAP, ABRT, BUS, FPE, SEGV, SYS.
const CRASHES: [i32; 7] = [4, 5, 6, 7, 8, 11, 31];

/// An answer in a bisection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BisectAnswer {
    /// The revision is good.
    Good,
    /// The revision is bad.
    Bad,
    /// The revision cannot be tested.
    Skip,
}

impl BisectAnswer {
    /// All answers.
    pub(crate) const ALL: [Self; 3] = [Self::Good, Self::Bad, Self::Skip];

    /// Returns the exit code for `git bisect run`.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Good => 0,
            Self::Bad => 1,
            Self::Skip => code::COULD_NOT_TEST,
        }
    }

    /// Returns git's name for the answer.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Skip => "skip",
        }
    }
}

impl Outcome {
    /// Returns the answer to `git bisect run`, or the exit code that aborts the bisection.
    pub fn bisect_answer(&self) -> Result<BisectAnswer, u8> {
        match self {
            Self::Exited { status: 0 } | Self::Expected { .. } | Self::PoweredOff => Ok(BisectAnswer::Good),
            Self::QemuDied { exit: QemuExit::Signal(signal) } if CRASHES.contains(signal) => Ok(BisectAnswer::Bad),
            // A script in the guest may exit with 125, too.
            Self::Exited { status: code::COULD_NOT_TEST } | Self::CouldNotTest { .. } | Self::QemuDied { .. } => {
                Ok(BisectAnswer::Skip)
            }
            Self::Exited { .. }
            | Self::Signaled { .. }
            | Self::NotExecuted { .. }
            | Self::Rejected { .. }
            | Self::Panic { .. }
            | Self::Unhealthy { .. }
            | Self::KernelCrashed { .. }
            | Self::Reset { .. }
            | Self::WentAway { .. }
            | Self::Watchdog { .. }
            | Self::TimedOut { .. } => Ok(BisectAnswer::Bad),
            Self::Interrupted { .. } | Self::OutputClosed => Err(self.exit_code()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::BisectAnswer::{Bad, Good, Skip};
    use super::{BisectAnswer, Outcome, QemuExit};
    use crate::guest::transcript::Limit;
    use std::time::Duration;

    #[test]
    fn every_failure_in_the_guest_is_bad_and_a_run_without_a_result_is_skipped() {
        let panic = Outcome::Panic { line: "x".to_owned() };
        let late = Outcome::TimedOut { limit: Limit::Boot, after: Duration::ZERO };
        let not_executed = Outcome::NotExecuted { status: 126, command: "x".to_owned(), errno: 8 };
        let died = |exit| Outcome::QemuDied { exit };
        let cases = [
            (Outcome::Exited { status: 0 }, Ok(Good), 0),
            (Outcome::Exited { status: 1 }, Ok(Bad), 1),
            (Outcome::Exited { status: 124 }, Ok(Bad), 1),
            (Outcome::Exited { status: 125 }, Ok(Skip), 125),
            (Outcome::Exited { status: 127 }, Ok(Bad), 1),
            (Outcome::Exited { status: 200 }, Ok(Bad), 1),
            (Outcome::Signaled { signal: 11, core: false, crash: None }, Ok(Bad), 1),
            (not_executed, Ok(Bad), 1),
            (panic, Ok(Bad), 1),
            (Outcome::Unhealthy { what: "x".to_owned(), early: false }, Ok(Bad), 1),
            (Outcome::KernelCrashed { module: "x".to_owned(), what: "y".to_owned() }, Ok(Bad), 1),
            (Outcome::Reset { silent: true }, Ok(Bad), 1),
            (Outcome::WentAway { how: "x" }, Ok(Bad), 1),
            (Outcome::Watchdog { action: "x".to_owned() }, Ok(Bad), 1),
            (late, Ok(Bad), 1),
            (died(QemuExit::Signal(11)), Ok(Bad), 1),
            (died(QemuExit::Signal(9)), Ok(Skip), 125),
            (died(QemuExit::Status(1)), Ok(Skip), 125),
            (Outcome::CouldNotTest { why: "x".to_owned() }, Ok(Skip), 125),
            (Outcome::Interrupted { signal: 2 }, Err(130), 130),
            (Outcome::OutputClosed, Err(141), 141),
        ];
        for (outcome, answer, code) in cases {
            let exit_code = outcome.bisect_answer().map_or_else(|code| code, BisectAnswer::exit_code);
            assert_eq!((outcome.bisect_answer(), exit_code), (answer, code), "{outcome:?}");
        }
    }
}
