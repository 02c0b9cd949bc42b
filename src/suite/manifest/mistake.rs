//! Mistakes in a manifest: position, message, and the line with a mark below it.

use std::fmt;
use std::ops::Range;

/// Maximum length of a printed line, in characters.
const SHOWN: usize = 120;

/// All mistakes in a manifest, in text order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes {
    /// Manifest file, as the user named it.
    pub file: String,
    /// The mistakes: at least one.
    pub mistakes: Vec<Mistake>,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Line number, from 1.
    pub line: usize,
    /// Column, in characters, from 1.
    pub column: usize,
    /// Message.
    pub what: String,
    /// The line, or an excerpt of it.
    shown: String,
    /// Column range of the mark below the line, in characters.
    mark: Range<usize>,
}

impl Mistake {
    /// Creates a mistake for a byte range of `text`.
    pub(super) fn new(text: &str, bytes: Range<usize>, what: impl Into<String>) -> Self {
        let start = floor(text, bytes.start);
        let end = floor(text, bytes.end.max(start));
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line = text[line_start..].split('\n').next().unwrap_or_default().trim_end_matches('\r');
        let column = text[line_start..start].chars().count();
        // A range of several lines is marked up to the end of its first line.
        let marked = text[start..end].split('\n').next().unwrap_or_default().trim_end().chars().count().max(1);
        let first = if line.chars().count() <= SHOWN { 0 } else { column.saturating_sub(SHOWN / 2) };
        let shown: String = line.chars().skip(first).take(SHOWN).map(printable).collect();
        let mark_end = (column - first + marked).min(shown.chars().count().max(column - first + 1));
        Self {
            line: text[..line_start].matches('\n').count() + 1,
            column: column + 1,
            what: what.into(),
            shown,
            mark: column - first..mark_end,
        }
    }
}

/// Returns the last character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

fn printable(letter: char) -> char {
    if letter.is_control() && letter != '\t' { '\u{FFFD}' } else { letter }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, mistake) in self.mistakes.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            let Mistake { line, column, what, shown, mark } = mistake;
            writeln!(f, "{}:{line}:{column}: {what}", self.file)?;
            let width = line.to_string().len();
            writeln!(f, " {line:width$} | {shown}")?;
            // A tab before the mark must be as wide as the one above it.
            let before = shown.chars().chain(std::iter::repeat(' ')).take(mark.start);
            let before: String = before.map(|letter| if letter == '\t' { '\t' } else { ' ' }).collect();
            write!(f, " {:width$} | {before}{}", "", "^".repeat(mark.len()))?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// Returns the name in `known` that was most likely intended.
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let most = (typed.chars().count() / 3).max(1);
    let near = known.into_iter().map(|name| (strsim::damerau_levenshtein(typed, name), name));
    near.filter(|(distance, _)| *distance <= most).min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

/// Returns `; did you mean "..."?` if a name in `known` is similar.
pub(super) fn did_you_mean<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(typed, known).map(|name| format!("; did you mean {name:?}?")).unwrap_or_default()
}
