//! Detection of an idle guest (`--idle-timeout`).
//!
//! A guest is idle if, for the whole timeout, its console and its channel were silent in both directions, no reader
//! delayed its output, and QEMU's process used less than 3 % of one processor in every slice of that time without being
//! starved. If the host does not schedule QEMU, or is slow to read a kernel from its disk, the guest is not idle.
//! QEMU's processor time is mostly that of its vCPUs: a guest in `sleep 1000` uses less; a guest that computes, or
//! waits for a disk that QEMU's threads are reading, uses more. The time is read from `/proc`, which does not disturb
//! the guest.

use std::time::{Duration, Instant};

use crate::guest::qemu_process;

/// Minimum and maximum length of a slice. Processor time is counted in ticks of 10 ms: a slice is long enough for
/// several ticks.
const SLICES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// Percentage of a processor below which a slice is idle, and the minimum of that time.
const PERCENT: u32 = 3;
const NOTHING: Duration = Duration::from_millis(20);

/// Observed activity of a guest.
#[derive(Debug, Default)]
pub(super) struct Idle {
    /// Time of the last console output.
    pub(super) console: Option<Instant>,
    /// Time of the last channel activity in either direction.
    pub(super) channel: Option<Instant>,
    /// Time of the last activity of any kind, including processor time.
    progress: Option<Instant>,
    /// Start of the current slice, and QEMU's processor time at that point.
    slice: Option<(Instant, Option<Duration>)>,
    /// True if QEMU was runnable at the last check.
    was_runnable: bool,
    /// Thread of QEMU's process whose time is counted. The process may not be the started program.
    pub(super) thread: Option<u32>,
}

impl Idle {
    fn slice(limit: Duration) -> Duration {
        (limit / 4).clamp(SLICES.0, SLICES.1)
    }

    /// Returns the time of the next check.
    pub(super) fn next_check(&self, limit: Duration, start: Instant) -> Instant {
        self.slice.map_or(start, |(began, _)| began) + Self::slice(limit)
    }

    /// Checks for activity at the end of a slice. Returns true if the guest has been idle for too long. `process` is
    /// QEMU; `is_held_up`: the guest waits for bootling or for a reader of its output.
    pub(super) fn is_over(&mut self, limit: Duration, start: Instant, process: u32, is_held_up: bool) -> bool {
        let now = Instant::now();
        if now < self.next_check(limit, start) {
            return false;
        }
        let thread = self.thread.unwrap_or(process);
        let used = qemu_process::cpu_time(thread);
        let (began, before) = self.slice.unwrap_or((start, None));
        let spent = used.zip(before).map(|(used, before)| used.saturating_sub(before));
        let is_busy = is_busy(Self::slice(limit), now - began, spent);
        // A single occurrence may be a tick of the guest's clock; two in a row mean that QEMU is starved.
        let is_runnable = qemu_process::is_runnable(thread);
        let is_starved = std::mem::replace(&mut self.was_runnable, is_runnable) && is_runnable;
        if is_busy || is_held_up || is_starved {
            self.progress = Some(now);
        }
        self.slice = Some((now, used));
        let heard = [self.console, self.channel, self.progress];
        let last = heard.into_iter().flatten().max().unwrap_or(start);
        now.saturating_duration_since(last) >= limit
    }
}

/// Returns true if a slice shows progress: QEMU has used the processor time `spent` in the time `gone`. An unknown time
/// counts as progress, so that no guest is ended on a guess; so does a slice that was checked late, in which the whole
/// host may have been stalled.
fn is_busy(slice: Duration, gone: Duration, spent: Option<Duration>) -> bool {
    let nothing = (gone * PERCENT / 100).max(NOTHING);
    gone > 2 * slice || spent.is_none_or(|spent| spent >= nothing)
}

#[cfg(test)]
mod tests {
    use super::{Duration, is_busy};

    #[test]
    fn only_a_slice_checked_in_time_counts_as_idle() {
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
