//! What `git bisect run` is told of an outcome (git-bisect(1), "Bisect run").
//!
//! | answer | code | outcomes |
//! |---|---|---|
//! | good | 0 | the command exited with 0 |
//! | bad | 1 | any other status but 125, a signal, a panic, a kernel that is not well (`--health fail`), a reset, a hang, a watchdog, a guest that went away, a QEMU that crashed |
//! | skip | 125 | nothing could be tested, or the command itself said 125; QEMU ended or was killed |
//! | stop | 128+n | a signal ended bootling, or nobody reads its output |
//!
//! A guest that is being bisected breaks in ways that have codes of their own elsewhere (see the table in
//! [`crate::guest::verdict`]), and git stops at those above 127.

use super::{Outcome, code};
use crate::guest::transcript::QemuExit;

/// Signals by which a program says that it is broken: ILL, TRAP, ABRT, BUS, FPE, SEGV, SYS.
const CRASHES: [i32; 7] = [4, 5, 6, 7, 8, 11, 31];

/// An answer to `git bisect run`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bisected {
    /// Not this one, nor any before it.
    Good,
    /// This one, or one before it.
    Bad,
    /// Nobody can tell.
    Skip,
    /// No use to go on.
    Stop(u8),
}

impl Bisected {
    /// The exit code that says it.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Good => 0,
            Self::Bad => 1,
            Self::Skip => code::COULD_NOT_TEST,
            Self::Stop(code) => code,
        }
    }

    /// The word for it.
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
    /// What `git bisect run` is told.
    pub fn bisected(&self) -> Bisected {
        match self {
            Self::Exited { status: 0 } | Self::Expected { .. } | Self::PoweredOff => Bisected::Good,
            Self::QemuDied { exit: QemuExit::Signal(signal) } if CRASHES.contains(signal) => Bisected::Bad,
            // A script in the guest may say it as git's own do.
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
    fn whatever_goes_wrong_in_the_guest_is_bad_and_what_says_nothing_of_it_is_skipped() {
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
