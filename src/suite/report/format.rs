//! The formats that a report is written in.

use std::io::{self, Write};

use super::{Report, html, jsonl, junit, ktap, tap};
use crate::suite::baseline::Comparison;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// bootling's own: all that is known, one JSON value a line. The only one that is read, too.
    JsonLines,
    /// `JUnit` XML as Maven's Surefire writes it, for Jenkins, GitLab, GitHub and their like.
    Junit,
    /// The Test Anything Protocol, version 14.
    Tap,
    /// The kernel's dialect of it.
    Ktap,
    /// One page for a browser.
    Html,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::JsonLines, Self::Junit, Self::Tap, Self::Ktap, Self::Html];

    /// Its name, as the command line has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::JsonLines => "jsonl",
            Self::Junit => "junit",
            Self::Tap => "tap",
            Self::Ktap => "ktap",
            Self::Html => "html",
        }
    }

    /// Writes a report. What is different from an earlier one has a place on the page alone.
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
