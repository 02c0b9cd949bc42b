//! Cuts reports out of a kernel's log, line by line, in bounded memory.
//!
//! Lines of several CPUs may be mixed. Where the kernel says who speaks they are told apart; elsewhere a report may hold lines of
//! another, and a second one that begins in its midst ends the first.

use super::block::{Block, Taken, is_cut, is_rule};
use super::line::{Caller, Line};
use super::title::kind;
use super::{FINDINGS, Finding};

/// Findings kept that say the same.
const REPEATS: usize = 4;
/// Speakers that are followed at a time.
const SPEAKERS: usize = 8;
/// Lines that may stand between `cut here`, or a rule, and a report's title: a warning's own words.
const OPENING: usize = 8;
/// The least grave level (`KERN_WARNING`) that reports' first lines have.
const WARNING: u8 = 4;

/// Reads a log as it comes.
#[derive(Debug, Default)]
pub struct Reader {
    speakers: Vec<Speaker>,
    found: Vec<Finding>,
    more: usize,
}

/// What somebody is saying.
#[derive(Debug, Default)]
struct Speaker {
    caller: Option<Caller>,
    /// Lines that may belong to a report whose title has not come yet.
    opening: Vec<String>,
    block: Option<Block>,
}

impl Reader {
    /// Takes the next line.
    pub fn push(&mut self, line: &Line) {
        let mut speaker = self.speaker(line.caller);
        for finding in speaker.hear(line).into_iter().flatten() {
            self.keep(finding);
        }
        self.speakers.push(speaker);
    }

    /// What was found, in the order of the reports' ends; and how many more there were.
    pub fn finish(mut self) -> (Vec<Finding>, usize) {
        for speaker in std::mem::take(&mut self.speakers) {
            if let Some(block) = speaker.block {
                self.keep(block.finish());
            }
        }
        // Each report ends where it does: what began first is told first.
        self.found.sort_by(|a, b| a.at.partial_cmp(&b.at).unwrap_or(std::cmp::Ordering::Equal));
        (self.found, self.more)
    }

    /// Who said the line, taken out of the list.
    fn speaker(&mut self, caller: Option<Caller>) -> Speaker {
        if let Some(at) = self.speakers.iter().position(|speaker| speaker.caller == caller) {
            return self.speakers.remove(at);
        }
        if self.speakers.len() >= SPEAKERS {
            // Who has been silent for longest.
            let oldest = self.speakers.remove(0);
            if let Some(block) = oldest.block {
                self.keep(block.finish());
            }
        }
        Speaker { caller, ..Speaker::default() }
    }

    fn keep(&mut self, finding: Finding) {
        // One that repeats itself for ever hides no other.
        let is_the_same = |other: &&Finding| other.kind == finding.kind && same_words(&other.title, &finding.title);
        let before = self.found.iter().filter(is_the_same).count();
        if self.found.len() < FINDINGS && before < REPEATS {
            self.found.push(finding);
        } else {
            self.more += 1;
        }
    }
}

/// Whether two titles differ in their numbers alone: processors, processes, times.
fn same_words(one: &str, other: &str) -> bool {
    let words = |text: &str| text.bytes().filter(|byte| !byte.is_ascii_digit()).collect::<Vec<_>>();
    words(one) == words(other)
}

impl Speaker {
    /// Takes a line; gives the reports that are over with it: one that it ends, and one that it is all of.
    fn hear(&mut self, line: &Line) -> [Option<Finding>; 2] {
        let is_cut_before = self.opening.first().is_some_and(|first| is_cut(first));
        let title = match line.level {
            Some(level) if level > WARNING => None,
            Some(_) | None => kind(&line.text, is_cut_before),
        };
        if let Some(block) = &mut self.block {
            let begins = is_cut(&line.text) || title.is_some_and(|kind| !block.swallows(kind, &line.text));
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
