//! The formats that a report is written in.

use std::io::{self, Write};

use super::{Report, jsonl, junit, ktap, tap};

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
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::JsonLines, Self::Junit, Self::Tap, Self::Ktap];

    /// Its name, as the command line has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::JsonLines => "jsonl",
            Self::Junit => "junit",
            Self::Tap => "tap",
            Self::Ktap => "ktap",
        }
    }

    /// Writes a report.
    pub fn write(self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::JsonLines => jsonl::write(report, out),
            Self::Junit => junit::write(report, out),
            Self::Tap => tap::write(report, out),
            Self::Ktap => ktap::write(report, out),
        }
    }
}
