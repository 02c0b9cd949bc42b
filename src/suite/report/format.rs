//! Report formats.

use std::io::{self, Write};

use super::{Report, html, jsonl, junit, ktap, tap};
use crate::suite::baseline::Comparison;

/// A report format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// bootling's native format: the complete report, one JSON value per line. The only format that is also read.
    JsonLines,
    /// `JUnit` XML as written by Maven Surefire, for Jenkins, GitLab, GitHub and others.
    Junit,
    /// The Test Anything Protocol, version 14.
    Tap,
    /// KTAP, the kernel's dialect of TAP.
    Ktap,
    /// Self-contained HTML page.
    Html,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 5] = [Self::JsonLines, Self::Junit, Self::Tap, Self::Ktap, Self::Html];

    /// Returns the name used on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::JsonLines => "jsonl",
            Self::Junit => "junit",
            Self::Tap => "tap",
            Self::Ktap => "ktap",
            Self::Html => "html",
        }
    }

    /// Writes a report. Only the HTML page includes the comparison with an earlier one.
    pub fn write(self, report: &Report, comparison: Option<&Comparison>, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::JsonLines => jsonl::write(report, out),
            Self::Junit => junit::write(report, out),
            Self::Tap => tap::write(report, out),
            Self::Ktap => ktap::write(report, out),
            Self::Html => html::write(report, comparison, out),
        }
    }
}
