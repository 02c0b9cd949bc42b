//! Whether anything goes on in a guest at all (`--idle-timeout`).
//!
//! It is idle where, for as long as that, its console and its channel were silent both ways, nobody was slow to take what it
//! says, and QEMU's process used less than 3 % of one processor in every slice of that time and did not want to: on a host
//! that gives it none, or is slow to read a kernel from its disk, that is no idleness of the guest's. QEMU's time is its vCPUs'
//! time for the most part: a guest that waits in `sleep 1000` uses less, one that computes or waits on a disk that QEMU's
//! threads are reading from uses more. It is read from `/proc`, and nothing in the guest is disturbed by that.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Session;
use crate::guest::hang::host;
use crate::guest::transcript::{Event, Limit};
use crate::qemu::qmp;

/// The number of the order that asks for the vCPUs' threads.
pub(super) const THREADS: u64 = u64::MAX - 1;
/// Time is counted in ticks of 10 ms: a slice is long enough that a few of them say something.
const SLICES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// A part of a processor that counts as nothing, in percent; and what is nothing in any case.
const PERCENT: u32 = 3;
const NOTHING: Duration = Duration::from_millis(20);

/// What was seen of a guest's progress.
#[derive(Debug, Default)]
pub(super) struct Idle {
    /// The console's last byte.
    pub(super) console: Option<Instant>,
    /// The channel's, either way.
    pub(super) channel: Option<Instant>,
    /// Anything at all, processor time among it.
    progress: Option<Instant>,
    /// When a slice began, and what QEMU had used by then.
    slice: Option<(Instant, Option<Duration>)>,
    /// Whether QEMU waited for the host when that was looked at.
    wanted: bool,
    /// A thread of QEMU's: it may not be the program that we have started.
    thread: Option<u32>,
}

impl Session<'_> {
    /// The order that tells whose time is to be counted.
    pub(super) fn asks_for_threads(&self) -> Option<Vec<u8>> {
        self.settings.idle_timeout.map(|_| qmp::order(THREADS, "query-cpus-fast", &json!({})))
    }

    pub(super) fn learn_threads(&mut self, cpus: &Value) {
        self.idle.thread = qmp::thread_of(cpus);
    }

    fn slice(limit: Duration) -> Duration {
        (limit / 4).clamp(SLICES.0, SLICES.1)
    }

    /// When to look again.
    pub(super) fn next_idle_look(&self) -> Option<Instant> {
        let limit = self.settings.idle_timeout?;
        Some(self.idle.slice.map_or(self.start, |(began, _)| began) + Self::slice(limit))
    }

    /// Looks, if a slice is over, and ends what has been idle for too long.
    pub(super) fn check_idle(&mut self) {
        let (Some(limit), Some(due)) = (self.settings.idle_timeout, self.next_idle_look()) else { return };
        let now = Instant::now();
        if now < due {
            return;
        }
        let thread = self.idle.thread.unwrap_or_else(|| self.guest.pid());
        let used = host::cpu_time(thread);
        let (began, before) = self.idle.slice.unwrap_or((self.start, None));
        let spent = used.zip(before).map(|(used, before)| used.saturating_sub(before));
        let is_busy = is_busy(Self::slice(limit), now - began, spent);
        let is_held_up = self.out.is_full() || self.err.is_full() || self.guest.state.is_some();
        // Once is a tick of the guest's clock; at one look after the other it has got nothing of what it wants.
        let wants = host::is_wanting(thread);
        let is_starved = std::mem::replace(&mut self.idle.wanted, wants) && wants;
        if is_busy || is_held_up || is_starved {
            self.idle.progress = Some(now);
        }
        self.idle.slice = Some((now, used));
        let heard = [self.idle.console, self.idle.channel, self.idle.progress];
        let last = heard.into_iter().flatten().max().unwrap_or(self.start);
        if now.saturating_duration_since(last) >= limit {
            self.end(Event::TimedOut { limit: Limit::Idle, after: limit });
        }
    }
}

/// Whether a slice shows progress: QEMU has used so much in the time that has gone by. What cannot be told counts as progress,
/// since nothing is ended on a guess; so does a slice that we came late to, in which the whole host may have stood still.
fn is_busy(slice: Duration, gone: Duration, spent: Option<Duration>) -> bool {
    let nothing = (gone * PERCENT / 100).max(NOTHING);
    gone > 2 * slice || spent.is_none_or(|spent| spent >= nothing)
}

#[cfg(test)]
mod tests {
    use super::{Duration, is_busy};

    #[test]
    fn only_a_slice_that_was_seen_whole_shows_that_nothing_happened() {
        let ms = Duration::from_millis;
        for (gone, spent, wanted) in [
            (ms(510), Some(ms(10)), false),
            (ms(510), Some(ms(20)), true),
            (ms(900), Some(ms(20)), false),
            (ms(900), Some(ms(30)), true),
            (ms(510), None, true),
            (ms(3000), Some(ms(10)), true),
        ] {
            assert_eq!(is_busy(ms(500), gone, spent), wanted, "{gone:?} {spent:?}");
        }
    }
}
