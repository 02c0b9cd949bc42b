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
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    /// Effect of findings.
    pub(crate) policy: Policy,
    /// Findings with a matching line are not reported.
    pub(crate) allow: Vec<Regex>,
    /// Kinds that fail a run although they normally do not.
    pub(crate) deny: Vec<Kind>,
    /// Kinds that fail a run under any policy, and end it.
    pub(crate) fail_on: Vec<Kind>,
}

impl HealthSpec {
    /// Compiles the patterns.
    pub(crate) fn rules(&self) -> Result<Rules, HealthError> {
        let read =
            |pattern: &String| Regex::new(pattern).map_err(|source| HealthError { pattern: pattern.clone(), source });
        let allow = self.allow.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Rules { policy: self.policy, allow, deny: self.deny.clone(), fail_on: self.fail_on.clone() })
    }
}

impl Rules {
    /// Returns true if the finding is reported.
    pub(crate) fn is_reported(&self, finding: &Finding) -> bool {
        (self.policy != Policy::Ignore || self.fail_on.contains(&finding.kind)) && !self.is_allowed(finding)
    }

    fn is_allowed(&self, finding: &Finding) -> bool {
        let mut lines = finding.lines.iter().chain([&finding.title]);
        lines.any(|line| self.allow.iter().any(|pattern| pattern.is_match(line)))
    }

    /// Returns true if the finding ends a run.
    pub(crate) fn ends(&self, finding: &Finding) -> bool {
        self.fail_on.contains(&finding.kind) && !self.is_allowed(finding) && finding.is_from_kernel()
    }

    /// Returns true if the finding fails a run whose command succeeded.
    pub(crate) fn fails(&self, finding: &Finding) -> bool {
        let counts = finding.kind.is_failure() || self.deny.contains(&finding.kind);
        let is_fatal = self.policy == Policy::Fail && counts || self.fail_on.contains(&finding.kind);
        is_fatal && self.is_reported(finding)
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
    fn a_single_line_without_a_time_stamp_is_not_attributed_to_the_kernel() {
        assert!(Finding { at: Some(1.0), ..finding(Kind::Warning, &["WARNING: x"]) }.is_from_kernel());
        assert!(finding(Kind::Warning, &["WARNING: x", "Call Trace:", " f+0x1/0x2"]).is_from_kernel());
        assert!(!finding(Kind::Warning, &["WARNING: x"]).is_from_kernel());
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
        let fatal = HealthSpec { policy: Policy::Ignore, fail_on: vec![Kind::Warning], ..HealthSpec::default() };
        assert_eq!(is(&fatal, &warning), (true, true));
        let broken = HealthSpec { allow: vec!["(".to_owned()], ..fail };
        assert_eq!(broken.rules().expect_err("invalid").to_string(), "invalid health pattern \"(\"");
    }
}
