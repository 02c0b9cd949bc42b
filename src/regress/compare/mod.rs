//! Compares two runs of the same command. Pure: takes two results, returns rows to print.
//!
//! Times are never compared, since they differ between any two runs.

pub mod columns;
pub(crate) mod report;
pub mod unified;
pub mod words;

use std::ffi::OsString;

use regex::bytes::Regex;
use serde::{Deserialize, Serialize};

use crate::guest::Output;
use crate::guest::verdict::Outcome;
use crate::qemu::machine::Machine;

pub use self::columns::columns;
pub use self::report::Report;
pub use self::unified::unified;
pub use self::words::{Words, words};

/// One side of a comparison.
#[derive(Debug)]
pub struct Side {
    /// Result of the command.
    pub output: Output,
    /// Machine of the guest.
    pub machine: Machine,
    /// QEMU's command line.
    pub command: Vec<OsString>,
    /// Origin of the kernel.
    pub kernel: String,
}

/// Compared part of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Aspect {
    /// End of the command or its guest.
    Verdict,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Health findings of the kernel.
    Health,
}

impl Aspect {
    /// Returns the name of the aspect.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Verdict => "verdict",
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Health => "health",
        }
    }
}

/// An aspect that differs between the runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Differing aspect.
    pub aspect: Aspect,
    /// Content in the left run.
    pub(crate) left: Vec<u8>,
    /// Content in the right run.
    pub(crate) right: Vec<u8>,
}

/// Comparison rules.
#[derive(Debug, Clone)]
pub struct CompareOptions {
    /// Aspects to compare.
    pub aspects: Vec<Aspect>,
    /// Patterns: text that matches one is treated as equal.
    pub masks: Vec<Regex>,
    /// True to compare standard outputs as sets of words rather than as lines.
    pub as_words: bool,
}

/// A row to print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Kind of row.
    pub kind: RowKind,
    /// Text, without a line feed.
    pub text: String,
}

/// Kind of row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowKind {
    /// A heading.
    Head,
    /// Position of the following lines in the outputs.
    Position,
    /// On both sides.
    Both,
    /// Only on the left side.
    Left,
    /// Only on the right side.
    Right,
    /// Different on the two sides.
    Changed,
}

impl Row {
    fn new(kind: RowKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }
}

/// Returns the aspects in which two runs differ.
pub fn differences(left: &Output, right: &Output, options: &CompareOptions) -> Vec<Difference> {
    let mut aspects = options.aspects.clone();
    aspects.sort_unstable();
    aspects.dedup();
    let compared = aspects.into_iter().map(|aspect| {
        let [left, right] = [left, right].map(|output| mask(content(output, aspect), &options.masks));
        Difference { aspect, left, right }
    });
    let differs = |compared: &Difference| match (compared.aspect, options.as_words) {
        (Aspect::Stdout, true) => !words(compared).is_same(),
        (Aspect::Stdout, false) | (Aspect::Verdict | Aspect::Stderr | Aspect::Health, _) => {
            compared.left != compared.right
        }
    };
    compared.filter(differs).collect()
}

/// Describes briefly how a run ended.
pub fn describe_end(outcome: &Outcome) -> String {
    match (outcome, outcome.sentence()) {
        (Outcome::Exited { status }, _) => format!("exited with {status}"),
        (_, Some(sentence)) => sentence,
        (_, None) => outcome.name().to_owned(),
    }
}

/// Returns an aspect of a run as lines.
fn content(output: &Output, aspect: Aspect) -> Vec<u8> {
    match aspect {
        Aspect::Verdict => format!("{}\n", describe_end(&output.outcome)).into_bytes(),
        Aspect::Stdout => output.stdout.clone(),
        Aspect::Stderr => output.stderr.clone(),
        Aspect::Health => {
            output.health.iter().flat_map(|finding| format!("{}\n", finding.title).into_bytes()).collect()
        }
    }
}

/// Replaces all text that matches a mask by a placeholder.
fn mask(mut bytes: Vec<u8>, masks: &[Regex]) -> Vec<u8> {
    for mask in masks {
        bytes = mask.replace_all(&bytes, &b"***"[..]).into_owned();
    }
    bytes
}

/// Returns both sides as text or, if one of them is binary, a message about their sizes.
fn texts(difference: &Difference) -> Result<[&str; 2], String> {
    let text = |bytes| std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
    let (left, right) = (&difference.left, &difference.right);
    if let (Some(left), Some(right)) = (text(left), text(right)) {
        return Ok([left, right]);
    }
    let at = left.iter().zip(right).take_while(|(one, other)| one == other).count();
    Err(format!("binary output: {} and {} bytes, first difference at byte {at}", left.len(), right.len()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Aspect, Difference, Row, RowKind, mask, texts};

    use regex::bytes::Regex;

    pub(crate) fn difference(left: &str, right: &str) -> Difference {
        Difference { aspect: Aspect::Stdout, left: left.into(), right: right.into() }
    }

    /// Renders rows for tests: mark and text.
    pub(crate) fn shown(rows: &[Row]) -> String {
        let mark = |kind| match kind {
            RowKind::Head => '#',
            RowKind::Position => '@',
            RowKind::Both => ' ',
            RowKind::Left => '<',
            RowKind::Right => '>',
            RowKind::Changed => '|',
        };
        let lines: Vec<String> = rows.iter().map(|row| format!("{} {}", mark(row.kind), row.text)).collect();
        lines.join("\n") + "\n"
    }

    #[test]
    fn masked_text_is_treated_as_equal() {
        let masks =
            [Regex::new(r"(?m)^\[ *[0-9.]+\]").expect("a pattern"), Regex::new("0x[0-9a-f]+").expect("a pattern")];
        let [one, other] = [&b"[    1.5] at 0xff\n[ 10.0] x\xff"[..], b"[ 0.25] at 0x1\n[1.0] x\xff"].map(Vec::from);
        assert_eq!(mask(one, &masks), mask(other, &masks));
    }

    #[test]
    fn binary_output_is_described_by_its_size() {
        let bytes =
            |left: &[u8], right: &[u8]| Difference { left: left.into(), right: right.into(), ..difference("", "") };
        assert_eq!(texts(&bytes(b"abc", b"abd")), Ok(["abc", "abd"]));
        let message = texts(&bytes(b"ab\0", b"abd!")).expect_err("a NUL");
        assert_eq!(message, "binary output: 3 and 4 bytes, first difference at byte 2");
        assert!(texts(&bytes(b"\xff", b"")).is_err());
    }
}
