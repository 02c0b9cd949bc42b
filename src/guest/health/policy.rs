//! Health policy: which findings are reported, and which fail a run.

use regex::Regex;

use super::{Finding, HealthSpec, Kind, Policy};

/// An invalid pattern.
#[derive(Debug, thiserror::Error)]
#[error("invalid health pattern {pattern:?}")]
pub struct HealthError {
    /// The pattern.
    pub(crate) pattern: String,
    /// Parse error.
    #[source]
    pub(crate) source: regex::Error,
}

/// A [`HealthSpec`] with compiled patterns.
#[derive(Debug)]
pub(crate) struct Rules {
    /// Effect of findings.
    pub(crate) policy: Policy,
    /// Findings with a matching line are not reported.
    pub(crate) allow: Vec<Regex>,
    /// Kinds that fail a run although they normally do not.
    pub(crate) deny: Vec<Kind>,
}

impl HealthSpec {
    /// Compiles the patterns.
    pub(crate) fn rules(&self) -> Result<Rules, HealthError> {
        let read =
            |pattern: &String| Regex::new(pattern).map_err(|source| HealthError { pattern: pattern.clone(), source });
        let allow = self.allow.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Rules { policy: self.policy, allow, deny: self.deny.clone() })
    }
}

impl Rules {
    /// Returns true if the finding is reported.
    pub(crate) fn is_reported(&self, finding: &Finding) -> bool {
        let allowed = || {
            let mut lines = finding.lines.iter().chain([&finding.title]);
            lines.any(|line| self.allow.iter().any(|pattern| pattern.is_match(line)))
        };
        self.policy != Policy::Ignore && !allowed()
    }

    /// Returns true if the finding fails a run whose command succeeded.
    pub(crate) fn fails(&self, finding: &Finding) -> bool {
        let counts = finding.kind.is_failure() || self.deny.contains(&finding.kind);
        self.policy == Policy::Fail && counts && self.is_reported(finding)
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
    fn allowed_findings_are_not_reported_and_leaked_processes_fail_only_if_denied() {
        let warning = finding(Kind::Warning, &["cut here", " my_driver_probe+0x1/0x2 [mine]"]);
        let left = finding(Kind::Leaked, &["sleep (12)"]);
        let is = |spec: &HealthSpec, finding: &Finding| {
            let rules = spec.rules().expect("patterns");
            (rules.is_reported(finding), rules.fails(finding))
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
        assert_eq!(broken.rules().expect_err("invalid").to_string(), "invalid health pattern \"(\"");
    }
}
