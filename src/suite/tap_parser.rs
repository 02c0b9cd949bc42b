//! Parses the results of a test's parts: TAP 13 and 14, and KTAP, the kernel's dialect, as kselftest and `KUnit` write
//! them.
//!
//! Nested parts are recognized by indentation (`KUnit`, TAP 14) or by a `# ` before each line (kselftest, which passes
//! on the output of the program that it runs). Kernel timestamps may precede every line. A result that the plan
//! announces but that never arrives counts as missing, and so does an absent plan: a test that was killed halfway must
//! not pass. A number that is reported twice or lies beyond the plan is a failure, as for `prove`. The input comes from the guest: lines, depth, names and the number of parts are bounded, and nothing
//! panics.
//!
//! See <https://testanything.org/tap-version-14-specification.html> and `Documentation/dev-tools/ktap.rst`.

pub(super) mod kunit;
mod level;
mod line;
mod undeclared;

use std::borrow::Cow;
use std::collections::VecDeque;

use self::level::{Level, MAX_DETAIL_LINES, PartCounter};
use self::line::{Line, LineKind, TestPoint, bounded_detail, bounded_name};
use super::report::{Part, PartResult};

/// Line length limit, bytes; the rest of a longer line is dropped.
const MAX_LINE: usize = 4096;
/// Nesting limit.
const MAX_DEPTH: usize = 8;

/// Whether a test's output is known to be TAP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TapMode {
    /// Unknown: the output is TAP if it contains `TAP version N` or `KTAP version N`, or a plan and the results for it.
    #[default]
    Detect,
    /// Declared by the manifest: empty output then counts as a missing plan.
    Required,
}

/// Lines that may start a document.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Opening {
    /// A version line.
    #[default]
    Version,
    /// Also a plan or a result.
    Declared,
    /// Also a plan or a result, in an output that nothing declares to be TAP.
    Undeclared {
        /// True if all of its results have numbers.
        is_numbered: bool,
    },
}

/// Parser of a test's output, line by line.
#[derive(Debug, Default)]
struct Parser {
    opening: Opening,
    /// Parts of finished documents.
    done: Vec<Part>,
    /// Levels of the open document, outermost first.
    levels: Vec<Level>,
    counter: PartCounter,
    /// Diagnostic lines since the last result: in KTAP, they precede the result that they belong to.
    diagnostics: VecDeque<String>,
    /// Name of the level that opens next.
    subtest: Option<String>,
    /// Indentation of the open YAML block.
    yaml: Option<String>,
    bailed_out: bool,
}

/// Parses a test's output. Returns its parts; none if it is not TAP.
pub fn parse(text: &[u8], mode: TapMode) -> Vec<Part> {
    let parsed = match mode {
        TapMode::Required => parse_as(text, Opening::Declared),
        TapMode::Detect => parse_as(text, Opening::Version),
    };
    if !parsed.is_empty() {
        return parsed;
    }
    match mode {
        TapMode::Required => vec![level::plan(PartResult::Missing, "no TAP output")],
        TapMode::Detect => undeclared::opening(text).map(|opening| parse_as(text, opening)).unwrap_or_default(),
    }
}

fn parse_as(text: &[u8], opening: Opening) -> Vec<Part> {
    let mut parser = Parser { opening, ..Parser::default() };
    lines(text).for_each(|line| parser.parse_line(&line));
    parser.finish()
}

/// Returns the lines of an output, of limited length.
fn lines(text: &[u8]) -> impl Iterator<Item = Cow<'_, str>> {
    text.split_inclusive(|byte| *byte == b'\n').map(|line| {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        String::from_utf8_lossy(&line[..line.len().min(MAX_LINE)])
    })
}

/// Returns the reason why a test with these parts failed, for any exit status; `None` if it may have passed.
pub fn failure_cause<'a>(parts: impl IntoIterator<Item = &'a Part>) -> Option<String> {
    let parts: Vec<&Part> = parts.into_iter().collect();
    let failed: Vec<_> = parts.iter().filter(|part| part.result == PartResult::Failed).collect();
    let missing: Vec<_> = parts.iter().filter(|part| part.result == PartResult::Missing).collect();
    let mut sentences = Vec::new();
    if !failed.is_empty() {
        let names: Vec<_> = failed.iter().take(3).map(|part| part.name.as_str()).collect();
        let more = if failed.len() > 3 { format!(" and {} more", failed.len() - 3) } else { String::new() };
        let reported = parts.len() - missing.len();
        sentences.push(format!("{} of {reported} parts failed: {}{more}", failed.len(), names.join(", ")));
    }
    if let Some(first) = missing.first() {
        let more = if missing.len() > 1 { format!(" (and {} more)", missing.len() - 1) } else { String::new() };
        let detail = if first.detail.is_empty() { String::new() } else { format!(": {}", first.detail) };
        sentences.push(format!("missing parts: {}{detail}{more}", first.name));
    }
    (!sentences.is_empty()).then(|| sentences.join("; "))
}

impl Parser {
    /// Returns the parts.
    fn finish(mut self) -> Vec<Part> {
        self.close_document();
        self.done.extend(self.counter.overflow());
        self.done
    }

    fn parse_line(&mut self, text: &str) {
        let line = Line::of(text);
        if let Some(indent) = &self.yaml {
            let inside = line.prefix.starts_with(indent.as_str()) || text.trim().is_empty();
            match line.kind {
                LineKind::Yaml { end: true } if line.prefix == *indent => self.yaml = None,
                _ if inside => self.detail(text),
                _ => self.yaml = None,
            }
            if inside {
                return;
            }
        }
        match line.kind {
            LineKind::Version { is_ktap } => self.version(line.prefix, is_ktap),
            LineKind::Plan { count, reason } => self.plan(line.prefix, count, reason, text),
            LineKind::Result(point) => self.result(line.prefix, point, text),
            LineKind::BailOut(reason) => self.bail_out(line.prefix, reason),
            LineKind::Subtest(name) => self.subtest(line.prefix, name),
            LineKind::Yaml { end: false } if self.has_result_above(line.prefix) => {
                self.yaml = Some(line.prefix.to_owned());
            }
            LineKind::Yaml { .. } => {}
            LineKind::Other(rest) => self.diagnostic(rest, line.prefix.contains('#')),
        }
    }

    /// Returns true if a YAML block at this indentation belongs to a result.
    fn has_result_above(&self, prefix: &str) -> bool {
        self.levels.last().is_some_and(|level| level.results > 0 && is_nested_in(&level.prefix, prefix))
    }

    /// Closes the levels that a line with this indentation ends. Returns true if the open level then has this
    /// indentation.
    fn close_to(&mut self, prefix: &str) -> bool {
        while self.levels.last().is_some_and(|level| !prefix.starts_with(&level.prefix)) {
            self.close_level();
        }
        self.levels.last().is_some_and(|level| level.prefix == prefix)
    }

    fn version(&mut self, prefix: &str, is_ktap: bool) {
        // A second version line at the same depth starts a new document.
        if self.close_to(prefix) {
            self.close_level();
        }
        self.open(prefix, is_ktap);
    }

    fn open(&mut self, prefix: &str, is_numbered: bool) -> bool {
        if self.levels.len() == MAX_DEPTH {
            return false;
        }
        self.bailed_out = false;
        self.diagnostics.clear();
        self.levels.push(Level::new(prefix, is_numbered, self.subtest.take()));
        true
    }

    /// Enters the level of a line. Returns false if the line belongs to no level and may not open one.
    fn enter_level(&mut self, prefix: &str, opens: bool) -> bool {
        if self.levels.is_empty() {
            let is_numbered = match self.opening {
                Opening::Version => return false,
                Opening::Declared => false,
                Opening::Undeclared { is_numbered } => is_numbered,
            };
            return !self.bailed_out && prefix.is_empty() && self.open(prefix, is_numbered);
        }
        // A line that only resembles TAP must not close an open level.
        let known = self.levels.iter().any(|level| level.prefix == prefix);
        let deeper = self.levels.iter().rev().find(|level| prefix.starts_with(&level.prefix));
        let Some(outer) = deeper else { return false };
        let is_numbered = outer.is_numbered;
        if !known && !opens && self.subtest.is_none() {
            return false;
        }
        self.close_to(prefix) || self.open(prefix, is_numbered)
    }

    fn plan(&mut self, prefix: &str, count: u64, reason: &str, text: &str) {
        // Several programs may have written to the output one after another.
        let is_undeclared = matches!(self.opening, Opening::Undeclared { .. });
        if is_undeclared && prefix.is_empty() && self.levels.first().is_some_and(Level::is_complete) {
            self.close_document();
        }
        if !self.enter_level(prefix, true) {
            return self.diagnostic(text.trim(), false);
        }
        // Diagnostic lines before a plan belong to no result.
        self.diagnostics.clear();
        if let Some(level) = self.levels.last_mut() {
            level.plan(count, reason, &mut self.counter);
        }
    }

    fn result(&mut self, prefix: &str, point: TestPoint<'_>, text: &str) {
        let needs_number = match self.levels.last() {
            Some(level) => level.is_numbered,
            None => self.opening == Opening::Undeclared { is_numbered: true },
        };
        // A diagnostic line of a kselftest may start with `ok`. The first result of a subtest is indented with blanks
        // only.
        let first = point.number == Some(1) && !prefix.contains('#');
        let place = self.levels.iter().rposition(|level| level.prefix == prefix);
        let inner = place.and_then(|place| self.levels.get(place + 1)).is_some();
        if (needs_number && point.number.is_none()) || (!inner && !self.enter_level(prefix, first)) {
            return self.diagnostic(text.trim(), false);
        }
        let children = if inner { self.close_nested(prefix, &point) } else { Vec::new() };
        let diagnostics = std::mem::take(&mut self.diagnostics);
        if let Some(level) = self.levels.last_mut() {
            level.result(&point, children, diagnostics, &mut self.counter);
        }
    }

    /// Closes the levels below the one of this indentation and returns their parts, whose result is `parent`.
    fn close_nested(&mut self, prefix: &str, parent: &TestPoint<'_>) -> Vec<Part> {
        while self.levels.len() > 2 && self.levels[self.levels.len() - 2].prefix != prefix {
            self.close_level();
        }
        self.levels.pop().map(|level| level.close_with_result(parent.result, &mut self.counter)).unwrap_or_default()
    }

    fn bail_out(&mut self, prefix: &str, reason: &str) {
        if self.levels.iter().any(|level| level.prefix == prefix) && self.close_to(prefix) {
            if let Some(level) = self.levels.last_mut() {
                level.bail_out(reason, &mut self.counter);
            }
            if self.levels.len() == 1 {
                self.close_document();
                self.bailed_out = true;
            }
        }
    }

    fn subtest(&mut self, prefix: &str, name: &str) {
        let name = bounded_name(name);
        // `KUnit` names a level inside it, TAP 14 before it.
        match self.levels.last_mut() {
            Some(level) if level.prefix == prefix && level.results == 0 && !prefix.is_empty() => {
                level.name = Some(name);
            }
            Some(_) => self.subtest = Some(name),
            None => {}
        }
    }

    /// Records a diagnostic line, which may explain the next result.
    fn diagnostic(&mut self, text: &str, marked: bool) {
        let Some(level) = self.levels.last_mut() else { return };
        if text.is_empty() || text.starts_with("Totals:") {
            return;
        }
        // In plain TAP, diagnostic lines follow the result. In KTAP they precede it, and none are expected after it.
        if marked && level.collects_trailing_diagnostics {
            return level.detail(text);
        }
        if self.diagnostics.len() == MAX_DETAIL_LINES {
            self.diagnostics.pop_front();
        }
        self.diagnostics.push_back(bounded_detail(text));
    }

    /// Records a line of a YAML block.
    fn detail(&mut self, text: &str) {
        if let Some(level) = self.levels.last_mut() {
            level.detail(text);
        }
    }

    /// Closes the innermost level if no result for it arrived.
    fn close_level(&mut self) {
        let Some(level) = self.levels.pop() else { return };
        match self.levels.last_mut() {
            Some(outer) => outer.parts.extend(level.close_without_result(&mut self.counter)),
            None => self.done.extend(level.close_document(&mut self.counter)),
        }
    }

    fn close_document(&mut self) {
        while !self.levels.is_empty() {
            self.close_level();
        }
    }
}

/// Returns true if `inner` is `outer` followed by blanks.
fn is_nested_in(outer: &str, inner: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|more| !more.is_empty() && !more.contains('#'))
}

#[cfg(test)]
mod tests;
