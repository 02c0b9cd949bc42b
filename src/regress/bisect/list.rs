//! Bisection over a list of kernels, sorted by version; needs no repository.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{Answer, BisectError, Candidate, History, Next, version};

/// A sorted list and the state of its bisection.
#[derive(Debug, Clone)]
pub struct Kernels {
    all: Vec<Candidate>,
    good: usize,
    bad: usize,
    skipped: BTreeSet<usize>,
}

impl Kernels {
    /// Sorts the kernels. The ends are the first and the last kernel, unless they are given by path, file name or
    /// version.
    pub fn new(paths: &[PathBuf], good: Option<&str>, bad: Option<&str>) -> Result<Self, BisectError> {
        let mut sorted: Vec<(String, &PathBuf)> = paths.iter().map(|path| (version::of_file(path), path)).collect();
        sorted.sort_by(|one, other| version::compare(&one.0, &other.0).then_with(|| one.1.cmp(other.1)));
        sorted.dedup();
        let candidate = |(_, path): &(String, &PathBuf)| Candidate {
            id: path.to_string_lossy().into_owned(),
            title: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        };
        let all: Vec<Candidate> = sorted.iter().map(candidate).collect();
        let named = |name: Option<&str>, instead: usize| {
            let Some(name) = name else { return Ok(instead) };
            let is = |at: &usize| all[*at].id == name || all[*at].title == name || sorted[*at].0 == name;
            let found = (0..all.len()).find(is);
            found.ok_or_else(|| BisectError::List(format!("{name}: not in the list")))
        };
        let (good, bad) = (named(good, 0)?, named(bad, all.len().saturating_sub(1))?);
        if good == bad || all.is_empty() {
            return Err(BisectError::List("at least two kernels are required, a good one and a bad one".to_owned()));
        }
        if good > bad {
            return Err(BisectError::List(format!(
                "the good kernel {} is newer than the bad kernel {}",
                all[good].title, all[bad].title
            )));
        }
        Ok(Self { all, good, bad, skipped: BTreeSet::new() })
    }
}

impl History for Kernels {
    fn ends(&self) -> [Candidate; 2] {
        [self.all[self.good].clone(), self.all[self.bad].clone()]
    }

    fn visit(&mut self, _: &Candidate) -> Result<(), BisectError> {
        Ok(())
    }

    fn begin(&mut self) -> Result<(), BisectError> {
        Ok(())
    }

    fn next(&mut self) -> Result<Next, BisectError> {
        let middle = self.good.midpoint(self.bad);
        let between = self.good + 1..self.bad;
        let left: Vec<usize> = between.filter(|at| !self.skipped.contains(at)).collect();
        Ok(match left.iter().min_by_key(|at| at.abs_diff(middle)) {
            Some(at) => Next::Try(self.all[*at].clone(), left.len().ilog2()),
            None if self.bad - self.good == 1 => Next::Culprit(self.all[self.bad].clone()),
            None => Next::Suspects(self.all[self.good + 1..=self.bad].to_vec()),
        })
    }

    fn mark(&mut self, id: &str, answer: Answer) -> Result<(), BisectError> {
        let found = self.all.iter().position(|candidate| candidate.id == id);
        let at = found.ok_or_else(|| BisectError::List(format!("{id}: not in the list")))?;
        match answer {
            Answer::Good => self.good = self.good.max(at),
            Answer::Bad => self.bad = self.bad.min(at),
            Answer::Skip => drop(self.skipped.insert(at)),
        }
        if self.good >= self.bad {
            return Err(BisectError::List(format!("{id} is {}, which contradicts earlier answers", answer.name())));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Kernels;
    use crate::regress::bisect::{Answer, History, Next};
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
            let mut steps = 0;
            let named = loop {
                match kernels.next().expect("no error") {
                    Next::Try(candidate, _) => {
                        let number = number(&candidate.title);
                        let skip = u8::try_from(number).is_ok_and(|number| skips.contains(&number));
                        let answer = if number >= first { Answer::Bad } else { Answer::Good };
                        kernels.mark(&candidate.id, if skip { Answer::Skip } else { answer }).expect("in order");
                        steps += 1;
                    }
                    Next::Culprit(candidate) => break vec![candidate],
                    Next::Suspects(all) => break all,
                }
            };
            prop_assert!(named.iter().any(|candidate| number(&candidate.title) == first));
            if skips.is_empty() {
                prop_assert!(named.len() == 1 && steps <= count.ilog2() + 1, "{steps} steps for {count}");
            }
        }
    }
}
