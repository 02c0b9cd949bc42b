//! Which findings are told, and which of them fail a run.

use regex::Regex;

use super::{Finding, HealthSpec, Policy};

/// A pattern that is none.
#[derive(Debug, thiserror::Error)]
#[error("reading the health pattern {pattern:?}")]
pub struct HealthError {
    /// It.
    pub pattern: String,
    /// What is wrong with it.
    #[source]
    pub source: regex::Error,
}

/// A [`HealthSpec`], ready to be held against findings.
#[derive(Debug)]
pub struct Rules {
    spec: HealthSpec,
    allow: Vec<Regex>,
}

impl HealthSpec {
    /// Reads the patterns.
    pub fn rules(&self) -> Result<Rules, HealthError> {
        let read =
            |pattern: &String| Regex::new(pattern).map_err(|source| HealthError { pattern: pattern.clone(), source });
        Ok(Rules { spec: self.clone(), allow: self.allow.iter().map(read).collect::<Result<_, _>>()? })
    }
}

impl Rules {
    /// Whether it is spoken of at all.
    pub fn tells(&self, finding: &Finding) -> bool {
        let allowed = || {
            let mut lines = finding.lines.iter().chain([&finding.title]);
            lines.any(|line| self.allow.iter().any(|pattern| pattern.is_match(line)))
        };
        self.spec.policy != Policy::Ignore && !allowed()
    }

    /// Whether it fails a run whose command has succeeded.
    pub fn fails(&self, finding: &Finding) -> bool {
        let counts = finding.kind.is_failure() || self.spec.deny.contains(&finding.kind);
        self.spec.policy == Policy::Fail && counts && self.tells(finding)
    }
}

#[cfg(test)]
mod tests {
    use crate::guest::health::{Finding, HealthSpec, Kind, Policy};

    fn finding(kind: Kind, lines: &[&str]) -> Finding {
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        Finding { kind, title: "WARNING: x".to_owned(), lines, at: None }
    }

    #[test]
    fn what_a_pattern_allows_is_not_told_and_what_is_left_behind_fails_only_where_it_is_denied() {
        let warning = finding(Kind::Warning, &["cut here", " my_driver_probe+0x1/0x2 [mine]"]);
        let left = finding(Kind::Leaked, &["sleep (12)"]);
        let is = |spec: &HealthSpec, finding: &Finding| {
            let rules = spec.rules().expect("patterns");
            (rules.tells(finding), rules.fails(finding))
        };
        let fail = HealthSpec { policy: Policy::Fail, ..HealthSpec::default() };
        assert_eq!(is(&HealthSpec::default(), &warning), (true, false));
        assert_eq!(is(&fail, &warning), (true, true));
        assert_eq!(is(&fail, &left), (true, false));
        assert_eq!(is(&HealthSpec { deny: vec![Kind::Leaked], ..fail.clone() }, &left), (true, true));
        for pattern in ["my_driver", "^WARNING: x$"] {
            let allowing = HealthSpec { allow: vec![pattern.to_owned()], ..fail.clone() };
            assert_eq!(is(&allowing, &warning), (false, false), "{pattern}");
        }
        assert_eq!(is(&HealthSpec { policy: Policy::Ignore, ..fail.clone() }, &warning), (false, false));
        let broken = HealthSpec { allow: vec!["(".to_owned()], ..fail };
        assert_eq!(broken.rules().expect_err("it is none").to_string(), "reading the health pattern \"(\"");
    }
}
