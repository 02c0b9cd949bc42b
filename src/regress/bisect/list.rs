//! Bisection over a list of kernels, sorted by version; needs no repository.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::candidate::{Candidate, Next, Step};
use super::error::BisectError;
use super::log::quoted;
use super::version;
use crate::format::guest_text::one_line;
use crate::guest::verdict::BisectAnswer;

/// A sorted list and the state of its bisection.
#[derive(Debug, Clone)]
pub struct Kernels {
    all: Vec<Candidate>,
    good: usize,
    bad: usize,
    skipped: BTreeSet<usize>,
    /// Log of the search.
    pub(super) log: String,
}

impl Kernels {
    /// Sorts the kernels. The ends are the first and the last kernel, unless they are given by path, file name or
    /// version.
    pub fn new(paths: &[PathBuf], good: Option<&str>, bad: Option<&str>) -> Result<Self, BisectError> {
        let mut sorted: Vec<(String, &PathBuf)> =
            paths.iter().map(|path| (version::from_file_name(path), path)).collect();
        sorted.sort_by(|one, other| version::compare(&one.0, &other.0).then_with(|| one.1.cmp(other.1)));
        sorted.dedup();
        let candidate = |(_, path): &(String, &PathBuf)| Candidate {
            id: path.to_string_lossy().into_owned(),
            title: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        };
        let all: Vec<Candidate> = sorted.iter().map(candidate).collect();
        let position = |name: Option<&str>, default: usize| {
            let Some(name) = name else { return Ok(default) };
            let matches = |at: &usize| all[*at].id == name || all[*at].title == name || sorted[*at].0 == name;
            (0..all.len()).find(matches).ok_or_else(|| not_in_list(name))
        };
        let (good, bad) = (position(good, 0)?, position(bad, all.len().saturating_sub(1))?);
        if good == bad || all.is_empty() {
            return Err(BisectError::List("at least two kernels are required, a good one and a bad one".to_owned()));
        }
        if good > bad {
            return Err(BisectError::List(format!(
                "the good kernel {} is newer than the bad kernel {}",
                all[good].title, all[bad].title
            )));
        }
        let log = format!("bootling bisect start {} {}\n", quoted(&all[bad].id), quoted(&all[good].id));
        Ok(Self { all, good, bad, skipped: BTreeSet::new(), log })
    }

    /// Returns the good end and the bad end.
    pub(super) fn ends(&self) -> [Candidate; 2] {
        [self.all[self.good].clone(), self.all[self.bad].clone()]
    }

    /// Starts the search after the steps of a resumed bisection.
    pub(super) fn start(&mut self, steps: &[Step]) -> Result<Next, BisectError> {
        let mut next = self.next();
        for step in steps {
            next = self.record(&step.candidate.id, step.answer)?;
        }
        Ok(next)
    }

    /// Records an answer.
    pub(super) fn record(&mut self, id: &str, answer: BisectAnswer) -> Result<Next, BisectError> {
        let at = self.all.iter().position(|candidate| candidate.id == id).ok_or_else(|| not_in_list(id))?;
        match answer {
            BisectAnswer::Good => self.good = self.good.max(at),
            BisectAnswer::Bad => self.bad = self.bad.min(at),
            BisectAnswer::Skip => drop(self.skipped.insert(at)),
        }
        if self.good >= self.bad {
            return Err(BisectError::List(format!("{id} is {}, which contradicts earlier answers", answer.name())));
        }
        self.log.extend(["bootling bisect ", answer.name(), " ", &quoted(id), "\n"]);
        Ok(self.next())
    }

    fn next(&mut self) -> Next {
        let middle = self.good.midpoint(self.bad);
        let between = self.good + 1..self.bad;
        let left: Vec<usize> = between.filter(|at| !self.skipped.contains(at)).collect();
        if let Some(at) = left.iter().min_by_key(|at| at.abs_diff(middle)) {
            return Next::Test(self.all[*at].clone(), left.len().ilog2());
        }
        let suspects = self.all[self.good + 1..=self.bad].to_vec();
        let kind = if suspects.len() == 1 { "first bad" } else { "possible first bad" };
        self.log.extend(suspects.iter().map(|suspect| format!("# {kind} kernel: {}\n", one_line(&suspect.id))));
        Next::Found(suspects)
    }
}

fn not_in_list(name: &str) -> BisectError {
    BisectError::List(format!("{name}: not in the list"))
}

#[cfg(test)]
mod tests {
    use super::Kernels;
    use crate::regress::bisect::{BisectAnswer, Next};
    use proptest::prelude::{ProptestConfig, prop_assert, proptest};
    use std::collections::BTreeSet;
    use std::path::PathBuf;

    fn kernels(count: usize) -> Kernels {
        let paths: Vec<PathBuf> =
            (0..count).rev().map(|number| format!("/k/linux_6.{number}-1_amd64.deb").into()).collect();
        Kernels::new(&paths, None, None).expect("a list")
    }

    fn number(title: &str) -> usize {
        let digits: String =
            title.chars().skip_while(|letter| *letter != '.').skip(1).take_while(char::is_ascii_digit).collect();
        digits.parse().expect("a number")
    }

    #[test]
    fn ends_can_be_given_in_several_ways_and_are_in_version_order() {
        let paths: Vec<PathBuf> = ["b/l_6.10-1_x.deb", "a/l_6.9-1_x.deb", "l_6.2-1_x.deb"].map(PathBuf::from).into();
        let ends = |good, bad| Kernels::new(&paths, good, bad).map(|kernels| kernels.ends().map(|end| end.id));
        assert_eq!(ends(None, None).expect("a list"), ["l_6.2-1_x.deb", "b/l_6.10-1_x.deb"]);
        assert_eq!(ends(Some("6.9-1"), None).expect("a list")[0], "a/l_6.9-1_x.deb");
        assert_eq!(ends(None, Some("l_6.9-1_x.deb")).expect("a list")[1], "a/l_6.9-1_x.deb");
        for (good, bad) in [(Some("6.10-1"), Some("6.9-1")), (Some("6.3"), None), (Some("6.9-1"), Some("6.9-1"))] {
            assert!(ends(good, bad).is_err(), "{good:?} {bad:?}");
        }
        assert!(Kernels::new(&paths[..1], None, None).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn the_first_bad_kernel_is_always_among_the_suspects(count in 2_usize..60, at in 1_usize..1000, skips: BTreeSet<u8>) {
            let first = 1 + at % (count - 1);
            let mut kernels = kernels(count);
            let (mut steps, mut next) = (0, kernels.start(&[]).expect("no error"));
            let suspects = loop {
                match next {
                    Next::Test(candidate, _) => {
                        let number = number(&candidate.title);
                        let skip = u8::try_from(number).is_ok_and(|number| skips.contains(&number));
                        let answer = if number >= first { BisectAnswer::Bad } else { BisectAnswer::Good };
                        let answer = if skip { BisectAnswer::Skip } else { answer };
                        next = kernels.record(&candidate.id, answer).expect("in order");
                        steps += 1;
                    }
                    Next::Found(suspects) => break suspects,
                }
            };
            prop_assert!(suspects.iter().any(|candidate| number(&candidate.title) == first));
            if skips.is_empty() {
                prop_assert!(suspects.len() == 1 && steps <= count.ilog2() + 1, "{steps} steps for {count}");
            }
        }
    }
}
