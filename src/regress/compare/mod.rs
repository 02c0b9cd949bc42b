//! Two runs of the same command: in what they differ. Takes what is known of both, gives rows to print; touches nothing.
//!
//! Times never count as a difference: no two runs take the same.

pub mod columns;
pub mod unified;
pub mod words;

use std::fmt::Write as _;

use regex::bytes::Regex;

use crate::guest::Output;
use crate::guest::verdict::Outcome;

pub use self::columns::columns;
pub use self::unified::unified;
pub use self::words::{Words, words};

/// What is compared of two runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// How the command, or its guest, ended.
    Verdict,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// What the kernel's log says about its health.
    Health,
}

impl Part {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Verdict => "verdict",
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Health => "health",
        }
    }
}

/// A part that is not the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Which.
    pub part: Part,
    /// What one run gave.
    pub left: Vec<u8>,
    /// What the other gave.
    pub right: Vec<u8>,
}

/// What is to be compared, and how.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Of which parts.
    pub parts: Vec<Part>,
    /// What matches one of these is the same on both sides.
    pub masks: Vec<Regex>,
    /// Whether standard outputs are sets of words rather than lines.
    pub as_words: bool,
}

/// A line to print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What it is.
    pub mark: Mark,
    /// Its text, without a line feed.
    pub text: String,
}

/// Kinds of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// A heading.
    Head,
    /// Where in the outputs the next lines stand.
    Place,
    /// Both have it.
    Both,
    /// The left side alone has it.
    Left,
    /// The right side alone has it.
    Right,
    /// The sides have it in two ways.
    Changed,
}

impl Row {
    fn new(mark: Mark, text: impl Into<String>) -> Self {
        Self { mark, text: text.into() }
    }
}

/// The parts of two runs that differ.
pub fn differences(left: &Output, right: &Output, rules: &Rules) -> Vec<Difference> {
    let mut parts = rules.parts.clone();
    parts.sort_unstable();
    parts.dedup();
    let told = parts.into_iter().map(|part| {
        let [left, right] = [left, right].map(|output| masked(said(output, part), &rules.masks));
        Difference { part, left, right }
    });
    told.filter(|told| match (told.part, rules.as_words) {
        (Part::Stdout, true) => !words(told).is_same(),
        (Part::Stdout, false) | (Part::Verdict | Part::Stderr | Part::Health, _) => told.left != told.right,
    })
    .collect()
}

/// How a run ended, in a few words.
pub fn ending(outcome: &Outcome) -> String {
    match (outcome, outcome.sentence()) {
        (Outcome::Exited { status }, _) => format!("exited with {status}"),
        (_, Some(sentence)) => sentence,
        (_, None) => outcome.name().to_owned(),
    }
}

/// A part of what came of a run, as lines.
fn said(output: &Output, part: Part) -> Vec<u8> {
    match part {
        Part::Verdict => format!("{}\n", ending(&output.outcome)).into_bytes(),
        Part::Stdout => output.stdout.clone(),
        Part::Stderr => output.stderr.clone(),
        Part::Health => {
            let mut lines = String::new();
            for finding in &output.health {
                // Writing to a String cannot fail.
                let _ = writeln!(lines, "{}", finding.title);
            }
            lines.into_bytes()
        }
    }
}

/// With a mark in the place of everything that a mask matches.
fn masked(mut bytes: Vec<u8>, masks: &[Regex]) -> Vec<u8> {
    for mask in masks {
        bytes = mask.replace_all(&bytes, &b"***"[..]).into_owned();
    }
    bytes
}

/// Both sides as text; or, where one of them is none, a sentence about their bytes.
fn texts(difference: &Difference) -> Result<[&str; 2], String> {
    let text = |bytes| std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
    let (left, right) = (&difference.left, &difference.right);
    if let (Some(left), Some(right)) = (text(left), text(right)) {
        return Ok([left, right]);
    }
    let at = left.iter().zip(right).take_while(|(one, other)| one == other).count();
    Err(format!("{} and {} bytes that are not text, the same before byte {at}", left.len(), right.len()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Difference, Mark, Part, Row, masked, texts};
    use regex::bytes::Regex;

    pub(crate) fn difference(left: &str, right: &str) -> Difference {
        Difference { part: Part::Stdout, left: left.into(), right: right.into() }
    }

    /// Rows as a test reads them: their mark, and their text.
    pub(crate) fn shown(rows: &[Row]) -> String {
        let mark = |mark| match mark {
            Mark::Head => '#',
            Mark::Place => '@',
            Mark::Both => ' ',
            Mark::Left => '<',
            Mark::Right => '>',
            Mark::Changed => '|',
        };
        let lines: Vec<String> = rows.iter().map(|row| format!("{} {}", mark(row.mark), row.text)).collect();
        lines.join("\n") + "\n"
    }

    #[test]
    fn what_a_mask_matches_is_the_same_everywhere() {
        let mask =
            [Regex::new(r"(?m)^\[ *[0-9.]+\]").expect("a pattern"), Regex::new("0x[0-9a-f]+").expect("a pattern")];
        let [one, other] = [&b"[    1.5] at 0xff\n[ 10.0] x\xff"[..], b"[ 0.25] at 0x1\n[1.0] x\xff"].map(Vec::from);
        assert_eq!(masked(one, &mask), masked(other, &mask));
    }

    #[test]
    fn what_is_no_text_is_told_in_numbers() {
        let bytes =
            |left: &[u8], right: &[u8]| Difference { left: left.into(), right: right.into(), ..difference("", "") };
        assert_eq!(texts(&bytes(b"abc", b"abd")), Ok(["abc", "abd"]));
        let told = texts(&bytes(b"ab\0", b"abd!")).expect_err("a NUL");
        assert_eq!(told, "3 and 4 bytes that are not text, the same before byte 2");
        assert!(texts(&bytes(b"\xff", b"")).is_err());
    }
}
