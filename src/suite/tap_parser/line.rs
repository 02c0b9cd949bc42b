//! Parses one line of TAP or KTAP: its indentation and its content.

use crate::format::guest_text::one_line;
use crate::suite::report::{Part, PartResult};

/// Length limit of one part's name, without its parents' names, characters.
const MAX_NAME: usize = 160;
/// Length limit of a detail line, characters.
const MAX_DETAIL: usize = 300;

/// A parsed line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// Indentation: blanks, and a `# ` for each kselftest that passes on another one's output.
    pub(super) prefix: &'a str,
    /// Content.
    pub(super) kind: LineKind<'a>,
}

/// Content of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineKind<'a> {
    /// `TAP version 13`, or with `is_ktap`, `KTAP version 1`.
    Version {
        /// True for KTAP, the kernel's dialect.
        is_ktap: bool,
    },
    /// `1..N`
    Plan {
        /// Number of planned results.
        count: u64,
        /// Text after a number sign: the reason for an empty plan.
        reason: &'a str,
    },
    /// `ok ...` or `not ok ...`
    Result(TestPoint<'a>),
    /// `Bail out! ...`
    BailOut(&'a str),
    /// `# Subtest: NAME`
    Subtest(&'a str),
    /// `---`, or with `end`, `...`
    Yaml {
        /// True if the block ends here.
        end: bool,
    },
    /// A diagnostic line or unrelated output, without its indentation.
    Other(&'a str),
}

/// A test result line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TestPoint<'a> {
    /// Result, including the effect of its directive.
    pub(super) result: PartResult,
    /// Test number, if present.
    pub(super) number: Option<u64>,
    /// Description.
    pub(super) name: &'a str,
    /// Text after the number sign.
    pub(super) reason: &'a str,
}

impl TestPoint<'_> {
    /// Converts to a part. A result without a description is named after its number.
    pub(super) fn part(&self, place: u64) -> Part {
        let name = bounded_name(&self.name.replace("\\#", "#").replace("\\\\", "\\"));
        let name = if name.is_empty() { self.number.unwrap_or(place).to_string() } else { name };
        Part { name, result: self.result, detail: bounded_detail(self.reason), expectation: None }
    }
}

/// Returns a name as one line of limited length.
pub(super) fn bounded_name(text: &str) -> String {
    bounded(text, MAX_NAME)
}

/// Returns a detail as one line of limited length.
pub(super) fn bounded_detail(text: &str) -> String {
    bounded(text, MAX_DETAIL)
}

fn bounded(text: &str, limit: usize) -> String {
    let line = one_line(text);
    match line.char_indices().nth(limit) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line,
    }
}

impl<'a> Line<'a> {
    /// Parses a line, with or without a kernel timestamp.
    pub(super) fn of(line: &'a str) -> Self {
        let line = without_timestamp(line.trim_end());
        let mut rest = line;
        while let Some(inner) = rest.strip_prefix(' ').or_else(|| rest.strip_prefix("# ")) {
            rest = inner;
        }
        let prefix = &line[..line.len() - rest.len()];
        if let Some(name) = rest.strip_prefix("Subtest: ")
            && let Some(prefix) = prefix.strip_suffix("# ")
        {
            return Self { prefix, kind: LineKind::Subtest(name.trim()) };
        }
        Self { prefix, kind: LineKind::of(rest) }
    }
}

/// Returns the line without a prefix such as `<6>[    1.234567][   T12] `.
fn without_timestamp(line: &str) -> &str {
    let digits =
        |text: &str, more: &[char]| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || more.contains(&c));
    let level = line.strip_prefix('<').and_then(|rest| rest.split_once('>'));
    let line = level.filter(|(level, _)| digits(level, &[])).map_or(line, |(_, rest)| rest);
    let Some((stamp, rest)) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) else { return line };
    if !stamp.contains('.') || !digits(stamp.trim_start(), &['.']) {
        return line;
    }
    // With CONFIG_PRINTK_CALLER, the thread or CPU follows the time.
    let caller = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let caller = caller.filter(|(who, _)| who.trim_start().strip_prefix(['T', 'C']).is_some_and(|id| digits(id, &[])));
    let rest = caller.map_or(rest, |(_, rest)| rest);
    rest.strip_prefix(' ').unwrap_or(rest)
}

impl<'a> LineKind<'a> {
    fn of(text: &'a str) -> Self {
        let version = |text: &str| text.split_whitespace().next().is_some_and(|word| word.parse::<u32>().is_ok());
        if text.strip_prefix("TAP version ").is_some_and(version) {
            return Self::Version { is_ktap: false };
        }
        if text.strip_prefix("KTAP version ").is_some_and(version) {
            return Self::Version { is_ktap: true };
        }
        if let Some(reason) = text.strip_prefix("Bail out!") {
            return Self::BailOut(reason.trim());
        }
        match text {
            "---" => return Self::Yaml { end: false },
            "..." => return Self::Yaml { end: true },
            _ => {}
        }
        plan(text).or_else(|| result(text)).unwrap_or(Self::Other(text))
    }
}

fn plan(text: &str) -> Option<LineKind<'_>> {
    let (count, reason) = match text.split_once('#') {
        Some((count, reason)) => (count.trim(), reason.trim()),
        None => (text, ""),
    };
    let count = count.strip_prefix("1..")?;
    let number = count.bytes().all(|byte| byte.is_ascii_digit()).then(|| count.parse().ok())??;
    Some(LineKind::Plan { count: number, reason })
}

fn result(text: &str) -> Option<LineKind<'_>> {
    let (ok, rest) = match text.strip_prefix("not ok") {
        Some(rest) => (false, rest),
        None => (true, text.strip_prefix("ok")?),
    };
    if !rest.is_empty() && !rest.starts_with(' ') {
        return None;
    }
    let rest = rest.trim_start();
    let (first, after) = rest.split_once(' ').unwrap_or((rest, ""));
    let (number, rest) = match first.parse() {
        Ok(number) if first.bytes().all(|byte| byte.is_ascii_digit()) => (Some(number), after.trim_start()),
        _ => (None, rest),
    };
    let (name, directive, reason) = directive(rest);
    let name = name.strip_prefix('-').filter(|rest| rest.is_empty() || rest.starts_with(' ')).unwrap_or(name).trim();
    let result = match (directive, ok) {
        (Some(Directive::Skip), _) => PartResult::Skipped,
        (Some(Directive::Todo), false) | (Some(Directive::Xfail), _) => PartResult::Todo,
        (Some(Directive::Timeout | Directive::Error), _) | (None, false) => PartResult::Failed,
        (Some(Directive::Todo) | None, true) => PartResult::Passed,
    };
    Some(LineKind::Result(TestPoint { result, number, name, reason }))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Directive {
    Skip,
    Todo,
    Xfail,
    Timeout,
    Error,
}

/// Splits a description into name, directive and reason.
fn directive(text: &str) -> (&str, Option<Directive>, &str) {
    for (at, _) in text.match_indices('#') {
        // A number sign inside a word (`issue#5`) or after a backslash is an ordinary character.
        if at > 0 && !text[..at].ends_with([' ', '\t']) {
            continue;
        }
        let (name, after) = (text[..at].trim(), &text[at + 1..]);
        let comment = after.trim_start();
        let word = &comment[..comment.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(comment.len())];
        let reason = comment[word.len()..].trim_start_matches(':').trim();
        let known = match word.to_ascii_lowercase().as_str() {
            "skip" | "skipped" => Some(Directive::Skip),
            "todo" => Some(Directive::Todo),
            // KTAP directives, uppercase only: `# error` may start any diagnostic line.
            _ => match word {
                "XFAIL" => Some(Directive::Xfail),
                "TIMEOUT" => Some(Directive::Timeout),
                "ERROR" => Some(Directive::Error),
                _ => None,
            },
        };
        match known {
            Some(Directive::Timeout) => return (name, known, comment),
            Some(_) => return (name, known, reason),
            None if after.starts_with(' ') => return (name, None, comment),
            // `fixes #5`
            None => {}
        }
    }
    (text.trim(), None, "")
}

#[cfg(test)]
mod tests {
    use super::{Line, LineKind, TestPoint};
    use crate::suite::report::PartResult::{self, Failed, Passed, Skipped, Todo};

    fn point(text: &str) -> (PartResult, Option<u64>, &str, &str) {
        match Line::of(text).kind {
            LineKind::Result(TestPoint { result, number, name, reason }) => (result, number, name, reason),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn the_number_name_and_directive_of_a_result_are_optional() {
        assert_eq!(point("ok"), (Passed, None, "", ""));
        assert_eq!(point("not ok 2"), (Failed, Some(2), "", ""));
        assert_eq!(point("ok 1 - a name"), (Passed, Some(1), "a name", ""));
        assert_eq!(point("ok 1 -name"), (Passed, Some(1), "-name", ""));
        assert_eq!(point("not ok 3 selftests: net: tls # exit=1"), (Failed, Some(3), "selftests: net: tls", "exit=1"));
        assert_eq!(point("not ok 3 x # TIMEOUT 45 seconds"), (Failed, Some(3), "x", "TIMEOUT 45 seconds"));
        assert_eq!(point("ok 3 x # SKIP no such device"), (Skipped, Some(3), "x", "no such device"));
        assert_eq!(point("not ok 3 x # skip"), (Skipped, Some(3), "x", ""));
        assert_eq!(point("ok 3 # SKIP: why"), (Skipped, Some(3), "", "why"));
        assert_eq!(point("not ok 4 x # TODO later"), (Todo, Some(4), "x", "later"));
        assert_eq!(point("ok 4 x # TODO later"), (Passed, Some(4), "x", "later"));
        assert_eq!(point("ok 4 x # XFAIL known"), (Todo, Some(4), "x", "known"));
        assert_eq!(point("ok 4 x # ERROR oops"), (Failed, Some(4), "x", "oops"));
        assert_eq!(point("ok 4 fixes #5 # skip y"), (Skipped, Some(4), "fixes #5", "y"));
        assert_eq!(point("ok 4 a\\# SKIP b"), (Passed, Some(4), "a\\# SKIP b", ""));
        assert_eq!(point("ok 5 rc # rcode=0"), (Passed, Some(5), "rc", "rcode=0"));
        assert_eq!(point("ok 99999999999999999999 x").1, None);
    }

    #[test]
    fn lines_that_only_resemble_tap_are_ignored() {
        for text in ["okay", "OK 1", "not okay", "1..", "1..x", "1..3 x", "2..3", "TAP version", "TAP version x", "ok1"]
        {
            assert!(matches!(Line::of(text).kind, LineKind::Other(_)), "{text}");
        }
    }

    #[test]
    fn timestamps_are_removed_and_the_indentation_is_kept() {
        for stamp in ["", "[    1.234567] ", "[12345.678901][   T12] ", "<6>[    0.1] ", "[    1.2][    C0] "] {
            let line = format!("{stamp}    # # 1..3 # why\r");
            let line = Line::of(&line);
            assert_eq!((line.prefix, line.kind), ("    # # ", LineKind::Plan { count: 3, reason: "why" }), "{stamp}");
        }
        assert_eq!(Line::of("[x] 1..3").kind, LineKind::Other("[x] 1..3"));
        assert_eq!(Line::of("    # Subtest: a b "), Line { prefix: "    ", kind: LineKind::Subtest("a b") });
        assert_eq!(Line::of("KTAP version 1").kind, LineKind::Version { is_ktap: true });
        assert_eq!(Line::of("# TAP version 13"), Line { prefix: "# ", kind: LineKind::Version { is_ktap: false } });
        assert_eq!(Line::of("Bail out! no more").kind, LineKind::BailOut("no more"));
    }
}
