//! Expected and rejected console output.
//!
//! Each line is matched while it is incomplete, so that a prompt without a line end is found; `$` therefore matches at
//! the end of the output so far. Expectations are matched in order, each after the previous match. Rejected patterns
//! take precedence. Memory is bounded: only the end of a long line is matched.

use regex::bytes::Regex;

use crate::format::guest_text;
use crate::format::terminal_text::{Piece, Plain};

/// Maximum length of the part of a line that is matched, in bytes.
const LINE: usize = 8 * 1024;

/// Expectations for a console and a screen.
#[derive(Debug, Default)]
pub struct Expectations {
    console: Vec<Regex>,
    screen: Vec<Regex>,
    rejected: Vec<Regex>,
    met: usize,
    screen_met: usize,
    plain: Plain,
    line: Vec<u8>,
    /// Offset in the line at which the search for the next expectation starts.
    from: usize,
    /// Set after the final match: only the rest of the matching line is read.
    decided: Option<Rest>,
}

/// State of the matching line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    ToCome,
    Here,
    /// The match was not on the console.
    Elsewhere,
}

/// Result of matching.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sighting {
    /// All expectations matched; the line of the last match.
    Met(String),
    /// A line with rejected output.
    Rejected(String),
}

impl Expectations {
    /// Creates expectations for the console and the screen, each in order, and rejected patterns for the console.
    pub fn new(console: Vec<Regex>, screen: Vec<Regex>, rejected: Vec<Regex>) -> Self {
        Self { console, screen, rejected, ..Self::default() }
    }

    /// Returns true if anything is expected.
    pub(crate) fn are_any(&self) -> bool {
        !(self.console.is_empty() && self.screen.is_empty())
    }

    /// Returns true if an expectation for the screen is not met yet.
    pub(crate) fn expects_screen(&self) -> bool {
        self.screen_met < self.screen.len()
    }

    /// Returns the expectations without a match.
    pub(crate) fn missing(&self) -> Vec<String> {
        let left = |all: &[Regex], met: usize| all[met..].iter().map(ToString::to_string).collect::<Vec<_>>();
        [left(&self.console, self.met), left(&self.screen, self.screen_met)].concat()
    }

    /// Returns the matching console line as received so far, and true if it is complete.
    pub(crate) fn whole_line(&self) -> Option<(String, bool)> {
        let rest = self.decided.filter(|rest| *rest != Rest::Elsewhere)?;
        Some((self.matching_line(), rest == Rest::Here))
    }

    /// Matches the next console bytes. Returns at most one sighting in total.
    pub fn feed(&mut self, bytes: &[u8]) -> Option<Sighting> {
        let mut bytes = bytes.iter();
        if self.decided.is_none() {
            let found = self.read(&mut bytes)?;
            self.decided.get_or_insert(Rest::ToCome);
            self.read_rest(bytes);
            return Some(found);
        }
        self.read_rest(bytes);
        None
    }

    fn read_rest<'a>(&mut self, bytes: impl Iterator<Item = &'a u8>) {
        for byte in bytes {
            match self.plain.feed(*byte) {
                _ if self.decided != Some(Rest::ToCome) => return,
                Some(Piece::LineEnd) => self.decided = Some(Rest::Here),
                Some(Piece::Text(byte)) if self.line.len() < LINE => self.line.push(byte),
                Some(Piece::Text(_)) | None => {}
            }
        }
    }

    fn read<'a>(&mut self, bytes: &mut impl Iterator<Item = &'a u8>) -> Option<Sighting> {
        for byte in bytes {
            match self.plain.feed(*byte) {
                None => {}
                Some(Piece::Text(byte)) => {
                    self.line.push(byte);
                    if self.line.len() >= LINE
                        && let found @ Some(_) = self.shorten()
                    {
                        return found;
                    }
                }
                Some(Piece::LineEnd) => {
                    let found = self.advance();
                    if found.is_some() {
                        self.decided = Some(Rest::Here);
                        return found;
                    }
                    self.line.clear();
                    self.from = 0;
                }
            }
        }
        self.advance()
    }

    /// Matches the screen content.
    pub(crate) fn see(&mut self, rows: &[String]) -> Option<Sighting> {
        let text = rows.join("\n");
        let mut from = 0;
        while let Some(found) =
            self.screen.get(self.screen_met).and_then(|wanted| wanted.find_at(text.as_bytes(), from))
        {
            self.screen_met += 1;
            from = found.end();
            if self.is_met() {
                self.decided.get_or_insert(Rest::Elsewhere);
                let line = text.get(..from).and_then(|before| before.lines().last()).unwrap_or_default();
                return Some(Sighting::Met(line.trim_end().to_owned()));
            }
        }
        None
    }

    fn is_met(&self) -> bool {
        self.are_any() && self.met == self.console.len() && !self.expects_screen()
    }

    /// Matches the current line as received so far.
    fn advance(&mut self) -> Option<Sighting> {
        if self.line.is_empty() && self.from > 0 {
            return None;
        }
        if self.rejected.iter().any(|wrong| wrong.is_match(&self.line)) {
            return Some(Sighting::Rejected(self.matching_line()));
        }
        while let Some(found) = self.console.get(self.met).and_then(|next| next.find_at(&self.line, self.from)) {
            self.met += 1;
            self.from = found.end();
            if self.is_met() {
                return Some(Sighting::Met(self.matching_line()));
            }
        }
        None
    }

    /// Matches a line that is too long, then drops its first half.
    fn shorten(&mut self) -> Option<Sighting> {
        let found = self.advance();
        self.line.drain(..LINE / 2);
        self.from = self.from.saturating_sub(LINE / 2);
        found
    }

    fn matching_line(&self) -> String {
        let mut matching_line = guest_text::line(&self.line);
        if let Some((at, _)) = matching_line.char_indices().nth(512) {
            matching_line.truncate(at);
        }
        matching_line
    }
}

#[cfg(test)]
mod tests {
    use super::{Expectations, LINE, Sighting};
    use proptest::prelude::*;
    use regex::bytes::Regex;

    fn regexes(patterns: &[&str]) -> Vec<Regex> {
        patterns.iter().map(|pattern| Regex::new(pattern).expect("a pattern")).collect()
    }

    fn expect(patterns: &[&str], rejected: &[&str]) -> Expectations {
        Expectations::new(regexes(patterns), Vec::new(), regexes(rejected))
    }

    #[test]
    fn a_prompt_matches_before_its_line_ends_and_despite_colors() {
        let mut expected = expect(&["^debian login: $"], &[]);
        assert_eq!(expected.feed(b"last login: x\r\n"), None);
        assert_eq!(expected.feed(b"\x1b[1mdebian\x1b[0m lo"), None);
        assert_eq!(expected.feed(b"gin: "), Some(Sighting::Met("debian login:".to_owned())));
        assert_eq!(expected.whole_line(), Some(("debian login:".to_owned(), false)));
        assert_eq!(expected.feed(b"root\r\nPassword: "), None);
        assert_eq!(expected.whole_line(), Some(("debian login: root".to_owned(), true)));
        assert!(expected.missing().is_empty());
    }

    #[test]
    fn expectations_match_in_order_each_after_the_previous_match() {
        let mut expected = expect(&["one", "two", "t"], &[]);
        assert_eq!(expected.feed(b"two one\n"), None);
        assert_eq!(expected.missing(), ["two", "t"]);
        assert_eq!(expected.feed(b"two"), None);
        assert_eq!(expected.missing(), ["t"]);
        assert_eq!(expected.feed(b"-\n\nt"), Some(Sighting::Met("t".to_owned())));
    }

    #[test]
    fn rejected_patterns_take_precedence() {
        let mut expected = expect(&["done"], &["(?i)error"]);
        assert_eq!(expected.feed(b"done with ERRORs\n"), Some(Sighting::Rejected("done with ERRORs".to_owned())));
        let mut nothing_expected = expect(&[], &["x"]);
        assert!(!nothing_expected.are_any());
        assert_eq!(nothing_expected.feed(b"abc\n\r\n"), None);
        assert_eq!(nothing_expected.feed(b"x"), Some(Sighting::Rejected("x".to_owned())));
    }

    #[test]
    fn screen_expectations_match_the_whole_screen() {
        let mut expected = Expectations::new(regexes(&["ready"]), regexes(&["(?m)^UEFI$", "only"]), Vec::new());
        let rows = ["UEFI", "", "only   "].map(str::to_owned);
        assert!(expected.expects_screen());
        assert_eq!(expected.see(&rows[..1]), None);
        assert_eq!(expected.missing(), ["ready", "only"]);
        assert_eq!(expected.see(&rows), None, "the console expectation has not matched");
        assert_eq!(expected.feed(b"ready"), Some(Sighting::Met("ready".to_owned())));
    }

    #[test]
    fn an_endless_line_is_matched_in_bounded_memory() {
        let mut expected = expect(&["needle"], &[]);
        for _ in 0..1000 {
            assert_eq!(expected.feed(&[b'x'; 1021]), None);
            assert!(expected.line.len() < LINE);
        }
        assert!(matches!(expected.feed(b"needle"), Some(Sighting::Met(_))));
    }

    proptest! {
        #[test]
        fn matches_do_not_depend_on_chunk_boundaries(
            noise in proptest::collection::vec("[a-z \x1b\\[0-9;mH\r\n\u{e9}]{0,20}", 1..12),
            cuts in proptest::collection::vec(1_usize..40, 1..40),
            words in proptest::collection::vec(0_usize..3, 0..12),
        ) {
            let wanted = ["FIRST", "SECOND", "THIRD"];
            let mut stream = String::new();
            for (at, part) in noise.iter().enumerate() {
                stream.push_str(part);
                if let Some(word) = words.get(at) {
                    stream.push('\n');
                    stream.push_str(wanted[*word]);
                }
            }
            let whole = {
                let mut expected = expect(&wanted, &["WRONG"]);
                (expected.feed(stream.as_bytes()).is_some(), expected.missing())
            };
            let mut expected = expect(&wanted, &["WRONG"]);
            let mut rest = stream.as_bytes();
            let mut seen = false;
            for cut in cuts.iter().cycle() {
                if rest.is_empty() || seen {
                    break;
                }
                let (part, after) = rest.split_at((*cut).min(rest.len()));
                seen = expected.feed(part).is_some();
                rest = after;
            }
            prop_assert_eq!((seen, expected.missing()), whole);
        }
    }
}
