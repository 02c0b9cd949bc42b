//! Judges a candidate from the outcomes of its guests. Pure.

use serde::{Deserialize, Serialize};

use crate::format::guest_text::one_line;
use crate::guest::verdict::{BisectAnswer, Outcome};

/// Answers for candidates that are neither good nor bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SkipPolicy {
    /// Answer for candidates that do not boot; `None`: bad if the bad end does not boot either, otherwise skip.
    pub no_boot: Option<BisectAnswer>,
    /// Answer for flaky candidates.
    pub flaky: BisectAnswer,
}

/// Kind of candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CandidateKind {
    /// The test passed.
    #[serde(rename = "good")]
    Good,
    /// The test failed, or the guest failed during the test.
    #[serde(rename = "bad")]
    Bad,
    /// No kernel: the build failed or produced none.
    #[serde(rename = "not built")]
    NotBuilt,
    /// pid 1 of the guest never started.
    #[serde(rename = "not booting")]
    NotBooted,
    /// The test passed only in some tries.
    #[serde(rename = "flaky")]
    Flaky,
    /// The test had no result.
    #[serde(rename = "untestable")]
    Untestable,
}

impl CandidateKind {
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
    pub(crate) const fn answer(self, policy: SkipPolicy) -> BisectAnswer {
        match self {
            Self::Good => BisectAnswer::Good,
            Self::Bad => BisectAnswer::Bad,
            Self::Flaky => policy.flaky,
            Self::NotBooted => match policy.no_boot {
                Some(answer) => answer,
                None => BisectAnswer::Skip,
            },
            Self::NotBuilt | Self::Untestable => BisectAnswer::Skip,
        }
    }
}

/// Judgment of a candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgment {
    /// Kind of candidate.
    pub kind: CandidateKind,
    /// Reason, in one line.
    #[serde(rename = "why")]
    pub reason: String,
}

/// One guest of a candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Outcome.
    pub outcome: Outcome,
    /// True if pid 1 started.
    pub booted: bool,
    /// Last lines of the console.
    pub console: Vec<String>,
}

impl Attempt {
    /// Returns the candidate's kind according to this attempt only, or an exit code if a signal ended bootling.
    fn kind(&self) -> Result<CandidateKind, u8> {
        self.outcome.bisect_answer().map(|answer| match answer {
            BisectAnswer::Good => CandidateKind::Good,
            BisectAnswer::Bad if self.booted => CandidateKind::Bad,
            BisectAnswer::Bad => CandidateKind::NotBooted,
            BisectAnswer::Skip => CandidateKind::Untestable,
        })
    }
}

/// Judges all attempts of a candidate, or returns an exit code if a signal ended bootling.
pub(crate) fn judge(attempts: &[Attempt]) -> Result<Judgment, u8> {
    let kinds = attempts.iter().map(Attempt::kind).collect::<Result<Vec<_>, _>>()?;
    let first = |kind: CandidateKind| {
        let attempt = &attempts[kinds.iter().position(|other| *other == kind)?];
        Some(Judgment { kind, reason: one_line(&crate::regress::compare::describe_end(&attempt.outcome)) })
    };
    let failed = first(CandidateKind::Bad).or_else(|| first(CandidateKind::NotBooted));
    Ok(match (failed, first(CandidateKind::Good)) {
        (Some(failed), Some(_)) => {
            let passed = kinds.iter().filter(|kind| **kind == CandidateKind::Good).count();
            let reason = format!("{passed} of {} tries passed, one failed: {}", kinds.len(), failed.reason);
            Judgment { kind: CandidateKind::Flaky, reason }
        }
        (Some(failed), None) => failed,
        // An untestable attempt might have been a failure.
        (None, good) => first(CandidateKind::Untestable)
            .or(good)
            .unwrap_or_else(|| Judgment { kind: CandidateKind::Untestable, reason: "no tries".to_owned() }),
    })
}

#[cfg(test)]
mod tests {
    use super::{Attempt, CandidateKind as Kind, judge};
    use crate::guest::verdict::Outcome;
    use crate::regress::bisect::{BisectAnswer as Answer, SkipPolicy};

    fn exited(status: u8) -> Attempt {
        Attempt { outcome: Outcome::Exited { status }, booted: true, console: Vec::new() }
    }

    fn panicked(booted: bool) -> Attempt {
        Attempt {
            outcome: Outcome::Panic { line: "Kernel panic - not syncing: x".to_owned() },
            booted,
            console: Vec::new(),
        }
    }

    #[test]
    fn disagreeing_tries_are_flaky_and_an_untestable_try_is_not_a_pass() {
        let cases: [(&[Attempt], Kind); 9] = [
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
            judged.reason,
            "2 of 3 tries passed, one failed: the guest's kernel panicked: Kernel panic - not syncing: x"
        );
        let stopped = Attempt { outcome: Outcome::Interrupted { signal: 2 }, booted: true, console: Vec::new() };
        assert_eq!(judge(&[exited(0), stopped]), Err(130));
    }

    #[test]
    fn the_policy_decides_about_candidates_that_do_not_boot() {
        let policy = |no_boot, flaky| SkipPolicy { no_boot, flaky };
        assert_eq!(Kind::NotBooted.answer(policy(None, Answer::Bad)), Answer::Skip);
        assert_eq!(Kind::NotBooted.answer(policy(Some(Answer::Bad), Answer::Bad)), Answer::Bad);
        assert_eq!(Kind::Flaky.answer(policy(None, Answer::Skip)), Answer::Skip);
        assert_eq!(Kind::NotBuilt.answer(policy(Some(Answer::Bad), Answer::Bad)), Answer::Skip);
    }
}
