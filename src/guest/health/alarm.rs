//! Alarm that ends a run at a finding of a chosen kind (`--fail-on`).
//!
//! It reads the console, which shows a finding as it occurs; pid 1's report arrives only after the command.

use std::time::{Duration, Instant};

use super::{Log, Rules};

/// Time for the rest of a report after its first line.
const REST: Duration = Duration::from_secs(1);

/// Alarm of a session.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    /// Time of the next check.
    due: Option<Instant>,
    /// Number of findings of the chosen kinds at the last check.
    seen: usize,
}

impl Alarm {
    /// Time of the next check.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Notes new lines in the log.
    pub(crate) fn process(&mut self, log: &Log, rules: &Rules, now: Instant) {
        if !rules.fail_on.is_empty() && self.due.is_none() && log.live().count(&rules.fail_on) > self.seen {
            self.due = Some(now + REST);
        }
    }

    /// Returns the finding that ends the run, if a check is due.
    pub(crate) fn check(&mut self, log: &Log, rules: &Rules, now: Instant) -> Option<String> {
        if self.due.is_none_or(|due| now < due) {
            return None;
        }
        self.due = None;
        self.seen = log.live().count(&rules.fail_on);
        let found = log.live().so_far();
        found.iter().find(|finding| rules.ends(finding)).map(ToString::to_string)
    }
}

#[cfg(test)]
mod tests {
    use super::{Alarm, Instant, REST};
    use crate::guest::health::{HealthSpec, Kind, Log};

    #[test]
    fn a_finding_of_a_chosen_kind_ends_the_run_unless_it_is_allowed() {
        let console = include_bytes!("../../../tests/fixtures/health/soft.console");
        let line = || console.split_inclusive(|byte| *byte == b'\n');
        let title = "a guest CPU hit a soft lockup: watchdog: BUG: soft lockup - ";
        for (fail_on, allow, ends) in [
            (vec![Kind::SoftLockup], vec![], true),
            (vec![Kind::RcuStall], vec![], false),
            (vec![], vec![], false),
            (vec![Kind::SoftLockup], vec!["soft lockup".to_owned()], false),
        ] {
            let spec = HealthSpec { allow, fail_on, ..HealthSpec::default() };
            let rules = spec.rules().expect("patterns");
            let (mut log, mut alarm, mut now) = (Log::default(), Alarm::default(), Instant::now());
            for line in line() {
                log.take_console(line);
                alarm.process(&log, &rules, now);
                assert_eq!(alarm.check(&log, &rules, now), None);
            }
            assert_eq!(alarm.due().is_some(), !spec.fail_on.is_empty() && spec.fail_on != [Kind::RcuStall]);
            now += REST;
            let found = alarm.check(&log, &rules, now);
            assert_eq!(found.is_some_and(|found| found.starts_with(title)), ends, "{spec:?}");
            // The same findings do not ring again.
            alarm.process(&log, &rules, now);
            assert_eq!(alarm.due(), None);
        }
    }
}
