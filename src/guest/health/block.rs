//! A report being collected: decides which lines after its first line belong to it.

use super::line::Line;
use super::title::{is_oops_header, killed};
use super::{Finding, Kind, LINES};

/// Maximum number of lines examined for the end of one report, including lines that are not kept.
const MAX_EXAMINED: usize = 1000;
/// Maximum number of lines before the call trace that belong to the report although they are not recognized.
const PREAMBLE: usize = 200;
/// Limit of consecutive unrecognized lines before the call trace, for reports that end at such lines.
const DOUBTFUL: usize = 3;

/// End condition of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// A line `---[ end ...`; in an oops, a second register dump follows.
    Marker,
    /// A line of `=`.
    Rule,
    /// The first unrecognized line after the call trace.
    Trace,
    /// The first unrecognized line, unless a call trace follows shortly.
    Unrecognized,
    /// The line that names the killed process.
    Killed,
}

/// Classification of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// Part of the report, which may continue.
    Part,
    /// Last line of the report.
    Last,
    /// Not part of the report, which is complete.
    Other,
}

/// A report being collected.
#[derive(Debug, Clone)]
pub(super) struct Block {
    finding: Finding,
    end: End,
    /// Number of lines examined.
    seen: usize,
    /// True after the start of the call trace.
    traced: bool,
    /// True after the end marker.
    marked: bool,
    /// Unrecognized lines: part of the report if a recognized line follows.
    doubtful: Vec<String>,
}

impl Block {
    /// Starts a report at its title; `before` holds the preceding lines that belong to it.
    pub(super) fn new(kind: Kind, title: &Line, before: Vec<String>) -> Self {
        let is_cut = before.first().is_some_and(|line| is_cut(line));
        let is_ruled = before.first().is_some_and(|line| is_rule(line));
        let end = match kind {
            Kind::Panic | Kind::Oops | Kind::Bug | Kind::Warning => End::Marker,
            Kind::Kasan | Kind::Kmsan | Kind::Kfence | Kind::Kcsan | Kind::Ubsan if is_ruled => End::Rule,
            Kind::Ubsan if is_cut => End::Marker,
            Kind::OutOfMemory => End::Killed,
            Kind::HardLockup
            | Kind::SoftLockup
            | Kind::RcuStall
            | Kind::HungTask
            | Kind::Lockdep
            | Kind::Kasan
            | Kind::Kmsan
            | Kind::Kfence
            | Kind::Kcsan
            | Kind::Ubsan => End::Trace,
            Kind::OtherBug | Kind::Taint | Kind::Unkillable | Kind::Leaked => End::Unrecognized,
        };
        let mut lines = before;
        lines.push(title.text.clone());
        let finding = Finding { kind, title: title.text.trim().to_owned(), lines, at: title.at };
        Self { finding, end, seen: 0, traced: false, marked: false, doubtful: Vec::new() }
    }

    /// Kind of the report.
    pub(super) fn kind(&self) -> Kind {
        self.finding.kind
    }

    /// Returns true if the title is the whole report.
    pub(super) fn is_whole(&self) -> bool {
        self.end == End::Killed && killed(&self.finding.title)
    }

    /// Returns true if a line that could start a new report is part of this one.
    pub(super) fn includes(&self, kind: Kind, text: &str) -> bool {
        match (self.finding.kind, kind) {
            // The header of the fault that the title names, or of a BUG() (`ud2`).
            (Kind::Oops | Kind::Bug, Kind::Oops) => is_oops_header(text) && !self.marked,
            (Kind::OutOfMemory, Kind::OutOfMemory) => killed(text),
            _ => false,
        }
    }

    /// Classifies the next line and adds it if it belongs to the report.
    pub(super) fn take(&mut self, line: &Line) -> Taken {
        let text = line.text.as_str();
        self.seen += 1;
        let taken = self.judge(text);
        let is_doubtful = self.end == End::Unrecognized && !self.traced && !belongs(text);
        if taken == Taken::Part && is_doubtful {
            self.doubtful.push(text.to_owned());
        } else if taken != Taken::Other {
            for line in std::mem::take(&mut self.doubtful) {
                self.keep(&line);
            }
            self.keep(text);
        }
        if self.seen >= MAX_EXAMINED && taken == Taken::Part { Taken::Last } else { taken }
    }

    fn judge(&mut self, text: &str) -> Taken {
        let begins_trace = text.starts_with("Call Trace:") || text.starts_with("Call trace:");
        self.traced |= begins_trace;
        match self.end {
            End::Marker if self.marked => {
                let more = self.finding.kind != Kind::Panic && is_register(text);
                if more { Taken::Part } else { Taken::Other }
            }
            End::Marker if text.starts_with("---[ end ") => {
                self.marked = true;
                // Only a fault repeats its registers.
                if matches!(self.finding.kind, Kind::Oops | Kind::Bug) { Taken::Part } else { Taken::Last }
            }
            End::Rule if is_rule(text) => Taken::Last,
            End::Killed if killed(text) => {
                text.trim().clone_into(&mut self.finding.title);
                Taken::Last
            }
            End::Trace if !self.traced && self.seen <= PREAMBLE => Taken::Part,
            End::Unrecognized if !self.traced && self.doubtful.len() < DOUBTFUL => Taken::Part,
            End::Trace | End::Unrecognized if !belongs(text) => Taken::Other,
            End::Marker | End::Rule | End::Killed | End::Trace | End::Unrecognized => Taken::Part,
        }
    }

    fn keep(&mut self, text: &str) {
        if self.finding.lines.len() < LINES {
            self.finding.lines.push(text.to_owned());
        } else if self.end == End::Killed || text.starts_with("---[ end ") {
            // The end of a long report is more useful than its middle.
            self.finding.lines.pop();
            self.finding.lines.push(text.to_owned());
        }
    }

    /// Returns the finding.
    pub(super) fn finish(mut self) -> Finding {
        // Trailing blank lines are not part of the report.
        while self.finding.lines.last().is_some_and(|line| line.trim().is_empty()) {
            self.finding.lines.pop();
        }
        self.finding
    }
}

/// `------------[ cut here ]------------`
pub(super) fn is_cut(text: &str) -> bool {
    text.starts_with("---") && text.contains("[ cut here ]")
}

/// A line of at least 20 `=` characters.
pub(super) fn is_rule(text: &str) -> bool {
    text.len() >= 20 && text.bytes().all(|byte| byte == b'=')
}

/// Prefixes of register lines, and of the notes after an oops.
const REGISTERS: [&str; 24] = [
    "RIP:", "Code:", "RSP:", "RAX:", "RBX:", "RCX:", "RDX:", "RSI:", "RDI:", "RBP:", "R08:", "R10:", "R11:", "R13:",
    "FS:", "GS:", "CS:", "CR2:", "CR3:", "DR0:", "DR3:", "PKRU:", "note: ", "EFLAGS:",
];

fn is_register(text: &str) -> bool {
    REGISTERS.iter().any(|words| text.starts_with(words))
}

/// Prefixes of other report lines that are not indented.
const PARTS: [&str; 64] = [
    "CPU: ",
    "Tainted: ",
    "Not tainted",
    "Hardware name: ",
    "Workqueue: ",
    "Comm: ",
    "Modules linked in:",
    "Unloaded tainted",
    "Call Trace:",
    "Call trace:",
    "<",
    "Stack:",
    "task:",
    "rcu: ",
    "(t=",
    "(detected by",
    "Sending NMI",
    "NMI backtrace",
    "stack backtrace:",
    "Last ",
    "irq event stamp:",
    "hardirqs last",
    "softirqs last",
    "Preemption disabled at:",
    "in_atomic():",
    "preempt_count",
    "RCU nest depth:",
    "INFO: lockdep is turned off",
    "Showing all locks",
    "Showing busy workqueues",
    "workqueue ",
    "---[ end ",
    "---",
    "Freed by task",
    "Allocated by task",
    "Freed in ",
    "Allocated in ",
    "INFO: 0x",
    "INFO: Slab",
    "INFO: Object",
    "INFO: Freed",
    "INFO: Allocated",
    "Slab 0x",
    "Object ",
    "Redzone ",
    "Padding ",
    "Bytes b4",
    "FIX ",
    "page:",
    "page dumped",
    "flags:",
    "raw:",
    "head:",
    "anon flags:",
    "owner",
    "lock",
    "no locks held",
    "ORIG_RAX:",
    "pcp_",
    "\"echo 0",
    "Future hung task",
    "[<",
    "#",
    "Exception stack",
];

/// Returns true if a line looks like part of a report.
fn belongs(text: &str) -> bool {
    text.is_empty()
        || text.starts_with(' ')
        || is_register(text)
        || PARTS.iter().any(|words| text.starts_with(words))
        || (text.starts_with("INFO: task ") && text.contains(" blocked on "))
        || text.contains(" locks held by ")
        || text.contains(" lock held by ")
}
