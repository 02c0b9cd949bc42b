//! From what came of a candidate's guests to what that says of it. Pure.

use super::{Answer, Policy};
use crate::guest::plain::blanked;
use crate::guest::verdict::{Bisected, Outcome};

/// What a candidate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The test passed.
    Good,
    /// The test failed, or the guest did in its course.
    Bad,
    /// There is no kernel: its build failed, or left none.
    NotBuilt,
    /// There is one, and its pid 1 never spoke.
    NotBooted,
    /// The test passed at times.
    Flaky,
    /// The test could not say.
    Untestable,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Good, Self::Bad, Self::NotBuilt, Self::NotBooted, Self::Flaky, Self::Untestable];

    /// For people.
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

    /// What a bisection makes of it.
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

/// A candidate, judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// What it is.
    pub kind: Kind,
    /// How that is known, in a line.
    pub why: String,
}

/// One guest of a candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Try {
    /// What came of it.
    pub outcome: Outcome,
    /// Whether its pid 1 ever spoke.
    pub booted: bool,
}

impl Try {
    /// What it would say of its candidate if it were the only one; a number where a signal ended us.
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

/// What all of a candidate's guests say of it; a number where a signal ended us.
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
            let why = format!("{} of {} tries passed, another: {}", count(Kind::Good), tries.len(), failed.why);
            Judged { kind: Kind::Flaky, why }
        }
        (Some(failed), None) => failed,
        // What could not be tested once might have failed then.
        (None, good) => first(Kind::Untestable)
            .or(good)
            .unwrap_or_else(|| Judged { kind: Kind::Untestable, why: "nothing was tried".to_owned() }),
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
    fn tries_that_disagree_are_flaky_and_one_that_could_not_be_is_no_pass() {
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
            "2 of 3 tries passed, another: the guest's kernel panicked: Kernel panic - not syncing: x"
        );
        let stopped = Try { outcome: Outcome::Interrupted { signal: 2 }, booted: true };
        assert_eq!(judge(&[exited(0), stopped]), Err(130));
    }

    #[test]
    fn what_does_not_boot_is_what_the_policy_says() {
        let policy = |no_boot, flaky| Policy { no_boot, flaky };
        assert_eq!(Kind::NotBooted.answer(policy(None, Answer::Bad)), Answer::Skip);
        assert_eq!(Kind::NotBooted.answer(policy(Some(Answer::Bad), Answer::Bad)), Answer::Bad);
        assert_eq!(Kind::Flaky.answer(policy(None, Answer::Skip)), Answer::Skip);
        assert_eq!(Kind::NotBuilt.answer(policy(Some(Answer::Bad), Answer::Bad)), Answer::Skip);
    }
}
