//! Time limits of a session.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Phase, Session};
use crate::guest::transcript::{Event, Limit};
use crate::qemu::qmp;

impl Session<'_> {
    /// Returns the time until the next limit expires.
    pub(super) fn next_limit(&self) -> Option<Duration> {
        let boot = self.settings.boot_timeout.filter(|_| self.phase == Phase::Booting);
        let limits =
            [boot, self.settings.timeout].into_iter().flatten().filter_map(|limit| self.start.checked_add(limit));
        let next = limits
            .chain(self.grace)
            .chain(self.overtime.map(|overtime| overtime.until))
            .chain(self.last_words.due)
            .chain(self.alarm.due())
            .chain(self.next_screen_read())
            .chain(self.next_idle_check())
            .min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    pub(super) fn check_limits(&mut self) {
        if self.is_over() {
            return;
        }
        if self.overtime.is_some_and(|overtime| Instant::now() >= overtime.until) {
            self.phase = Phase::Over;
            return;
        }
        let elapsed = self.start.elapsed();
        let boot =
            self.settings.boot_timeout.filter(|_| self.phase == Phase::Booting).map(|limit| (Limit::Boot, limit));
        let total = self.settings.timeout.map(|limit| (Limit::Total, limit));
        if let Some((limit, after)) = [boot, total].into_iter().flatten().find(|(_, after)| elapsed >= *after) {
            self.end(Event::TimedOut { limit, after });
        } else if let Some(what) = self.alarm.check(&self.health, &self.settings.rules, Instant::now()) {
            self.end(Event::FailedOn(what));
        } else if self.grace.is_some_and(|end| Instant::now() >= end) {
            self.phase = Phase::Over;
        } else {
            self.read_screen_if_due();
            self.check_idle();
            self.verify_last_words();
        }
    }

    /// Time of the next check for inactivity.
    fn next_idle_check(&self) -> Option<Instant> {
        Some(self.idle.next_check(self.settings.idle_timeout?, self.start))
    }

    fn check_idle(&mut self) {
        let Some(limit) = self.settings.idle_timeout else { return };
        let is_held_up = self.out.is_full() || self.err.is_full() || self.guest.state.is_some();
        if self.idle.is_over(limit, self.start, self.guest.pid(), is_held_up) {
            self.end(Event::TimedOut { limit: Limit::Idle, after: limit });
        }
    }

    /// Queries the threads whose processor time is counted.
    pub(super) fn query_threads(&mut self) {
        let is_limited = self.settings.idle_timeout.is_some();
        self.threads_command = is_limited.then(|| self.guest.qmp.execute("query-cpus-fast", &json!({})));
    }

    /// Handles the reply to [`Session::query_threads`].
    pub(super) fn handle_threads(&mut self, id: u64, cpus: &Value) {
        if self.threads_command == Some(id) {
            self.idle.thread = qmp::vcpu_thread_id(cpus);
        }
    }
}
