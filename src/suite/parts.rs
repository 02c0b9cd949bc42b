//! What a test in the guest says of its own parts: TAP 13 and 14, and the kernel's dialect of it, as kselftest and `KUnit`
//! write them.
//!
//! Nested parts are told by indentation (`KUnit`, TAP 14) or by a `# ` before each line (kselftest, which passes on what
//! the program below it says); the kernel's timestamps may stand before all of it. What is promised by a plan and never
//! told is missing, and so is a plan: a test that was killed half way must not pass. What is read comes from the guest:
//! lines, depth, names and the number of parts are bounded, and nothing panics.
//!
//! See <https://testanything.org/tap-version-14-specification.html> and `Documentation/dev-tools/ktap.rst`.

pub mod level;
pub mod line;

use std::collections::VecDeque;

use self::level::{Kept, Level};
use self::line::{Line, Says, Told};
use super::report::{Part, PartResult, one_line};

/// Longest line; the rest of a longer one is left out.
const LINE: usize = 4096;
/// Longest name of one part, without those it is in, characters.
const NAME: usize = 160;
/// Longest line of a detail, characters.
const DETAIL: usize = 300;
/// Most lines of a detail: the last ones before the result.
const LINES: usize = 20;
/// How deep parts may be nested.
const DEPTH: usize = 8;
/// Most parts that are told one by one.
const PARTS: usize = 10_000;

/// How sure it is that a test speaks TAP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// Its first line, `TAP version N` or `KTAP version N`, will tell.
    Perhaps,
    /// The manifest says so: nothing is then a plan that is missing.
    Surely,
}

/// Reads what a test writes, piece by piece.
#[derive(Debug)]
pub struct Parser {
    speaks: Speaks,
    line: Vec<u8>,
    /// The documents that are over.
    done: Vec<Part>,
    /// The document that is open, the outermost level first.
    levels: Vec<Level>,
    kept: Kept,
    /// Remarks since the last result: they are told before the result that they belong to.
    remarks: VecDeque<String>,
    /// The name of the level that opens next.
    subtest: Option<String>,
    /// The indentation of the YAML block that is open.
    yaml: Option<String>,
    bailed: bool,
}

/// Reads a whole text.
pub fn parse(text: &[u8], speaks: Speaks) -> Vec<Part> {
    let mut parser = Parser::new(speaks);
    parser.push(text);
    parser.finish()
}

/// Why a test with these parts has failed, whatever its status; `None`: it may have passed.
pub fn verdict<'a>(parts: impl IntoIterator<Item = &'a Part>) -> Option<String> {
    let parts: Vec<&Part> = parts.into_iter().collect();
    let failed: Vec<_> = parts.iter().filter(|part| part.result == PartResult::Failed).collect();
    let missing: Vec<_> = parts.iter().filter(|part| part.result == PartResult::Missing).collect();
    let mut sentences = Vec::new();
    if !failed.is_empty() {
        let names: Vec<_> = failed.iter().take(3).map(|part| part.name.as_str()).collect();
        let more = if failed.len() > 3 { format!(" and {} more", failed.len() - 3) } else { String::new() };
        let told = parts.len() - missing.len();
        sentences.push(format!("{} of {told} parts failed: {}{more}", failed.len(), names.join(", ")));
    }
    if let Some(first) = missing.first() {
        let more = if missing.len() > 1 { format!(" (and {} more)", missing.len() - 1) } else { String::new() };
        let detail = if first.detail.is_empty() { String::new() } else { format!(": {}", first.detail) };
        sentences.push(format!("parts are missing: {}{detail}{more}", first.name));
    }
    (!sentences.is_empty()).then(|| sentences.join("; "))
}

/// A text in one line, cut where it is too long.
fn bounded(text: &str, most: usize) -> String {
    let line = one_line(text);
    match line.char_indices().nth(most) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line,
    }
}

impl Parser {
    /// One that has read nothing yet.
    pub fn new(speaks: Speaks) -> Self {
        Self {
            speaks,
            line: Vec::new(),
            done: Vec::new(),
            levels: Vec::new(),
            kept: Kept::default(),
            remarks: VecDeque::new(),
            subtest: None,
            yaml: None,
            bailed: false,
        }
    }

    /// Reads the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            let room = LINE.saturating_sub(self.line.len());
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            if text.len() < piece.len() {
                self.end_line();
            }
        }
    }

    /// The parts. None, where no TAP was spoken.
    pub fn finish(mut self) -> Vec<Part> {
        if !self.line.is_empty() {
            self.end_line();
        }
        self.close_document();
        if self.speaks == Speaks::Surely && self.done.is_empty() && self.kept.parts == 0 {
            self.done.push(level::plan(PartResult::Missing, "no TAP was told"));
        }
        self.done.extend(self.kept.rest());
        self.done
    }

    fn end_line(&mut self) {
        let bytes = std::mem::take(&mut self.line);
        self.take(&String::from_utf8_lossy(&bytes));
    }

    fn take(&mut self, text: &str) {
        let line = Line::of(text);
        if let Some(indent) = &self.yaml {
            let inside = line.prefix.starts_with(indent.as_str()) || text.trim().is_empty();
            match line.says {
                Says::Yaml { end: true } if line.prefix == *indent => self.yaml = None,
                _ if inside => self.detail(text),
                _ => self.yaml = None,
            }
            if inside {
                return;
            }
        }
        match line.says {
            Says::Version { kernels } => self.version(line.prefix, kernels),
            Says::Plan { count, reason } => self.plan(line.prefix, count, reason, text),
            Says::Result(told) => self.result(line.prefix, told, text),
            Says::BailOut(reason) => self.bail_out(line.prefix, reason),
            Says::Subtest(name) => self.subtest(line.prefix, name),
            Says::Yaml { end: false } if self.has_result_above(line.prefix) => {
                self.yaml = Some(line.prefix.to_owned());
            }
            Says::Yaml { .. } => {}
            Says::Other(rest) => self.remark(rest, line.prefix.contains('#')),
        }
    }

    /// Whether a YAML block at this indentation belongs to a result.
    fn has_result_above(&self, prefix: &str) -> bool {
        self.levels.last().is_some_and(|level| level.told > 0 && is_below(&level.prefix, prefix))
    }

    /// Whether the open level is the one of this indentation, after those that it ends have been closed.
    fn is_at(&mut self, prefix: &str) -> bool {
        while self.levels.last().is_some_and(|level| !prefix.starts_with(&level.prefix)) {
            self.close_level();
        }
        self.levels.last().is_some_and(|level| level.prefix == prefix)
    }

    fn version(&mut self, prefix: &str, kernels: bool) {
        // A second one at the same depth begins another document.
        if self.is_at(prefix) {
            self.close_level();
        }
        self.open(prefix, kernels);
    }

    fn open(&mut self, prefix: &str, kernels: bool) -> bool {
        if self.levels.len() == DEPTH {
            return false;
        }
        self.bailed = false;
        self.remarks.clear();
        self.levels.push(Level::new(prefix, kernels, self.subtest.take()));
        true
    }

    /// Goes to the level of a line that may open one.
    fn enter(&mut self, prefix: &str, opens: bool) -> bool {
        if self.levels.is_empty() {
            let may = self.speaks == Speaks::Surely && !self.bailed && prefix.is_empty();
            return may && self.open(prefix, false);
        }
        // What only looks like TAP must not close what is open.
        let known = self.levels.iter().any(|level| level.prefix == prefix);
        let deeper = self.levels.iter().rev().find(|level| prefix.starts_with(&level.prefix));
        let Some(outer) = deeper else { return false };
        let kernels = outer.kernels;
        if !known && !opens && self.subtest.is_none() {
            return false;
        }
        self.is_at(prefix) || self.open(prefix, kernels)
    }

    fn plan(&mut self, prefix: &str, count: u64, reason: &str, text: &str) {
        if !self.enter(prefix, true) {
            return self.remark(text.trim(), false);
        }
        // What stands before a plan is about the whole.
        self.remarks.clear();
        if let Some(level) = self.levels.last_mut() {
            level.plan(count, reason, &mut self.kept);
        }
    }

    fn result(&mut self, prefix: &str, told: Told<'_>, text: &str) {
        let numbered = told.number.is_some() || self.levels.last().is_none_or(|level| !level.kernels);
        // A remark of a kselftest may begin with `ok`; a subtest's first result stands behind blanks alone.
        let first = told.number == Some(1) && !prefix.contains('#');
        let place = self.levels.iter().rposition(|level| level.prefix == prefix);
        let inner = place.and_then(|place| self.levels.get(place + 1)).is_some();
        if !numbered || (!inner && !self.enter(prefix, first)) {
            return self.remark(text.trim(), false);
        }
        let children = if inner { self.close_below(prefix, &told) } else { Vec::new() };
        let remarks = std::mem::take(&mut self.remarks);
        if let Some(level) = self.levels.last_mut() {
            level.result(&told, children, remarks, &mut self.kept);
        }
    }

    /// Closes the levels within the one of this indentation: the parts that `parent` is the result of.
    fn close_below(&mut self, prefix: &str, parent: &Told<'_>) -> Vec<Part> {
        while self.levels.len() > 2 && self.levels[self.levels.len() - 2].prefix != prefix {
            self.close_level();
        }
        self.levels.pop().map(|level| level.vouched(parent.result, &mut self.kept)).unwrap_or_default()
    }

    fn bail_out(&mut self, prefix: &str, reason: &str) {
        if self.levels.iter().any(|level| level.prefix == prefix) && self.is_at(prefix) {
            if let Some(level) = self.levels.last_mut() {
                level.bail_out(reason, &mut self.kept);
            }
            if self.levels.len() == 1 {
                self.close_document();
                self.bailed = true;
            }
        }
    }

    fn subtest(&mut self, prefix: &str, name: &str) {
        let name = bounded(name, NAME);
        // `KUnit` names a level within it, TAP 14 before it.
        match self.levels.last_mut() {
            Some(level) if level.prefix == prefix && level.told == 0 && !prefix.is_empty() => level.name = Some(name),
            Some(_) => self.subtest = Some(name),
            None => {}
        }
    }

    /// A line that is no result: what a result that follows may be explained by.
    fn remark(&mut self, text: &str, marked: bool) {
        let Some(level) = self.levels.last_mut() else { return };
        if text.is_empty() || text.starts_with("Totals:") {
            return;
        }
        // In plain TAP they stand behind the result. The kernel's stand before it, and are told apart by being there.
        if marked && level.waits_for_remarks {
            return level.detail(text);
        }
        if self.remarks.len() == LINES {
            self.remarks.pop_front();
        }
        self.remarks.push_back(bounded(text, DETAIL));
    }

    /// A line of a YAML block.
    fn detail(&mut self, text: &str) {
        if let Some(level) = self.levels.last_mut() {
            level.detail(text);
        }
    }

    /// Closes the innermost level, without a result that its parts would be those of.
    fn close_level(&mut self) {
        let Some(level) = self.levels.pop() else { return };
        match self.levels.last_mut() {
            Some(outer) => outer.parts.extend(level.orphaned(&mut self.kept)),
            None => self.done.extend(level.outermost(&mut self.kept)),
        }
    }

    fn close_document(&mut self) {
        while !self.levels.is_empty() {
            self.close_level();
        }
    }
}

/// Whether an indentation goes on from another one, with blanks.
fn is_below(outer: &str, inner: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|more| !more.is_empty() && !more.contains('#'))
}

#[cfg(test)]
mod tests;
