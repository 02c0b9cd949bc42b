//! Regular expressions of a manifest, compiled when it is read.

use std::ops::Deref;

use regex::Regex;

/// A compiled regular expression. Equal patterns have the same text.
#[derive(Debug, Clone)]
pub(crate) struct Pattern(Regex);

impl Pattern {
    /// Compiles a pattern. The error is one line.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Regex::new(text).map(Self).map_err(|error| {
            let error = error.to_string();
            let cause = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
            format!("invalid regular expression {text:?}: {cause}")
        })
    }
}

impl Deref for Pattern {
    type Target = Regex;

    fn deref(&self) -> &Regex {
        &self.0
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Pattern {}

/// Patterns for the lines of a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Patterns {
    /// Each must match a line.
    pub(crate) expect: Vec<Pattern>,
    /// None may match a line.
    pub(crate) reject: Vec<Pattern>,
}

impl Patterns {
    /// Returns true if there are no patterns.
    pub(crate) fn is_empty(&self) -> bool {
        self.expect.is_empty() && self.reject.is_empty()
    }
}
