//! A report in the making: which of the lines behind its first one are still part of it.

use super::line::Line;
use super::title::{is_oops_header, killed};
use super::{Finding, Kind, LINES};

/// Lines that are looked at for one report's end, kept or not.
const LOOKED_AT: usize = 1000;
/// Lines of a report that need not look like one, before its call trace has come.
const PREAMBLE: usize = 200;
/// Lines in a row that may look like nobody's before that, where such lines end a report.
const DOUBTFUL: usize = 3;

/// How a report ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// With `---[ end ...`; after that of an oops, registers are told once more.
    Marker,
    /// With a line of `=`.
    Rule,
    /// Some lines after its call trace: with the first that does not look like part of it.
    Trace,
    /// With the first line that does not look like part of it, unless the call trace is still to come soon after.
    Looks,
    /// With the line that says who was killed.
    Killed,
}

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It belongs to the report, which may go on.
    Part,
    /// It was the last of the report.
    Last,
    /// It does not belong to the report, which is over.
    Other,
}

/// A report in the making.
#[derive(Debug)]
pub(super) struct Block {
    finding: Finding,
    end: End,
    /// Lines seen.
    seen: usize,
    /// Its call trace has begun.
    traced: bool,
    /// Its end marker has come.
    marked: bool,
    /// Lines that are part of it if what follows them is.
    doubtful: Vec<String>,
}

impl Block {
    /// With its first line, and those that came before it and belong to it.
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
            Kind::OtherBug | Kind::Taint | Kind::Unkillable | Kind::Leaked => End::Looks,
        };
        let mut lines = before;
        lines.push(title.text.clone());
        let finding = Finding { kind, title: title.text.trim().to_owned(), lines, at: title.at };
        Self { finding, end, seen: 0, traced: false, marked: false, doubtful: Vec::new() }
    }

    /// Whether the first line is all of it.
    pub(super) fn is_whole(&self) -> bool {
        self.end == End::Killed && killed(&self.finding.title)
    }

    /// Whether a line that could begin a report of its own is part of this one.
    pub(super) fn swallows(&self, kind: Kind, text: &str) -> bool {
        match (self.finding.kind, kind) {
            // The header of the fault that the title has told, or that a BUG() is (`ud2`).
            (Kind::Oops | Kind::Bug, Kind::Oops) => is_oops_header(text) && !self.marked,
            (Kind::OutOfMemory, Kind::OutOfMemory) => killed(text),
            _ => false,
        }
    }

    /// Looks at the next line.
    pub(super) fn take(&mut self, line: &Line) -> Taken {
        let text = line.text.as_str();
        self.seen += 1;
        let taken = self.judge(text);
        let is_doubtful = self.end == End::Looks && !self.traced && !belongs(text);
        if taken == Taken::Part && is_doubtful {
            self.doubtful.push(text.to_owned());
        } else if taken != Taken::Other {
            for line in std::mem::take(&mut self.doubtful) {
                self.keep(&line);
            }
            self.keep(text);
        }
        if self.seen >= LOOKED_AT && taken == Taken::Part { Taken::Last } else { taken }
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
                // Only a fault's registers are told again.
                if matches!(self.finding.kind, Kind::Oops | Kind::Bug) { Taken::Part } else { Taken::Last }
            }
            End::Rule if is_rule(text) => Taken::Last,
            End::Killed if killed(text) => {
                text.trim().clone_into(&mut self.finding.title);
                Taken::Last
            }
            End::Trace if !self.traced && self.seen <= PREAMBLE => Taken::Part,
            End::Looks if !self.traced && self.doubtful.len() < DOUBTFUL => Taken::Part,
            End::Trace | End::Looks if !belongs(text) => Taken::Other,
            End::Marker | End::Rule | End::Killed | End::Trace | End::Looks => Taken::Part,
        }
    }

    fn keep(&mut self, text: &str) {
        if self.finding.lines.len() < LINES {
            self.finding.lines.push(text.to_owned());
        } else if self.end == End::Killed || text.starts_with("---[ end ") {
            // The end of a long report tells more than its middle.
            self.finding.lines.pop();
            self.finding.lines.push(text.to_owned());
        }
    }

    /// What has come of it.
    pub(super) fn finish(mut self) -> Finding {
        // Blank lines are not part of what they stand behind.
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

/// A line of nothing but `=`.
pub(super) fn is_rule(text: &str) -> bool {
    text.len() >= 20 && text.bytes().all(|byte| byte == b'=')
}

/// What registers, and the remarks behind an oops, begin with.
const REGISTERS: [&str; 24] = [
    "RIP:", "Code:", "RSP:", "RAX:", "RBX:", "RCX:", "RDX:", "RSI:", "RDI:", "RBP:", "R08:", "R10:", "R11:", "R13:",
    "FS:", "GS:", "CS:", "CR2:", "CR3:", "DR0:", "DR3:", "PKRU:", "note: ", "EFLAGS:",
];

fn is_register(text: &str) -> bool {
    REGISTERS.iter().any(|words| text.starts_with(words))
}

/// What the other lines of reports begin with, where they are not indented.
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

/// Whether a line looks like part of a report.
fn belongs(text: &str) -> bool {
    text.is_empty()
        || text.starts_with(' ')
        || is_register(text)
        || PARTS.iter().any(|words| text.starts_with(words))
        || (text.starts_with("INFO: task ") && text.contains(" blocked on "))
        || text.contains(" locks held by ")
        || text.contains(" lock held by ")
}
