//! One level of nested TAP: its plan and the results so far.

use std::collections::{BTreeSet, VecDeque};

use super::line::{TestPoint, bounded_detail};
use crate::suite::report::{Part, PartResult};

/// Limit of detail lines; the last ones before the result are kept.
pub(super) const MAX_DETAIL_LINES: usize = 20;
/// Limit of parts listed one by one.
pub(super) const MAX_PARTS: usize = 10_000;

/// Counts the parts of all levels, and the parts beyond the limit.
#[derive(Debug, Default)]
pub(super) struct PartCounter {
    /// Number of all parts.
    pub(super) parts: usize,
    failed: usize,
}

/// An open level.
#[derive(Debug, Default)]
pub(super) struct Level {
    /// Indentation of its lines.
    pub(super) prefix: String,
    /// True if each result has a number, as in KTAP; a line without one is not a result.
    pub(super) is_numbered: bool,
    /// Name, if one was announced before its result.
    pub(super) name: Option<String>,
    /// Parts so far, including those of inner levels.
    pub(super) parts: Vec<Part>,
    /// Number of results at this level.
    pub(super) results: u64,
    /// True if the last result failed without preceding diagnostic lines: those that follow belong to it.
    pub(super) collects_trailing_diagnostics: bool,
    planned: Option<u64>,
    numbers: Numbers,
    /// True if no more results are expected, because the test announced the reason.
    no_more_expected: bool,
}

/// Numbers of a level's results. Results may arrive in any order, but each number only once.
#[derive(Debug, Default)]
struct Numbers {
    /// All numbers from 1 to this one have arrived.
    through: u64,
    /// The other numbers that have arrived, at most [`MAX_PARTS`].
    others: BTreeSet<u64>,
    highest: u64,
    fault: Option<String>,
}

impl Numbers {
    fn record(&mut self, number: u64) {
        self.highest = self.highest.max(number);
        if number == 0 {
            self.fault.get_or_insert_with(|| "number 0 reported".to_owned());
        } else if number <= self.through || !self.others.insert(number) {
            self.fault.get_or_insert_with(|| format!("number {number} reported more than once"));
        } else if self.others.len() > MAX_PARTS {
            self.others.clear();
            self.fault.get_or_insert_with(|| format!("more than {MAX_PARTS} numbers out of order"));
        }
        while self.others.remove(&(self.through + 1)) {
            self.through += 1;
        }
    }
}

/// Returns a part that describes the plan itself.
pub(super) fn plan(result: PartResult, detail: &str) -> Part {
    Part { name: "plan".to_owned(), result, detail: detail.to_owned(), expectation: None }
}

impl PartCounter {
    /// Counts a part and returns it, or `None` if the limit is exceeded.
    fn count(&mut self, part: Part) -> Option<Part> {
        self.parts += 1;
        if self.parts <= MAX_PARTS {
            return Some(part);
        }
        self.failed += usize::from(!part.result.is_good());
        None
    }

    /// Returns one part for all parts beyond the limit, if any.
    pub(super) fn overflow(&self) -> Option<Part> {
        let more = self.parts.checked_sub(MAX_PARTS).filter(|more| *more > 0)?;
        let result = if self.failed > 0 { PartResult::Failed } else { PartResult::Passed };
        Some(Part {
            name: format!("{more} more"),
            result,
            detail: format!("{} of them failed", self.failed),
            expectation: None,
        })
    }
}

impl Level {
    /// Creates a level without results.
    pub(super) fn new(prefix: &str, is_numbered: bool, name: Option<String>) -> Self {
        Self { prefix: prefix.to_owned(), is_numbered, name, ..Self::default() }
    }

    /// Returns true if all planned results have arrived.
    pub(super) fn is_complete(&self) -> bool {
        self.planned.is_some_and(|planned| self.results >= planned)
    }

    /// Records the plan. Only the first one counts.
    pub(super) fn plan(&mut self, count: u64, reason: &str, counter: &mut PartCounter) {
        if self.planned.is_some() {
            return;
        }
        self.planned = Some(count);
        if count == 0 {
            let reason = bounded_detail(without_skip(reason));
            self.parts.extend(counter.count(plan(PartResult::Skipped, &reason)));
        }
    }

    /// Records a result, with the parts below it and the diagnostic lines before it.
    pub(super) fn result(
        &mut self,
        point: &TestPoint<'_>,
        children: Vec<Part>,
        diagnostics: VecDeque<String>,
        counter: &mut PartCounter,
    ) {
        self.results = self.results.saturating_add(1);
        if let Some(number) = point.number {
            self.numbers.record(number);
        }
        let mut own = point.part(self.results);
        let failed = own.result == PartResult::Failed;
        if failed && !diagnostics.is_empty() {
            let lines = diagnostics.into_iter().chain(std::iter::once(std::mem::take(&mut own.detail)));
            own.detail = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
            self.collects_trailing_diagnostics = false;
        } else {
            self.collects_trailing_diagnostics = failed;
        }
        // kselftest's ksft_exit_skip() prints one nameless skip for the whole plan.
        self.no_more_expected = own.result == PartResult::Skipped && point.name.is_empty();
        let is_covered = match own.result {
            PartResult::Passed => !children.is_empty(),
            PartResult::Failed | PartResult::Missing => children.iter().any(|child| !child.result.is_good()),
            result @ (PartResult::Skipped | PartResult::Todo) => children.iter().any(|child| child.result == result),
        };
        let name = own.name.clone();
        self.parts.extend(children.into_iter().map(|child| qualify(&name, child)));
        if is_covered {
            self.collects_trailing_diagnostics = false;
        } else {
            self.parts.extend(counter.count(own));
        }
    }

    /// Records that the test bailed out.
    pub(super) fn bail_out(&mut self, reason: &str, counter: &mut PartCounter) {
        self.no_more_expected = true;
        self.collects_trailing_diagnostics = false;
        let detail = bounded_detail(reason);
        self.parts.extend(counter.count(Part {
            name: "Bail out!".to_owned(),
            result: PartResult::Failed,
            detail,
            expectation: None,
        }));
    }

    /// Appends a line to the details of the last result, if it failed.
    pub(super) fn detail(&mut self, text: &str) {
        let Some(part) = self.parts.last_mut().filter(|part| part.result == PartResult::Failed) else { return };
        if part.detail.lines().count() < MAX_DETAIL_LINES {
            let line = bounded_detail(text);
            let separator = if part.detail.is_empty() || line.is_empty() { "" } else { "\n" };
            part.detail.push_str(separator);
            part.detail.push_str(&line);
        }
    }

    /// Compares the plan with the results and their numbers.
    fn check_plan(&mut self, needs_plan: bool, counter: &mut PartCounter) {
        let results = self.results;
        let count = match self.planned {
            None if needs_plan && !self.no_more_expected => {
                Some((PartResult::Missing, format!("no plan, {results} reported")))
            }
            Some(planned) if results < planned && !self.no_more_expected => {
                Some((PartResult::Missing, format!("{planned} planned, {results} reported")))
            }
            Some(planned) if results > planned => {
                Some((PartResult::Failed, format!("{planned} planned, {results} reported")))
            }
            None | Some(_) => None,
        };
        let highest = self.numbers.highest;
        let beyond = self.planned.filter(|planned| results <= *planned && highest > *planned);
        let beyond = beyond.map(|planned| format!("{planned} planned, number {highest} reported"));
        let (result, detail) = match (count, self.numbers.fault.take().or(beyond)) {
            (None, None) => return,
            (Some(count), None) => count,
            (None, Some(numbers)) => (PartResult::Failed, numbers),
            (Some((_, count)), Some(numbers)) => (PartResult::Failed, format!("{count}; {numbers}")),
        };
        self.parts.extend(counter.count(plan(result, &detail)));
    }

    /// Returns the parts of a level whose own result is known. That result may replace a plan: `KUnit` prints no plan
    /// for a parameterized test.
    pub(super) fn close_with_result(mut self, result: PartResult, counter: &mut PartCounter) -> Vec<Part> {
        self.no_more_expected |= result == PartResult::Skipped;
        self.check_plan(false, counter);
        let known = result == PartResult::Todo;
        for part in self.parts.iter_mut().filter(|part| known && !part.result.is_good()) {
            part.result = PartResult::Todo;
        }
        self.parts
    }

    /// Returns the parts of a level whose result never arrived.
    pub(super) fn close_without_result(mut self, counter: &mut PartCounter) -> Vec<Part> {
        self.check_plan(false, counter);
        match self.name {
            Some(name) => self.parts.into_iter().map(|part| qualify(&name, part)).collect(),
            None => self.parts,
        }
    }

    /// Returns the parts of an outermost level.
    pub(super) fn close_document(mut self, counter: &mut PartCounter) -> Vec<Part> {
        self.check_plan(true, counter);
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
fn qualify(name: &str, part: Part) -> Part {
    Part { name: format!("{name} > {}", part.name), ..part }
}
