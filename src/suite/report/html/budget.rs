//! How much of what cells have to tell fits into a page.
//!
//! A page of 10,000 cells stays below 5 MB whatever they say: what the grid and the cells' own markup take is counted first,
//! and the rest is shared by the texts of those that did not simply pass. Only ids take what they take.

use super::escape;
use crate::suite::report::{CellReport, Report, Status, one_line, plain};

/// Bytes of a page.
const PAGE: usize = 4_950_000;
/// What stands in it once: styles, script, header.
const ONCE: usize = 32 << 10;
/// What a cell takes beside its texts, and its ids: in the grid and among the details.
const CELL: usize = 215;
/// The same for what says that it was tried several times.
const TRIED: usize = 50;
/// How often its id stands there.
const IDS: usize = 3;
/// What the markup of a tag takes.
const TAG: usize = 26;
/// Bytes that the texts of all cells may take together, however few have some.
const TEXTS: usize = 2 << 20;
/// Bytes that the texts of one cell may take, at most and at least.
const MOST: usize = 96 << 10;
const LEAST: usize = 64;
/// What the page's own words around a block of text take, and around a sentence.
const BLOCK: usize = 110;
const SENTENCE: usize = 40;
/// How much of a text is looked at for what fits, as a multiple of that, and at least: some of it may be what terminals obey.
const READ: usize = 4;
const READ_LEAST: usize = 4096;
/// Where there is less room for a cell, only its last try is told.
const SMALL: usize = 2 << 10;
/// A matrix with more cells tells of those that passed in one line.
pub const LARGE: usize = 400;

/// How much room is left.
#[derive(Debug)]
pub struct Budget {
    /// For the texts of each cell that has some.
    each: usize,
    /// Whether a cell that passed has more than a line.
    tells_passed: bool,
    /// For the texts of the cell at hand.
    left: usize,
    /// What repeats a cell, up to its id, where it is told once for all that do not say something else.
    pub repeat: Option<String>,
    /// Whether anything had to be cut.
    pub shortened: bool,
}

impl Budget {
    /// For the cells of a report, on a page whose other lists take so many bytes.
    pub fn of(report: &Report, lists: usize) -> Self {
        let tells_passed = report.cells.len() <= LARGE;
        let is_told = |cell: &&CellReport| tells_passed || cell.status != Status::Passed;
        let told = report.cells.iter().filter(is_told).count().max(1);
        let more = |cell: &CellReport| {
            let tags = cell.tags.iter().map(|tag| TAG + escape::bytes(tag)).sum::<usize>();
            tags + if cell.attempts.len() > 1 { TRIED } else { 0 }
        };
        let ids: usize = report.cells.iter().map(|cell| IDS * escape::bytes(&cell.id)).sum();
        let markup = ONCE + lists + ids + report.cells.len() * CELL;
        let taken = markup + report.cells.iter().filter(is_told).map(more).sum::<usize>();
        let each = (PAGE.saturating_sub(taken).min(TEXTS) / told).clamp(LEAST, MOST);
        let mut budget = Self { each, tells_passed, left: 0, repeat: None, shortened: false };
        budget.repeat = if budget.is_small() { common_repeat(report) } else { None };
        budget
    }

    /// Room for another cell.
    pub fn begin(&mut self) {
        self.left = self.each;
    }

    /// Whether this cell has a line alone.
    pub fn is_short(&self, cell: &CellReport) -> bool {
        cell.status == Status::Passed && !self.tells_passed
    }

    /// Whether there is so little for each cell that only what matters most is told.
    pub fn is_small(&self) -> bool {
        self.each < SMALL
    }

    /// Whether there is none for another block.
    pub fn is_spent(&self) -> bool {
        self.left <= BLOCK
    }

    /// A table's line takes room, whatever stands in it.
    pub fn line(&mut self) {
        self.left = self.left.saturating_sub(BLOCK);
    }

    /// A heading takes room, too.
    pub fn heading(&mut self, text: String) -> String {
        self.left = self.left.saturating_sub(escape::bytes(&text));
        text
    }

    /// What repeats a cell, unless that is told once for all of them. A half of such a line would be of no use, and what is
    /// left is for why the cell failed.
    pub fn repeat(&mut self, cell: &CellReport) -> Option<String> {
        let is_told = self.repeat.as_deref().is_some_and(|words| words_before_id(cell) == Some(words));
        if self.is_short(cell) || cell.repeat.is_empty() || is_told {
            return None;
        }
        let line = one_line(&cell.repeat);
        let takes = SENTENCE + escape::bytes(&line);
        if takes > self.left / 2 {
            self.shortened = true;
            return None;
        }
        self.left -= takes;
        Some(line)
    }

    /// The end of a text, within what is left.
    pub fn end(&mut self, text: &str) -> String {
        let room = self.room(BLOCK);
        let mut from = text.len().saturating_sub(room * READ + READ_LEAST);
        while !text.is_char_boundary(from) {
            from += 1;
        }
        let read = &text[from..];
        let plain = plain(read);
        let end = plain.trim_end();
        let fitting = escape::end(end, room);
        self.left -= escape::bytes(fitting);
        if read.len() == text.len() && fitting.len() == end.len() {
            return end.to_owned();
        }
        (self.shortened, self.left) = (true, 0);
        format!("[...]{fitting}")
    }

    /// The beginning of a text, within what is left.
    pub fn start(&mut self, text: &str) -> String {
        let room = self.room(SENTENCE);
        let mut to = text.len().min(room * READ + READ_LEAST);
        while !text.is_char_boundary(to) {
            to -= 1;
        }
        let read = &text[..to];
        let line = one_line(read);
        let fitting = escape::beginning(&line, room);
        self.left -= escape::bytes(fitting);
        if read.len() == text.len() && fitting.len() == line.len() {
            return line;
        }
        (self.shortened, self.left) = (true, 0);
        format!("{fitting}[...]")
    }

    /// What is left for a text itself.
    fn room(&mut self, around: usize) -> usize {
        self.left = self.left.saturating_sub(around);
        self.left
    }
}

/// What the cells' lines have before their ids: in the first that has some, and in most of them as a rule.
fn common_repeat(report: &Report) -> Option<String> {
    report.cells.iter().find_map(words_before_id).map(str::to_owned)
}

/// A cell's line without its id at the end, which may be quoted there.
fn words_before_id(cell: &CellReport) -> Option<&str> {
    let line = cell.repeat.as_str();
    let without = line.strip_suffix('\'').unwrap_or(line).strip_suffix(cell.id.as_str())?;
    let words = without.strip_suffix('\'').unwrap_or(without);
    words.ends_with(' ').then(|| words.trim_end())
}
