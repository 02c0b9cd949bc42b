//! The bisection loop: tests the ends, then candidates until the first bad one is found.

use super::{
    BisectAnswer, BisectError, BisectResult, Candidate, CandidateKind, History, Judgment, Log, Next, NotTested,
    SkipPolicy, Step,
};

/// Progress of a bisection.
#[derive(Debug)]
pub enum Progress<'a> {
    /// The test of an end starts; this answer is expected.
    End(&'a Candidate, BisectAnswer),
    /// The test of a candidate starts.
    Candidate {
        /// Number of the candidate, starting with 1.
        number: usize,
        /// Estimated number of further candidates.
        left: u32,
        /// Candidate.
        candidate: &'a Candidate,
    },
    /// A candidate's build starts.
    Building(&'a Candidate),
    /// A candidate's guests start.
    Testing(&'a Candidate),
    /// Last lines of a failed build, or of the console of a guest that did not boot.
    Output(&'a [String]),
    /// A candidate was judged.
    Judged(&'a Step),
}

/// Tests a checked-out candidate, and reports progress.
pub(crate) type Test<'a> = dyn FnMut(&Candidate, &mut dyn FnMut(Progress<'_>)) -> Result<Judgment, NotTested> + 'a;

/// A bisection.
pub struct Bisection<'a> {
    /// Candidates to bisect.
    pub history: History,
    /// Answers for candidates that are neither good nor bad.
    pub policy: SkipPolicy,
    /// True to test the ends.
    pub tests_ends: bool,
    /// Log; a resumed bisection continues after its steps.
    pub log: Log,
    /// Test of a candidate.
    pub test: &'a mut Test<'a>,
    /// Progress receiver.
    pub progress: &'a mut dyn FnMut(Progress<'_>),
}

impl Bisection<'_> {
    /// Runs the bisection.
    pub fn run(mut self) -> Result<BisectResult, BisectError> {
        if self.tests_ends && !self.log.ends_tested {
            self.test_ends()?;
        }
        self.policy.no_boot = self.policy.no_boot.or(self.log.no_boot);
        let mut next = self.history.start(&self.log)?;
        let suspects = loop {
            self.log.write(self.history.log())?;
            match next {
                Next::Found(suspects) => break suspects,
                Next::Test(candidate, left) => {
                    let number = self.log.steps.len() + 1;
                    (self.progress)(Progress::Candidate { number, left, candidate: &candidate });
                    let step = self.test(candidate, self.policy)?;
                    next = self.history.record(&step.candidate.id, step.answer)?;
                    self.log.steps.push(step);
                }
            }
        };
        self.log.is_complete = true;
        self.log.write(self.history.log())?;
        let first_bad = suspects.first().filter(|_| suspects.len() == 1).cloned();
        let steps = [self.log.end_steps, self.log.steps].concat();
        Ok(BisectResult { first_bad, suspects, steps })
    }

    /// Checks out, tests and judges a candidate.
    fn test(&mut self, candidate: Candidate, policy: SkipPolicy) -> Result<Step, BisectError> {
        self.history.check_out(&candidate)?;
        let judgment = match (self.test)(&candidate, self.progress) {
            Ok(judgment) => judgment,
            Err(NotTested::NoKernel(reason)) => Judgment { kind: CandidateKind::NotBuilt, reason },
            Err(NotTested::Interrupted(signal)) => {
                return Err(BisectError::Interrupted { signal, is_logged: self.log.is_on_disk });
            }
            Err(NotTested::Failed(source)) => return Err(BisectError::Test { title: candidate.title, source }),
        };
        let answer = judgment.kind.answer(policy);
        let step = Step { candidate, judgment, answer };
        (self.progress)(Progress::Judged(&step));
        Ok(step)
    }

    /// Tests the bad end first: if it does not boot, other candidates that do not boot are bad, too.
    fn test_ends(&mut self) -> Result<(), BisectError> {
        let [good, bad] = self.history.ends();
        let mut policy = self.policy;
        policy.no_boot = policy.no_boot.or(Some(BisectAnswer::Bad));
        for (candidate, expected) in [(bad, BisectAnswer::Bad), (good, BisectAnswer::Good)] {
            (self.progress)(Progress::End(&candidate, expected));
            let step = self.test(candidate, policy)?;
            if step.answer != expected {
                let Step { candidate: Candidate { title, .. }, judgment, .. } = step;
                return Err(BisectError::WrongEnd { title, expected: expected.name(), judgment });
            }
            if expected == BisectAnswer::Bad && step.judgment.kind != CandidateKind::NotBooted {
                policy.no_boot = self.policy.no_boot.or(Some(BisectAnswer::Skip));
            }
            self.log.end_steps.push(step);
        }
        self.log.no_boot = policy.no_boot;
        self.log.ends_tested = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Bisection, Progress};
    use crate::regress::bisect::list::Kernels;
    use crate::regress::bisect::{
        BisectAnswer, BisectError, BisectResult, CandidateKind, History, Judgment, Log, NotTested, SkipPolicy,
    };
    use std::path::{Path, PathBuf};

    /// Candidates of the given kinds; `stop` interrupts that test.
    struct World {
        kinds: Vec<CandidateKind>,
        progress: Vec<String>,
        stop: Option<usize>,
        directory: tempfile::TempDir,
    }

    impl World {
        fn new(kinds: &[CandidateKind]) -> Self {
            let directory = tempfile::tempdir().expect("a directory");
            Self { kinds: kinds.to_vec(), progress: Vec::new(), stop: None, directory }
        }

        fn log_path(&self) -> PathBuf {
            self.directory.path().join("the.log")
        }

        fn log(&self) -> String {
            std::fs::read_to_string(self.log_path()).expect("a log")
        }

        fn run(&mut self, resume: bool) -> Result<BisectResult, BisectError> {
            let paths: Vec<PathBuf> = (0..self.kinds.len()).map(|number| format!("k{number}-x").into()).collect();
            let log = Log::open(&self.log_path(), resume, vec!["about".to_owned()])?;
            let mut left = self.stop;
            self.progress.clear();
            let bisection = Bisection {
                history: History::List(Kernels::new(&paths, None, None)?),
                policy: SkipPolicy { no_boot: None, flaky: BisectAnswer::Bad },
                tests_ends: true,
                log,
                test: &mut |candidate, _| {
                    let (number, _) = candidate.id[1..].split_once('-').expect("a number");
                    match &mut left {
                        Some(0) => return Err(NotTested::Interrupted(2)),
                        Some(left) => *left -= 1,
                        None => {}
                    }
                    let kind = self.kinds[number.parse::<usize>().expect("a number")];
                    match kind {
                        CandidateKind::NotBuilt => Err(NotTested::NoKernel("so".to_owned())),
                        _ => Ok(Judgment { kind, reason: "so".to_owned() }),
                    }
                },
                progress: &mut |progress| {
                    self.progress.push(match progress {
                        Progress::End(candidate, expected) => format!("{} {}", expected.name(), candidate.id),
                        Progress::Candidate { candidate, .. } => candidate.id.clone(),
                        Progress::Judged(step) => format!("{}: {}", step.judgment.kind.name(), step.answer.name()),
                        other => panic!("{other:?}"),
                    });
                },
            };
            bisection.run()
        }
    }

    fn suspects(result: &BisectResult) -> Vec<&str> {
        result.suspects.iter().map(|candidate| candidate.id.as_str()).collect()
    }

    #[test]
    fn each_kind_of_candidate_gets_the_right_answer() {
        use CandidateKind::{Bad, Flaky, Good, NotBooted, NotBuilt};
        let cases: [(&[CandidateKind], &[&str]); 5] = [
            (&[Good, Good, Good, Bad, Bad], &["k3-x"]),
            (&[Good, Good, NotBuilt, Bad, Bad], &["k2-x", "k3-x"]),
            (&[Good, Flaky, Bad, Flaky, Bad], &["k1-x"]),
            // A candidate that does not boot has another fault, unless the bad end does not boot either.
            (&[Good, NotBooted, NotBooted, Bad, Bad], &["k1-x", "k2-x", "k3-x"]),
            (&[Good, Good, NotBooted, NotBooted, NotBooted], &["k2-x"]),
        ];
        for (kinds, expected) in cases {
            let mut world = World::new(kinds);
            let result = world.run(false).expect("found");
            assert_eq!(suspects(&result), expected, "{kinds:?}: {:?}", world.progress);
            assert_eq!(result.first_bad.is_some(), expected.len() == 1);
            let log = Log::open(&world.log_path(), true, Vec::new()).expect("a log");
            assert!(log.ends_tested && world.log().ends_with("# bootling: done\n"), "{log:?}");
        }
    }

    #[test]
    fn wrong_ends_stop_the_bisection() {
        use CandidateKind::{Bad, Good, NotBooted, NotBuilt};
        for kinds in [[Good, Good], [Bad, Bad], [NotBuilt, Bad], [Good, NotBuilt], [NotBooted, Bad], [NotBooted; 2]] {
            let mut world = World::new(&kinds);
            let error = world.run(false).expect_err("an end is wrong").to_string();
            assert!(error.contains("is expected to be"), "{kinds:?}: {error}");
            assert!(!Path::exists(&world.log_path()), "{kinds:?}");
        }
    }

    #[test]
    fn an_interrupted_bisection_resumes_and_finds_the_same() {
        use CandidateKind::{Bad, Good};
        let kinds: Vec<CandidateKind> = (0..40).map(|number| if number < 23 { Good } else { Bad }).collect();
        let mut world = World::new(&kinds);
        world.stop = Some(1);
        assert!(matches!(world.run(false), Err(BisectError::Interrupted { signal: 2, is_logged: false })));
        world.stop = None;
        let whole = (world.run(false).expect("found"), world.log());
        world.stop = Some(4);
        assert!(matches!(world.run(false), Err(BisectError::Interrupted { signal: 2, is_logged: true })));
        assert!(matches!(world.run(false), Err(BisectError::Unfinished(_))));
        let log = Log::open(&world.log_path(), true, Vec::new()).expect("a log");
        assert!(log.ends_tested && log.steps.len() == 2, "{log:?}");
        world.stop = None;
        let result = world.run(true).expect("found");
        // Result and log are identical to those of an uninterrupted bisection, and nothing is tested twice.
        assert_eq!((result, world.log()), whole);
        assert!(!world.progress.iter().any(|line| line.starts_with("bad k")), "{:?}", world.progress);
        let json = serde_json::to_string(&whole.0).expect("JSON");
        assert_eq!(serde_json::from_str::<BisectResult>(&json).expect("a result"), whole.0);
    }
}
