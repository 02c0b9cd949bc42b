//! What is known of a guest's health in one conversation: pid 1's report and the console, put together.
//!
//! pid 1 reads the log from the kernel itself, so what it tells is exact, and all there is: where it has come to the end of its
//! report the console is not asked. Where it has not (a panic, a hang) or records were lost, the console fills in; there,
//! programs that write to `/dev/kmsg` cannot be told from the kernel.

use super::line::Line;
use super::{Finding, Kind, LINE_BYTES, Reader, taint};
use crate::format::protocol::frame::Lost;

/// Processes that are named.
const PROCESSES: usize = 64;
/// Two timestamps of one record, as its sources round them.
const SAME: f64 = 1e-5;

/// Takes in what is said.
#[derive(Debug, Default)]
pub struct Log {
    records: Reader,
    console: Reader,
    /// The console's line that has not ended yet.
    line: Vec<u8>,
    /// Whether the kernel puts timestamps before what it says there.
    stamped: bool,
    lost: Vec<Lost>,
    left: Vec<(u32, String)>,
    unkillable: Vec<(u32, String)>,
}

/// What has come of it.
#[derive(Debug, Default, PartialEq)]
pub struct Told {
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What is worth a line to the user: records that were lost, findings that were not kept.
    pub notes: Vec<String>,
}

impl Log {
    /// Takes records of the log from pid 1.
    pub fn take_records(&mut self, lost: Lost, records: &[u8]) {
        if lost != Lost::Nothing && !self.lost.contains(&lost) {
            self.lost.push(lost);
        }
        for line in records.split(|byte| *byte == b'\n').filter_map(Line::of_record).flatten() {
            self.records.push(&line);
        }
    }

    /// Takes a process that was left behind; if it lives although it was killed, the lines behind its name say where it is.
    pub fn take_left(&mut self, pid: u32, lives: bool, name: &[u8]) {
        let list = if lives { &mut self.unkillable } else { &mut self.left };
        if list.len() < PROCESSES {
            list.push((pid, String::from_utf8_lossy(name).into_owned()));
        }
    }

    /// Takes what the console says next.
    pub fn take_console(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' => self.end_line(),
                // A prompt, or a line that grows for ever: its start is enough.
                _ if self.line.len() < 2 * LINE_BYTES => self.line.push(*byte),
                _ => {}
            }
        }
    }

    fn end_line(&mut self) {
        let line = Line::of_console(&self.line);
        self.line.clear();
        self.stamped |= line.at.is_some();
        // What has no timestamp where the kernel gives them was written by somebody else.
        if line.at.is_some() || !self.stamped {
            self.console.push(&line);
        }
    }

    /// What is known now. `taint` is that before and after the command, which only pid 1 tells, at the end of its report; without
    /// it there was none.
    pub fn finish(mut self, taint: Option<(u64, u64)>) -> Told {
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
        let mut notes: Vec<String> = self.lost.iter().filter_map(|lost| about(*lost)).map(str::to_owned).collect();
        if more > 0 {
            notes.push(format!("the kernel's log has {more} more findings about its health than are kept"));
        }
        Told { findings, notes }
    }
}

/// Processes of one kind as a finding.
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

/// What is to be said of records that are missing.
fn about(lost: Lost) -> Option<&'static str> {
    match lost {
        Lost::Nothing => None,
        Lost::Overwritten => Some(
            "the kernel's log was overwritten before it could be read: its health is judged by what was left and by the console",
        ),
        Lost::TooMany => Some("the kernel complains without end: its health is judged by the start of that"),
        Lost::Unreadable => Some("the kernel's log cannot be read in this guest: its health is judged by the console"),
    }
}
