//! Judges a candidate from the outcomes of its guests. Pure.

use super::{Answer, Policy};
use crate::guest::plain::blanked;
use crate::guest::verdict::{Bisected, Outcome};

/// Kind of candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The test passed.
    Good,
    /// The test failed, or the guest failed during the test.
    Bad,
    /// No kernel: the build failed or produced none.
    NotBuilt,
    /// pid 1 of the guest never started.
    NotBooted,
    /// The test passed only in some tries.
    Flaky,
    /// The test had no result.
    Untestable,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 6] = [Self::Good, Self::Bad, Self::NotBuilt, Self::NotBooted, Self::Flaky, Self::Untestable];

    /// Returns the display name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::NotBuilt => "not built",
            Self::NotBooted => "not booting",
            Self::Flaky => "flaky",
            Self::Untestable => "untestable",
        }
    }

    /// Returns the answer under a policy.
    pub const fn answer(self, policy: Policy) -> Answer {
        match self {
            Self::Good => Answer::Good,
            Self::Bad => Answer::Bad,
            Self::Flaky => policy.flaky,
            Self::NotBooted => match policy.no_boot {
                Some(answer) => answer,
                None => Answer::Skip,
            },
            Self::NotBuilt | Self::Untestable => Answer::Skip,
        }
    }
}

/// Judgment of a candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// Kind of candidate.
    pub kind: Kind,
    /// Reason, in one line.
    pub why: String,
}

/// One guest of a candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Try {
    /// Outcome.
    pub outcome: Outcome,
    /// True if pid 1 started.
    pub booted: bool,
}

impl Try {
    /// Returns the candidate's kind according to this try only, or an exit code if a signal ended bootling.
    fn kind(&self) -> Result<Kind, u8> {
        match self.outcome.bisected() {
            Bisected::Good => Ok(Kind::Good),
            Bisected::Bad if self.booted => Ok(Kind::Bad),
            Bisected::Bad => Ok(Kind::NotBooted),
            Bisected::Skip => Ok(Kind::Untestable),
            Bisected::Stop(code) => Err(code),
        }
    }

    fn why(&self) -> String {
        blanked(&crate::regress::compare::ending(&self.outcome))
    }
}

/// Judges all tries of a candidate, or returns an exit code if a signal ended bootling.
pub fn judge(tries: &[Try]) -> Result<Judged, u8> {
    let kinds = tries.iter().map(Try::kind).collect::<Result<Vec<_>, _>>()?;
    let first = |wanted: Kind| {
        let found = kinds.iter().zip(tries).find(|(kind, _)| **kind == wanted);
        found.map(|(_, one)| Judged { kind: wanted, why: one.why() })
    };
    let count = |wanted: Kind| kinds.iter().filter(|kind| **kind == wanted).count();
    let failed = first(Kind::Bad).or_else(|| first(Kind::NotBooted));
    Ok(match (failed, first(Kind::Good)) {
        (Some(failed), Some(_)) => {
            let why = format!("{} of {} tries passed, one failed: {}", count(Kind::Good), tries.len(), failed.why);
            Judged { kind: Kind::Flaky, why }
        }
        (Some(failed), None) => failed,
        // An untestable try might have been a failure.
        (None, good) => first(Kind::Untestable)
            .or(good)
            .unwrap_or_else(|| Judged { kind: Kind::Untestable, why: "no tries".to_owned() }),
    })
}

#[cfg(test)]
mod tests {
    use super::{Kind, Try, judge};
    use crate::guest::verdict::Outcome;
    use crate::regress::bisect::{Answer, Policy};

    fn exited(status: u8) -> Try {
        Try { outcome: Outcome::Exited { status }, booted: true }
    }

    fn panicked(booted: bool) -> Try {
        Try { outcome: Outcome::Panic { line: "Kernel panic - not syncing: x".to_owned() }, booted }
    }

    #[test]
    fn disagreeing_tries_are_flaky_and_an_untestable_try_is_not_a_pass() {
        let cases: [(&[Try], Kind); 9] = [
            (&[exited(0)], Kind::Good),
            (&[exited(0), exited(0)], Kind::Good),
            (&[exited(1)], Kind::Bad),
            (&[exited(1), panicked(false)], Kind::Bad),
            (&[panicked(true)], Kind::Bad),
            (&[panicked(false)], Kind::NotBooted),
            (&[exited(0), exited(1), exited(0)], Kind::Flaky),
            (&[exited(0), exited(125)], Kind::Untestable),
            (&[], Kind::Untestable),
        ];
        for (tries, kind) in cases {
            assert_eq!(judge(tries).map(|judged| judged.kind), Ok(kind), "{tries:?}");
        }
        let judged = judge(&[exited(0), panicked(false), exited(0)]).expect("no signal");
        assert_eq!(
            judged.why,
            "2 of 3 tries passed, one failed: the guest's kernel panicked: Kernel panic - not syncing: x"
        );
        let stopped = Try { outcome: Outcome::Interrupted { signal: 2 }, booted: true };
        assert_eq!(judge(&[exited(0), stopped]), Err(130));
    }

    #[test]
    fn the_policy_decides_about_candidates_that_do_not_boot() {
        let policy = |no_boot, flaky| Policy { no_boot, flaky };
        assert_eq!(Kind::NotBooted.answer(policy(None, Answer::Bad)), Answer::Skip);
        assert_eq!(Kind::NotBooted.answer(policy(Some(Answer::Bad), Answer::Bad)), Answer::Bad);
        assert_eq!(Kind::Flaky.answer(policy(None, Answer::Skip)), Answer::Skip);
        assert_eq!(Kind::NotBuilt.answer(policy(Some(Answer::Bad), Answer::Bad)), Answer::Skip);
    }
}
