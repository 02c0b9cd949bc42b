//! Verification of a console message about the guest's end. Kernels end with such a message (panic, halt), but any
//! program with access to `/dev/kmsg` can print the same line.
//!
//! A kernel that panics resets the machine immediately, because of `panic=-1`, unless the guest has changed that. If
//! neither a reset nor a message of pid 1 follows, the vCPUs are sampled: one that executes a program, or that waits
//! for an interrupt, belongs to a kernel that still runs. The panicking processor does neither: it loops in the kernel,
//! and the others are halted with interrupts off (`kernel/panic.c`, `panic`; `arch/x86/kernel/process.c`,
//! `stop_this_cpu`). A message that is discarded by mistake costs little: the last message of a panic, and a reset
//! without a message, are treated as a panic all the same.

use std::time::{Duration, Instant};

use crate::guest::hang::registers::{self, Cpu};

/// Time for a reset before the first sample; number of samples without a sign of life that confirm the end; interval
/// between two samples. A guest that copies data in the kernel executes a program in a tenth of the samples.
const FIRST: Duration = Duration::from_secs(1);
const SAMPLES: u32 = 30;
const SAMPLE_INTERVAL: Duration = Duration::from_millis(100);
/// Time limit for a reply of QEMU, which counts as a sample.
const PATIENCE: Duration = Duration::from_secs(1);
/// Minimum delay after which channel data was certainly sent after the message, and not only read after it.
const LATER: Duration = Duration::from_secs(3);

/// A message about the guest's end that is not confirmed yet.
#[derive(Debug, Default)]
pub(super) struct LastWords {
    /// Time at which it was read; `None`: there is none.
    since: Option<Instant>,
    /// Time of the next step.
    pub(super) due: Option<Instant>,
    /// ID of the QMP command that reads the registers.
    command: Option<u64>,
    samples: u32,
}

/// Next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Wait.
    Wait,
    /// Read the registers.
    Sample,
    /// The guest has ended.
    End,
}

impl LastWords {
    /// Notes a message about the guest's end.
    pub(super) fn note(&mut self, now: Instant) {
        if self.since.is_none() {
            *self = Self { since: Some(now), due: Some(now + FIRST), ..Self::default() };
        }
    }

    /// Returns the next step, if it is due.
    pub(super) fn step(&mut self, now: Instant) -> Step {
        if self.due.is_none_or(|due| now < due) {
            return Step::Wait;
        }
        if self.command.take().is_some() {
            // No reply: the machine may be about to end.
            self.samples += 1;
        }
        self.due = Some(now + PATIENCE);
        if self.samples < SAMPLES { Step::Sample } else { Step::End }
    }

    /// Notes the ID of the command that reads the registers.
    pub(super) fn note_command(&mut self, command: u64) {
        self.command = Some(command);
    }

    /// Handles the reply to a command. Returns true if it shows that the guest still runs.
    pub(super) fn refutes(&mut self, command: u64, registers: &str, now: Instant) -> bool {
        if self.command != Some(command) {
            return false;
        }
        self.command = None;
        self.samples += 1;
        self.due = Some(now + SAMPLE_INTERVAL);
        registers::read(registers).iter().any(Cpu::is_alive)
    }

    /// Handles channel data: a kernel that has ended runs no processes. Returns true if the guest still runs. Data that
    /// was sent before the end arrives within a moment, unless bootling delayed reading it, the last time at
    /// `congested`.
    pub(super) fn is_refuted_by_data(&mut self, congested: Option<Instant>, now: Instant) -> bool {
        let Some(since) = self.since else { return false };
        let is_past = |when: Instant| now.saturating_duration_since(when) >= LATER;
        if is_past(since) && congested.is_none_or(is_past) {
            return true;
        }
        if self.samples == 0 {
            self.due = Some(now + LATER);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, FIRST, Instant, LATER, LastWords, PATIENCE, SAMPLE_INTERVAL, SAMPLES, Step};

    const LOOPS: &str = "CPU#0\nRIP=ffffffff81c2ab9b RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=0";
    const SLEEPS: &str = "CPU#0\nRIP=ffffffff81c2ab9b RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1";

    #[test]
    fn only_samples_without_a_sign_of_life_confirm_the_end() {
        let mut now = Instant::now();
        let mut words = LastWords::default();
        assert_eq!(words.step(now), Step::Wait);
        words.note(now);
        assert_eq!(words.step(now), Step::Wait);
        now += FIRST;
        for command in 1..=u64::from(SAMPLES) {
            assert_eq!(words.step(now), Step::Sample, "{command}");
            words.note_command(command);
            assert!(!words.refutes(command - 1, SLEEPS, now), "the reply to another command");
            // Replies to other commands are ignored.
            if command % 2 == 0 {
                assert!(!words.refutes(command, LOOPS, now));
                now += SAMPLE_INTERVAL;
            } else {
                now += PATIENCE;
            }
        }
        assert_eq!(words.step(now), Step::End);
        words.note_command(99);
        assert!(words.refutes(99, SLEEPS, now));
    }

    #[test]
    fn only_data_that_was_sent_later_refutes_them() {
        let start = Instant::now();
        let mut words = LastWords::default();
        assert!(!words.is_refuted_by_data(None, start));
        words.note(start);
        let at = |ms: u64| start + Duration::from_millis(ms);
        assert!(!words.is_refuted_by_data(None, at(500)));
        // The end is not confirmed while data arrives.
        assert_eq!(words.step(start + FIRST), Step::Wait);
        assert!(!words.is_refuted_by_data(Some(at(1000)), start + LATER));
        assert!(words.is_refuted_by_data(Some(at(0)), start + LATER));
    }
}
