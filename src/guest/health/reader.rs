//! Extracts reports from a kernel log, line by line, in bounded memory.
//!
//! Lines of several CPUs may be interleaved. They are separated by their caller field if the kernel prints one.
//! Otherwise a report may contain lines of another, and a second report that starts inside the first ends it.

use super::block::{Block, Taken, is_cut, is_rule};
use super::line::{Caller, Line};
use super::title::kind;
use super::{FINDINGS, Finding, Kind};

/// Maximum number of findings kept with the same title (numbers aside).
const REPEATS: usize = 4;
/// Maximum number of callers tracked at the same time.
const MAX_CALLERS: usize = 8;
/// Maximum number of lines between `cut here`, or a line of `=`, and a report's title: the message of a `WARN()`.
const OPENING: usize = 8;
/// Level of a report's first line (`KERN_WARNING`): less severe lines start no report.
const WARNING: u8 = 4;

/// Incremental log reader.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    callers: Vec<CallerState>,
    found: Vec<Finding>,
    more: usize,
}

/// State of one caller (a task or a CPU).
#[derive(Debug, Default)]
struct CallerState {
    caller: Option<Caller>,
    /// Lines that may belong to a report whose title has not been seen yet.
    opening: Vec<String>,
    block: Option<Block>,
}

impl Reader {
    /// Processes the next line.
    pub(crate) fn push(&mut self, line: &Line) {
        let mut caller_state = self.caller_state(line.caller);
        for finding in caller_state.process(line).into_iter().flatten() {
            self.keep(finding);
        }
        self.callers.push(caller_state);
    }

    /// Number of findings of these kinds so far.
    pub(crate) fn count(&self, kinds: &[Kind]) -> usize {
        let open = self.callers.iter().filter_map(|caller_state| Some(caller_state.block.as_ref()?.kind()));
        self.found.iter().map(|finding| finding.kind).chain(open).filter(|kind| kinds.contains(kind)).count()
    }

    /// Returns the findings so far, including incomplete ones.
    pub(crate) fn so_far(&self) -> Vec<Finding> {
        let open = self.callers.iter().filter_map(|caller_state| Some(caller_state.block.clone()?.finish()));
        self.found.iter().cloned().chain(open).collect()
    }

    /// Returns the findings in the order of their timestamps, and the number of findings that were not kept.
    pub(crate) fn finish(mut self) -> (Vec<Finding>, usize) {
        for caller_state in std::mem::take(&mut self.callers) {
            if let Some(block) = caller_state.block {
                self.keep(block.finish());
            }
        }
        // Reports are complete when they end; sort them by their start.
        self.found.sort_by(|a, b| a.at.partial_cmp(&b.at).unwrap_or(std::cmp::Ordering::Equal));
        (self.found, self.more)
    }

    /// Removes and returns the state of the given caller.
    fn caller_state(&mut self, caller: Option<Caller>) -> CallerState {
        if let Some(at) = self.callers.iter().position(|caller_state| caller_state.caller == caller) {
            return self.callers.remove(at);
        }
        if self.callers.len() >= MAX_CALLERS {
            // Drop the caller that has been silent for the longest time; its report is complete.
            let oldest = self.callers.remove(0);
            if let Some(block) = oldest.block {
                self.keep(block.finish());
            }
        }
        CallerState { caller, ..CallerState::default() }
    }

    fn keep(&mut self, finding: Finding) {
        // A report that repeats forever must not displace others.
        let is_the_same = |other: &&Finding| other.kind == finding.kind && same_words(&other.title, &finding.title);
        let before = self.found.iter().filter(is_the_same).count();
        if self.found.len() < FINDINGS && before < REPEATS {
            self.found.push(finding);
        } else {
            self.more += 1;
        }
    }
}

/// Returns true if two titles differ only in their numbers: CPUs, processes, times.
fn same_words(one: &str, other: &str) -> bool {
    let words = |text: &str| text.bytes().filter(|byte| !byte.is_ascii_digit()).collect::<Vec<_>>();
    words(one) == words(other)
}

impl CallerState {
    /// Processes a line. Returns the completed reports: one that the line ends, and one that consists of the line.
    fn process(&mut self, line: &Line) -> [Option<Finding>; 2] {
        let is_cut_before = self.opening.first().is_some_and(|first| is_cut(first));
        let title = match line.level {
            Some(level) if level > WARNING => None,
            Some(_) | None => kind(&line.text, is_cut_before),
        };
        if let Some(block) = &mut self.block {
            let begins = is_cut(&line.text) || title.is_some_and(|kind| !block.includes(kind, &line.text));
            let taken = if begins { Taken::Other } else { block.take(line) };
            match taken {
                Taken::Part => return [None, None],
                Taken::Last => return [self.block.take().map(Block::finish), None],
                Taken::Other => {}
            }
        }
        let over = self.block.take().map(Block::finish);
        if let Some(kind) = title {
            let block = Block::new(kind, line, std::mem::take(&mut self.opening));
            if block.is_whole() {
                return [over, Some(block.finish())];
            }
            self.block = Some(block);
        } else if is_cut(&line.text) || is_rule(&line.text) {
            self.opening = vec![line.text.clone()];
        } else if !self.opening.is_empty() {
            if self.opening.len() < OPENING {
                self.opening.push(line.text.clone());
            } else {
                self.opening.clear();
            }
        }
        [over, None]
    }
}
