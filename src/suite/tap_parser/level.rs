//! One level of nested TAP: its plan and the results so far.

use std::collections::VecDeque;

use super::line::Told;
use super::{DETAIL, LINES, PARTS, Part, bounded};
use crate::suite::report::PartResult;

/// Counts the parts of all levels, and the parts beyond the limit.
#[derive(Debug, Default)]
pub struct Kept {
    /// Number of all parts.
    pub parts: usize,
    failed: usize,
}

/// An open level.
#[derive(Debug)]
pub struct Level {
    /// Indentation of its lines.
    pub prefix: String,
    /// True if it started with `KTAP`: its results are numbered.
    pub kernels: bool,
    /// Name, if one was announced before its result.
    pub name: Option<String>,
    /// Parts so far, including those of inner levels.
    pub parts: Vec<Part>,
    /// Number of results at this level.
    pub told: u64,
    /// True if the last result failed without preceding diagnostic lines: those that follow belong to it.
    pub waits_for_remarks: bool,
    planned: Option<u64>,
    /// True if no more results are expected, because the test announced the reason.
    excused: bool,
}

/// Returns a part that describes the plan itself.
pub fn plan(result: PartResult, detail: &str) -> Part {
    Part { name: "plan".to_owned(), result, detail: detail.to_owned() }
}

impl Kept {
    /// Counts a part and returns it, or `None` if the limit is exceeded.
    fn keep(&mut self, part: Part) -> Option<Part> {
        self.parts += 1;
        if self.parts <= PARTS {
            return Some(part);
        }
        self.failed += usize::from(!part.result.is_good());
        None
    }

    /// Returns one part for all parts beyond the limit, if any.
    pub fn rest(&self) -> Option<Part> {
        let more = self.parts.checked_sub(PARTS).filter(|more| *more > 0)?;
        let result = if self.failed > 0 { PartResult::Failed } else { PartResult::Passed };
        Some(Part { name: format!("{more} more"), result, detail: format!("{} of them failed", self.failed) })
    }
}

impl Level {
    /// Creates a level without results.
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

    /// Records the plan. Only the first one counts.
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

    /// Records a result, with the parts below it and the diagnostic lines before it.
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
        // kselftest's ksft_exit_skip() prints one nameless skip for the whole plan.
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

    /// Records that the test bailed out.
    pub fn bail_out(&mut self, reason: &str, kept: &mut Kept) {
        self.excused = true;
        self.waits_for_remarks = false;
        let detail = bounded(reason, DETAIL);
        self.parts.extend(kept.keep(Part { name: "Bail out!".to_owned(), result: PartResult::Failed, detail }));
    }

    /// Appends a line to the details of the last result, if it failed.
    pub fn detail(&mut self, text: &str) {
        let Some(part) = self.parts.last_mut().filter(|part| part.result == PartResult::Failed) else { return };
        if part.detail.lines().count() < LINES {
            let line = bounded(text, DETAIL);
            let separator = if part.detail.is_empty() || line.is_empty() { "" } else { "\n" };
            part.detail.push_str(separator);
            part.detail.push_str(&line);
        }
    }

    /// Compares the plan with the results.
    fn judged(&mut self, needs_plan: bool, kept: &mut Kept) {
        let told = self.told;
        let (result, detail) = match self.planned {
            None if needs_plan && !self.excused => (PartResult::Missing, format!("no plan, {told} reported")),
            Some(planned) if told < planned && !self.excused => {
                (PartResult::Missing, format!("{planned} planned, {told} reported"))
            }
            Some(planned) if told > planned => (PartResult::Failed, format!("{planned} planned, {told} reported")),
            None | Some(_) => return,
        };
        self.parts.extend(kept.keep(plan(result, &detail)));
    }

    /// Returns the parts of a level whose own result is known. That result may replace a plan: `KUnit` prints no plan
    /// for a parameterized test.
    pub fn vouched(mut self, result: PartResult, kept: &mut Kept) -> Vec<Part> {
        self.excused |= result == PartResult::Skipped;
        self.judged(false, kept);
        let known = result == PartResult::Todo;
        for part in self.parts.iter_mut().filter(|part| known && !part.result.is_good()) {
            part.result = PartResult::Todo;
        }
        self.parts
    }

    /// Returns the parts of a level whose result never arrived.
    pub fn orphaned(mut self, kept: &mut Kept) -> Vec<Part> {
        self.judged(false, kept);
        match self.name {
            Some(name) => self.parts.into_iter().map(|part| within(&name, part)).collect(),
            None => self.parts,
        }
    }

    /// Returns the parts of an outermost level.
    pub fn outermost(mut self, kept: &mut Kept) -> Vec<Part> {
        self.judged(true, kept);
        self.parts
    }
}

/// Returns the reason of an empty plan, without a leading `SKIP` or `Skipped:`.
fn without_skip(reason: &str) -> &str {
    let end = reason.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(reason.len());
    let is_skip = reason[..end].get(..4).is_some_and(|start| start.eq_ignore_ascii_case("skip"));
    if is_skip { reason[end..].trim_start_matches(':').trim() } else { reason }
}

/// Prefixes a part's name with its parent's.
fn within(name: &str, part: Part) -> Part {
    Part { name: format!("{name} > {}", part.name), ..part }
}
