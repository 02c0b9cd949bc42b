//! The bisection loop: tests the ends, then candidates until the first bad one is found.

use std::error::Error;

use super::log::{Log, Mark, Writer};
use super::{Answer, BisectError, Candidate, Found, History, Judged, Kind, Next, Policy};

/// Builds, boots and judges candidates.
pub trait Tester {
    /// Tests a checked-out candidate.
    fn test(&mut self, candidate: &Candidate) -> Result<Judged, Stopped>;
}

/// Reason why a test was aborted.
#[derive(Debug)]
pub enum Stopped {
    /// A signal to bootling.
    Interrupted(i32),
    /// A failure that is unrelated to the candidate, and would repeat with every other.
    Failed(Box<dyn Error + Send + Sync>),
}

/// Receives progress.
pub trait Teller {
    /// Reports an answer from the log of an interrupted bisection; nothing is tested.
    fn as_before(&mut self, mark: &Mark);
    /// Reports the start of an end's test.
    fn end(&mut self, candidate: &Candidate, said: Answer);
    /// Reports the start of a candidate's test; `left` estimates how many follow.
    fn step(&mut self, number: u32, left: u32, candidate: &Candidate);
    /// Reports the judgment of a candidate and the answer drawn from it.
    fn judged(&mut self, candidate: &Candidate, judged: &Judged, answer: Answer);
    /// Called whenever the log has changed.
    fn log(&mut self, log: &Writer) -> Result<(), BisectError>;
}

/// A bisection.
pub struct Bisection<'a> {
    /// Candidates to bisect.
    pub history: &'a mut dyn History,
    /// Test runner.
    pub tester: &'a mut dyn Tester,
    /// Progress receiver.
    pub teller: &'a mut dyn Teller,
    /// Answers for candidates that are neither good nor bad.
    pub policy: Policy,
    /// True to test the ends.
    pub checks: bool,
    /// Log; contains the ends.
    pub log: Writer,
}

impl Bisection<'_> {
    /// Runs the bisection; resumes after the entries of `before`.
    pub fn run(mut self, before: &Log) -> Result<Found, BisectError> {
        if before.checked {
            self.policy.no_boot = self.policy.no_boot.or(before.no_boot);
            for end in &before.tested_ends {
                self.log.end(end);
                self.teller.as_before(end);
            }
            self.log.checked(self.policy.no_boot);
        } else if self.checks {
            self.check_ends()?;
            self.log.checked(self.policy.no_boot);
        }
        self.history.begin()?;
        let mut steps = 0;
        for mark in &before.marks {
            self.history.mark(&mark.candidate.id, mark.answer)?;
            self.log.mark(mark);
            self.teller.as_before(mark);
            steps += 1;
        }
        self.teller.log(&self.log)?;
        let suspects = loop {
            match self.history.next()? {
                Next::Culprit(candidate) => break vec![candidate],
                Next::Suspects(all) => break all,
                Next::Try(candidate, left) => {
                    steps += 1;
                    self.teller.step(steps, left, &candidate);
                    self.history.visit(&candidate)?;
                    let judged = self.test(&candidate)?;
                    let answer = judged.kind.answer(self.policy);
                    self.teller.judged(&candidate, &judged, answer);
                    self.history.mark(&candidate.id, answer)?;
                    self.log.mark(&Mark { candidate, judged: Some(judged), answer });
                    self.teller.log(&self.log)?;
                }
            }
        };
        self.log.found(&suspects);
        self.teller.log(&self.log)?;
        Ok(Found { suspects, steps })
    }

    fn test(&mut self, candidate: &Candidate) -> Result<Judged, BisectError> {
        self.tester.test(candidate).map_err(|stopped| match stopped {
            Stopped::Interrupted(signal) => BisectError::Interrupted(signal),
            Stopped::Failed(source) => BisectError::Test { title: candidate.title.clone(), source },
        })
    }

    /// Tests the bad end first: if it does not boot, other candidates that do not boot are bad, too.
    fn check_ends(&mut self) -> Result<(), BisectError> {
        let [good, bad] = self.history.ends();
        for (candidate, said) in [(bad, Answer::Bad), (good, Answer::Good)] {
            self.teller.end(&candidate, said);
            self.history.visit(&candidate)?;
            let judged = self.test(&candidate)?;
            let policy = match said {
                Answer::Bad => Policy { no_boot: self.policy.no_boot.or(Some(Answer::Bad)), ..self.policy },
                Answer::Good | Answer::Skip => self.policy,
            };
            let answer = judged.kind.answer(policy);
            self.teller.judged(&candidate, &judged, answer);
            if answer != said {
                return Err(BisectError::End { title: candidate.title, said: said.name(), judged });
            }
            if said == Answer::Bad {
                let no_boot = if judged.kind == Kind::NotBooted { Answer::Bad } else { Answer::Skip };
                self.policy.no_boot = self.policy.no_boot.or(Some(no_boot));
            }
            self.log.end(&Mark { candidate, judged: Some(judged), answer });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Bisection, Stopped, Teller, Tester};
    use crate::regress::bisect::list::Kernels;
    use crate::regress::bisect::log::{Log, Mark, Writer};
    use crate::regress::bisect::{Answer, BisectError, Candidate, Found, History, Judged, Kind, Policy};
    use std::path::PathBuf;

    /// Candidates of the given kinds, and the recorded progress; `stop` interrupts before that step.
    struct World {
        kinds: Vec<Kind>,
        told: Vec<String>,
        stop: Option<usize>,
        log: String,
    }

    struct Tests<'a>(&'a [Kind], Option<usize>);

    impl Tester for Tests<'_> {
        fn test(&mut self, candidate: &Candidate) -> Result<Judged, Stopped> {
            let (number, _) = candidate.id[1..].split_once('-').expect("a number");
            let kind = self.0[number.parse::<usize>().expect("a number")];
            match &mut self.1 {
                Some(0) => return Err(Stopped::Interrupted(2)),
                Some(left) => *left -= 1,
                None => {}
            }
            Ok(Judged { kind, why: "so".to_owned() })
        }
    }

    #[derive(Default)]
    struct Told(Vec<String>, String);

    impl Teller for Told {
        fn as_before(&mut self, mark: &Mark) {
            let why = mark.judged.as_ref().map(|judged| judged.why.as_str());
            assert_eq!((why, &mark.candidate.title), (Some("so"), &mark.candidate.id));
            self.0.push(format!("{} as before", mark.candidate.id));
        }
        fn end(&mut self, candidate: &Candidate, said: Answer) {
            self.0.push(format!("{} {}", said.name(), candidate.id));
        }
        fn step(&mut self, _: u32, _: u32, candidate: &Candidate) {
            self.0.push(candidate.id.clone());
        }
        fn judged(&mut self, _: &Candidate, judged: &Judged, answer: Answer) {
            self.0.push(format!("{}: {}", judged.kind.name(), answer.name()));
        }
        fn log(&mut self, log: &Writer) -> Result<(), BisectError> {
            self.1.clone_from(&log.text);
            Ok(())
        }
    }

    impl World {
        fn new(kinds: &[Kind]) -> Self {
            Self { kinds: kinds.to_vec(), told: Vec::new(), stop: None, log: String::new() }
        }

        fn run(&mut self, before: &Log) -> Result<Found, BisectError> {
            let paths: Vec<PathBuf> = (0..self.kinds.len()).map(|number| format!("k{number}-x").into()).collect();
            let mut kernels = Kernels::new(&paths, None, None)?;
            let log = Writer::new("bootling", &kernels.ends(), &[]);
            let (mut tests, mut progress) = (Tests(&self.kinds, self.stop), Told::default());
            let policy = Policy { no_boot: None, flaky: Answer::Bad };
            let bisection = Bisection {
                history: &mut kernels,
                tester: &mut tests,
                teller: &mut progress,
                policy,
                checks: true,
                log,
            };
            let found = bisection.run(before);
            (self.told, self.log) = (progress.0, progress.1);
            found
        }
    }

    fn ids(found: &Found) -> Vec<&str> {
        found.suspects.iter().map(|candidate| candidate.id.as_str()).collect()
    }

    #[test]
    fn each_kind_of_candidate_gets_the_right_answer() {
        use Kind::{Bad, Flaky, Good, NotBooted, NotBuilt};
        let cases: [(&[Kind], &[&str]); 5] = [
            (&[Good, Good, Good, Bad, Bad], &["k3-x"]),
            (&[Good, Good, NotBuilt, Bad, Bad], &["k2-x", "k3-x"]),
            (&[Good, Flaky, Bad, Flaky, Bad], &["k1-x"]),
            // A candidate that does not boot has another fault, unless the bad end does not boot either.
            (&[Good, NotBooted, NotBooted, Bad, Bad], &["k1-x", "k2-x", "k3-x"]),
            (&[Good, Good, NotBooted, NotBooted, NotBooted], &["k2-x"]),
        ];
        for (kinds, suspects) in cases {
            let mut world = World::new(kinds);
            let found = world.run(&Log::default()).expect("found");
            assert_eq!(ids(&found), suspects, "{kinds:?}: {:?}", world.told);
            assert!(Log::read(&world.log).is_some_and(|log| log.done && log.checked));
        }
    }

    #[test]
    fn wrong_ends_stop_the_bisection() {
        use Kind::{Bad, Good, NotBooted, NotBuilt};
        for kinds in [[Good, Good], [Bad, Bad], [NotBuilt, Bad], [Good, NotBuilt], [NotBooted, Bad], [NotBooted; 2]] {
            let error = World::new(&kinds).run(&Log::default()).expect_err("an end is wrong").to_string();
            assert!(error.contains("is expected to be"), "{kinds:?}: {error}");
        }
    }

    #[test]
    fn an_interrupted_bisection_resumes_and_finds_the_same() {
        let kinds: Vec<Kind> = (0..40).map(|number| if number < 23 { Kind::Good } else { Kind::Bad }).collect();
        let mut world = World::new(&kinds);
        let whole = (world.run(&Log::default()).expect("found"), std::mem::take(&mut world.log));
        world.stop = Some(4);
        assert!(matches!(world.run(&Log::default()), Err(BisectError::Interrupted(2))));
        let before = Log::read(&world.log).expect("a log");
        assert!(before.checked && before.marks.len() == 2, "{before:?}");
        world.stop = None;
        let found = world.run(&before).expect("found");
        // The log is identical to an uninterrupted one, and earlier answers are reported.
        assert_eq!((found, &world.log), (whole.0, &whole.1));
        assert_eq!(world.told[..4], ["k39-x as before", "k0-x as before", "k19-x as before", "k29-x as before"]);
        assert!(!world.told.iter().any(|line| line.starts_with("bad k")), "{:?}", world.told);
    }
}
