//! Options for kernel health, and the health findings on standard error.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use clap::{Args, ValueEnum};

use super::typed::TypedIds;
use bootling::guest::health::{Finding, HealthSpec, Kind, Policy};
use bootling::guest::verdict::Outcome;

/// Maximum number of log lines shown for a finding.
const LINES: usize = 30;
/// Maximum number of findings shown; `--json` has all.
const FINDINGS: usize = 10;

/// Health options.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Health")]
pub(crate) struct HealthArgs {
    /// Effect of problems that the kernel reports (panic, oops, BUG, WARNING, sanitizers, lockdep, RCU stall, lockup,
    /// hung task, OOM kill, new taint): `fail` (exit with 121 even if the command succeeds), `warn` (report them;
    /// default) or `ignore`. For a bundle, the recorded setting applies unless this option is on the command line.
    #[arg(long, value_enum, value_name = "WHAT", env = "BOOTLING_HEALTH")]
    pub health: Option<PolicyArg>,
    /// Ignore findings with a line that matches this regular expression. May be repeated.
    #[arg(long, value_name = "RE")]
    pub health_allow: Vec<String>,
    /// With --health=fail, also fail for this kind of finding, which is otherwise only reported: `leaked` (processes
    /// that the command left behind; they are killed). May be repeated.
    #[arg(long, value_name = "KIND")]
    pub health_deny: Vec<Kind>,
    /// End the run with 121 as soon as the kernel reports this kind of finding on its console, such as `soft-lockup`,
    /// `hung-task`, `rcu-stall`, `warning` or `oops`, regardless of --health. May be repeated.
    #[arg(long, value_name = "KIND")]
    pub(crate) fail_on: Vec<Kind>,
}

/// `--health`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PolicyArg {
    /// Fail
    Fail,
    /// Report it
    Warn,
    /// Ignore it
    Ignore,
}

impl PolicyArg {
    /// Returns the corresponding policy.
    pub(crate) const fn policy(self) -> Policy {
        match self {
            Self::Fail => Policy::Fail,
            Self::Warn => Policy::Warn,
            Self::Ignore => Policy::Ignore,
        }
    }
}

impl HealthArgs {
    /// Returns the health specification.
    pub(crate) fn spec(&self) -> HealthSpec {
        let policy = self.health.map_or_else(Policy::default, PolicyArg::policy);
        HealthSpec {
            policy,
            allow: self.health_allow.clone(),
            deny: self.health_deny.clone(),
            fail_on: self.fail_on.clone(),
        }
    }

    /// Returns `recorded` with these options applied; the policy only if it is on the command line.
    pub(crate) fn on_top_of(&self, recorded: HealthSpec, typed: &TypedIds) -> HealthSpec {
        let typed = self.health.filter(|_| typed.has("health"));
        HealthSpec {
            policy: typed.map_or(recorded.policy, PolicyArg::policy),
            allow: [recorded.allow, self.health_allow.clone()].concat(),
            deny: [recorded.deny, self.health_deny.clone()].concat(),
            fail_on: [recorded.fail_on, self.fail_on.clone()].concat(),
        }
    }
}

/// Formats one line per finding, and the finding's log lines if `verbose` or if it failed the run. Omits a finding that
/// the verdict already reports (a panic).
pub(crate) fn format_findings(outcome: &Outcome, findings: &[Finding], verbose: bool) -> String {
    let is_reported = |finding: &&Finding| match outcome {
        Outcome::Panic { .. } => finding.kind != Kind::Panic,
        _ => true,
    };
    let bold = Style::new().bold().fg_color(Some(AnsiColor::Yellow.into()));
    let dim = Style::new().dimmed();
    let mut text = String::new();
    let reported: Vec<&Finding> = findings.iter().filter(is_reported).collect();
    for finding in reported.iter().take(FINDINGS) {
        let decided = match outcome {
            Outcome::Unhealthy { what, .. } => *what == finding.to_string(),
            Outcome::KernelCrashed { what, .. } => *what == finding.title,
            _ => false,
        };
        // Writing to a String cannot fail. The verdict already reports the finding that failed the run.
        if !decided {
            let _ = writeln!(text, "{bold}bootling: {finding}{bold:#}");
        }
        if verbose || decided {
            for line in finding.lines.iter().take(LINES) {
                let _ = writeln!(text, "{dim}  | {line}{dim:#}");
            }
            if let Some(more @ 1..) = finding.lines.len().checked_sub(LINES) {
                let _ = writeln!(text, "{dim}  | ({more} more lines; --json has them){dim:#}");
            }
        }
    }
    if let Some(more @ 1..) = reported.len().checked_sub(FINDINGS) {
        let _ = writeln!(text, "{bold}bootling: and {more} more findings; --json has them{bold:#}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::format_findings;
    use bootling::guest::health::{Finding, Kind};
    use bootling::guest::verdict::Outcome;

    fn finding(kind: Kind, title: &str) -> Finding {
        Finding { kind, title: title.to_owned(), lines: vec!["cut here".to_owned(), title.to_owned()], at: None }
    }

    #[test]
    fn the_deciding_finding_is_shown_with_its_lines_and_others_in_one_line() {
        let findings = [finding(Kind::Warning, "WARNING: a"), finding(Kind::Leaked, "sleep (12)")];
        let reported = format_findings(&Outcome::Exited { status: 0 }, &findings, false);
        let plain = anstream::adapter::strip_str(&reported).to_string();
        assert_eq!(
            plain,
            "bootling: the kernel warned: WARNING: a\nbootling: the command left processes behind: sleep (12)\n"
        );
        let unhealthy = Outcome::Unhealthy { what: findings[0].to_string(), early: false };
        let reported = format_findings(&unhealthy, &findings, false);
        let plain = anstream::adapter::strip_str(&reported).to_string();
        assert_eq!(plain, "  | cut here\n  | WARNING: a\nbootling: the command left processes behind: sleep (12)\n");
        let panic = [finding(Kind::Panic, "Kernel panic - not syncing: x")];
        assert_eq!(format_findings(&Outcome::Panic { line: String::new() }, &panic, true), "");
        let many = vec![finding(Kind::Warning, "WARNING: a"); 12];
        let reported = format_findings(&Outcome::Exited { status: 1 }, &many, false);
        assert!(reported.contains("and 2 more findings"), "{reported}");
    }
}
