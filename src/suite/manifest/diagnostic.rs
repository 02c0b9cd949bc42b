//! Manifest errors: each with its position, the line and a marker below it.

use std::fmt;
use std::ops::Range;

use crate::format::guest_text::head;

/// Limit of characters shown of a long line.
const MAX_SHOWN: usize = 120;

/// All errors of a manifest, in the order of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestError {
    /// The manifest file, as given by the user.
    pub(crate) file: String,
    /// The errors, at least one.
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// One error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Diagnostic {
    /// Line, from 1.
    pub(crate) line: usize,
    /// Column, in characters, from 1.
    pub(crate) column: usize,
    /// Error message, one sentence.
    pub(crate) message: String,
    /// The line, or the part of it that is shown.
    shown: String,
    /// Position and length of the marker below the shown line, in characters.
    marker: Range<usize>,
}

impl Diagnostic {
    /// Creates the diagnostic for these bytes of a text.
    pub(in crate::suite) fn new(text: &str, bytes: Range<usize>, message: impl Into<String>) -> Self {
        let start = head(text, bytes.start).len();
        let end = head(text, bytes.end.max(start)).len();
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line = first_line(&text[line_start..]).trim_end_matches('\r');
        let column = text[line_start..start].chars().count();
        // A range of several lines is marked to the end of its first line.
        let marked = first_line(&text[start..end]).trim_end().chars().count().max(1);
        let first = if line.chars().count() <= MAX_SHOWN { 0 } else { column.saturating_sub(MAX_SHOWN / 2) };
        let shown: String = line.chars().skip(first).take(MAX_SHOWN).map(printable).collect();
        let marker_end = (column - first + marked).min(shown.chars().count().max(column - first + 1));
        Self {
            line: text[..line_start].matches('\n').count() + 1,
            column: column + 1,
            message: message.into(),
            shown,
            marker: column - first..marker_end,
        }
    }
}

fn first_line(text: &str) -> &str {
    text.split('\n').next().unwrap_or_default()
}

fn printable(letter: char) -> char {
    if letter.is_control() && letter != '\t' { char::REPLACEMENT_CHARACTER } else { letter }
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, diagnostic) in self.diagnostics.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            let Diagnostic { line, column, message, shown, marker } = diagnostic;
            writeln!(f, "{}:{line}:{column}: {message}", self.file)?;
            let width = line.to_string().len();
            writeln!(f, " {line:width$} | {shown}")?;
            // A tab stays a tab, so that the marker is aligned.
            let before = shown.chars().chain(std::iter::repeat(' ')).take(marker.start);
            let before: String = before.map(|letter| if letter == '\t' { '\t' } else { ' ' }).collect();
            write!(f, " {:width$} | {before}{}", "", "^".repeat(marker.len()))?;
        }
        Ok(())
    }
}

impl std::error::Error for ManifestError {}

/// Returns the known name that is most similar to `name`, if one is similar enough.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (name.chars().count() / 3).max(1);
    let similar = known.into_iter().map(|known| (strsim::damerau_levenshtein(name, known), known));
    similar.filter(|(distance, _)| *distance <= limit).min_by_key(|(distance, _)| *distance).map(|(_, known)| known)
}

/// Returns `; did you mean "..."?` if a known name is similar.
pub(crate) fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, known).map(|known| format!("; did you mean {known:?}?")).unwrap_or_default()
}
