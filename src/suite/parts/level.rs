//! One level of nested TAP: its plan, and what was told so far.

use std::collections::VecDeque;

use super::line::Told;
use super::{DETAIL, LINES, PARTS, Part, bounded};
use crate::suite::report::PartResult;

/// How many parts there are on all levels, and what became of those that are too many.
#[derive(Debug, Default)]
pub struct Kept {
    /// All that were told.
    pub parts: usize,
    failed: usize,
}

/// A level that is open.
#[derive(Debug)]
pub struct Level {
    /// What its lines begin with.
    pub prefix: String,
    /// Whether it began with `KTAP`: its results have numbers.
    pub kernels: bool,
    /// What it is called, where somebody said so before its result.
    pub name: Option<String>,
    /// What was told, its inner levels' parts among them.
    pub parts: Vec<Part>,
    /// How many results were told here.
    pub told: u64,
    /// Whether the last result failed without a word: remarks behind it are its own.
    pub waits_for_remarks: bool,
    planned: Option<u64>,
    /// Whether nothing more is to be expected: it said why.
    excused: bool,
}

/// A part about the plan itself.
pub fn plan(result: PartResult, detail: &str) -> Part {
    Part { name: "plan".to_owned(), result, detail: detail.to_owned() }
}

impl Kept {
    /// Counts a part; `None` where there are too many to keep it.
    fn keep(&mut self, part: Part) -> Option<Part> {
        self.parts += 1;
        if self.parts <= PARTS {
            return Some(part);
        }
        self.failed += usize::from(!part.result.is_good());
        None
    }

    /// One part for all that were too many.
    pub fn rest(&self) -> Option<Part> {
        let more = self.parts.checked_sub(PARTS).filter(|more| *more > 0)?;
        let result = if self.failed > 0 { PartResult::Failed } else { PartResult::Passed };
        Some(Part { name: format!("{more} more"), result, detail: format!("{} of them failed", self.failed) })
    }
}

impl Level {
    /// One that has just begun.
    pub fn new(prefix: &str, kernels: bool, name: Option<String>) -> Self {
        Self {
            prefix: prefix.to_owned(),
            kernels,
            name,
            parts: Vec::new(),
            told: 0,
            waits_for_remarks: false,
            planned: None,
            excused: false,
        }
    }

    /// Its plan. Only the first one counts.
    pub fn plan(&mut self, count: u64, reason: &str, kept: &mut Kept) {
        if self.planned.is_some() {
            return;
        }
        self.planned = Some(count);
        if count == 0 {
            let reason = bounded(without_skip(reason), DETAIL);
            self.parts.extend(kept.keep(plan(PartResult::Skipped, &reason)));
        }
    }

    /// A result, with the parts that it is the result of and the remarks that stood before it.
    pub fn result(&mut self, told: &Told<'_>, children: Vec<Part>, remarks: VecDeque<String>, kept: &mut Kept) {
        self.told = self.told.saturating_add(1);
        let mut own = told.part(self.told);
        let failed = own.result == PartResult::Failed;
        if failed && !remarks.is_empty() {
            let lines = remarks.into_iter().chain(std::iter::once(std::mem::take(&mut own.detail)));
            own.detail = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
            self.waits_for_remarks = false;
        } else {
            self.waits_for_remarks = failed;
        }
        // kselftest's ksft_exit_skip() tells one nameless skip for all that was planned.
        self.excused = own.result == PartResult::Skipped && told.name.is_empty();
        let told_by_children = match own.result {
            PartResult::Passed => !children.is_empty(),
            PartResult::Failed | PartResult::Missing => children.iter().any(|child| !child.result.is_good()),
            result @ (PartResult::Skipped | PartResult::Todo) => children.iter().any(|child| child.result == result),
        };
        let name = own.name.clone();
        self.parts.extend(children.into_iter().map(|child| within(&name, child)));
        if told_by_children {
            self.waits_for_remarks = false;
        } else {
            self.parts.extend(kept.keep(own));
        }
    }

    /// The test gave up.
    pub fn bail_out(&mut self, reason: &str, kept: &mut Kept) {
        self.excused = true;
        self.waits_for_remarks = false;
        let detail = bounded(reason, DETAIL);
        self.parts.extend(kept.keep(Part { name: "Bail out!".to_owned(), result: PartResult::Failed, detail }));
    }

    /// One more line about the last result, where that failed.
    pub fn detail(&mut self, text: &str) {
        let Some(part) = self.parts.last_mut().filter(|part| part.result == PartResult::Failed) else { return };
        if part.detail.lines().count() < LINES {
            let line = bounded(text, DETAIL);
            let separator = if part.detail.is_empty() || line.is_empty() { "" } else { "\n" };
            part.detail.push_str(separator);
            part.detail.push_str(&line);
        }
    }

    /// What its plan and its results say of each other.
    fn judged(&mut self, needs_plan: bool, kept: &mut Kept) {
        let told = self.told;
        let (result, detail) = match self.planned {
            None if needs_plan && !self.excused => (PartResult::Missing, format!("no plan, {told} told")),
            Some(planned) if told < planned && !self.excused => {
                (PartResult::Missing, format!("{planned} planned, {told} told"))
            }
            Some(planned) if told > planned => (PartResult::Failed, format!("{planned} planned, {told} told")),
            None | Some(_) => return,
        };
        self.parts.extend(kept.keep(plan(result, &detail)));
    }

    /// Its parts, where its own result has been told. That may stand for a plan: `KUnit` does not know how many
    /// parameters a test has.
    pub fn vouched(mut self, result: PartResult, kept: &mut Kept) -> Vec<Part> {
        self.excused |= result == PartResult::Skipped;
        self.judged(false, kept);
        let known = result == PartResult::Todo;
        for part in self.parts.iter_mut().filter(|part| known && !part.result.is_good()) {
            part.result = PartResult::Todo;
        }
        self.parts
    }

    /// Its parts, where nobody told its result.
    pub fn orphaned(mut self, kept: &mut Kept) -> Vec<Part> {
        self.judged(false, kept);
        match self.name {
            Some(name) => self.parts.into_iter().map(|part| within(&name, part)).collect(),
            None => self.parts,
        }
    }

    /// Its parts, where nothing is around it.
    pub fn outermost(mut self, kept: &mut Kept) -> Vec<Part> {
        self.judged(true, kept);
        self.parts
    }
}

/// The reason behind `SKIP` or `Skipped:`, which a plan of nothing may have or not.
fn without_skip(reason: &str) -> &str {
    let end = reason.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(reason.len());
    let is_skip = reason[..end].get(..4).is_some_and(|start| start.eq_ignore_ascii_case("skip"));
    if is_skip { reason[end..].trim_start_matches(':').trim() } else { reason }
}

/// A part of `name`.
fn within(name: &str, part: Part) -> Part {
    Part { name: format!("{name} > {}", part.name), ..part }
}
