//! Health data of one session: combines pid 1's report and the console.
//!
//! pid 1 reads the log from the kernel, so its report is exact and complete: if it arrives in full, the console is
//! ignored. If it does not (a panic, a hang) or records were lost, the console fills the gap. On the console, writes of
//! programs to `/dev/kmsg` are indistinguishable from kernel messages.

use super::line::Line;
use super::{Finding, Kind, LINE_BYTES, Reader, taint};
use crate::format::protocol::frame::Lost;

/// Maximum number of processes listed per kind.
const PROCESSES: usize = 64;
/// Tolerance between two timestamps of the same record, in seconds, for rounding.
const SAME: f64 = 1e-5;

/// Collects health data.
#[derive(Debug, Default)]
pub struct Log {
    records: Reader,
    console: Reader,
    /// Incomplete last line of the console.
    line: Vec<u8>,
    /// True if the kernel prints timestamps on the console.
    stamped: bool,
    lost: Vec<Lost>,
    left: Vec<(u32, String)>,
    unkillable: Vec<(u32, String)>,
}

/// Result of a session's health data.
#[derive(Debug, Default, PartialEq)]
pub struct HealthSummary {
    /// Reported problems.
    pub findings: Vec<Finding>,
    /// Notes to the user: lost records, findings that were not kept.
    pub(crate) notes: Vec<String>,
}

impl Log {
    /// Findings on the console so far.
    pub(super) fn live(&self) -> &Reader {
        &self.console
    }

    /// Adds log records from pid 1.
    pub fn take_records(&mut self, lost: Lost, records: &[u8]) {
        if lost != Lost::Nothing && !self.lost.contains(&lost) {
            self.lost.push(lost);
        }
        for line in records.split(|byte| *byte == b'\n').filter_map(Line::of_record).flatten() {
            self.records.push(&line);
        }
    }

    /// Adds a process that was left behind. If it survived SIGKILL, the lines after its name are its kernel stack.
    pub fn take_left(&mut self, pid: u32, lives: bool, name: &[u8]) {
        let list = if lives { &mut self.unkillable } else { &mut self.left };
        if list.len() < PROCESSES {
            list.push((pid, String::from_utf8_lossy(name).into_owned()));
        }
    }

    /// Adds console output.
    pub fn take_console(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' => self.end_line(),
                // A prompt, or an endless line: keep only its start.
                _ if self.line.len() < 2 * LINE_BYTES => self.line.push(*byte),
                _ => {}
            }
        }
    }

    fn end_line(&mut self) {
        let line = Line::of_console(&self.line);
        self.line.clear();
        self.stamped |= line.at.is_some();
        // If the kernel prints timestamps, a line without one was written by a program.
        if line.at.is_some() || !self.stamped {
            self.console.push(&line);
        }
    }

    /// Returns the result. `taint` is the taint before and after the command, from the end of pid 1's report; `None` if
    /// the report did not arrive.
    pub fn finish(mut self, taint: Option<(u64, u64)>) -> HealthSummary {
        if !self.line.is_empty() {
            self.end_line();
        }
        let (mut findings, mut more) = self.records.finish();
        let is_whole = taint.is_some() && self.lost.is_empty();
        if !is_whole {
            let (seen, unseen) = self.console.finish();
            more += unseen;
            let known = |finding: &Finding| {
                let is_same = |other: &Finding| match (finding.at, other.at) {
                    (Some(a), Some(b)) => (a - b).abs() < SAME,
                    (None, _) | (_, None) => true,
                };
                findings.iter().any(|other| other.title == finding.title && is_same(other))
            };
            let new: Vec<Finding> = seen.into_iter().filter(|finding| !known(finding)).collect();
            findings.extend(new);
        }
        if let Some((before, after)) = taint {
            findings.extend(taint::gained(before, after, &findings));
        }
        let lives = |pid: u32| self.unkillable.iter().any(|(other, _)| *other == pid);
        self.left.retain(|(pid, _)| !lives(*pid));
        findings.extend(processes(Kind::Unkillable, &self.unkillable));
        findings.extend(processes(Kind::Leaked, &self.left));
        let mut notes: Vec<String> = self.lost.iter().filter_map(|lost| loss_note(*lost)).map(str::to_owned).collect();
        if more > 0 {
            notes.push(format!("{more} more health findings in the kernel log were not kept"));
        }
        HealthSummary { findings, notes }
    }
}

/// Combines processes of one kind into a finding.
fn processes(kind: Kind, processes: &[(u32, String)]) -> Option<Finding> {
    let lines = processes.iter().flat_map(|(pid, text)| {
        let mut lines = text.lines();
        let name = format!("{} ({pid})", super::line::plain(lines.next().unwrap_or_default().as_bytes()));
        let stack = lines.map(|line| format!("  {}", super::line::plain(line.as_bytes())));
        std::iter::once(name).chain(stack).collect::<Vec<_>>()
    });
    let lines: Vec<String> = lines.take(super::LINES).collect();
    let names: Vec<&str> = lines.iter().map(String::as_str).filter(|line| !line.starts_with(' ')).collect();
    let title = match names.len() {
        0..=8 => names.join(", "),
        count => format!("{}, and {} more", names[..8].join(", "), count - 8),
    };
    (!processes.is_empty()).then_some(Finding { kind, title, lines, at: None })
}

/// Note about missing records.
fn loss_note(lost: Lost) -> Option<&'static str> {
    match lost {
        Lost::Nothing => None,
        Lost::Overwritten => {
            Some("the kernel log was overwritten before it was read: findings come from the rest and from the console")
        }
        Lost::TooMany => Some("the kernel log has too many reports: findings come from the first of them"),
        Lost::Unreadable => Some("the kernel log is not readable in this guest: findings come from the console"),
    }
}
