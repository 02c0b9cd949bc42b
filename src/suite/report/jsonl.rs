//! JSON Lines: a header, then a cell a line. Written, and read back for `--merge` and `--baseline`.
//!
//! What is read is untrusted, since it comes from other machines: lines and cells are bounded, and an error names the line
//! and the rule that it breaks. Whether all cells are there is `--merge`'s to judge.

use std::collections::HashMap;
use std::io::{self, BufRead, Read, Write};

use super::{CellReport, Header, Report, Status};

/// What a report's header has as its format.
pub const FORMAT: &str = "bootling-report";
/// And as its version. Fields can be added without another one.
pub const VERSION: u32 = 1;

/// Longest line that is read: a cell with many tries and thousands of parts stays below it.
const LINE: u64 = 64 << 20;
/// Most cells that are read.
const CELLS: usize = 1_000_000;

/// Why something is not a report.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It could not be read at all.
    #[error("reading line {line}")]
    Io {
        /// Which line, from 1.
        line: usize,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line breaks a rule.
    #[error("line {line}: {rule}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What is wrong with it.
        rule: String,
    },
}

/// Writes a report.
pub fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    line(&report.header, out)?;
    report.cells.iter().try_for_each(|cell| line(cell, out))
}

fn line(value: &impl serde::Serialize, out: &mut dyn Write) -> io::Result<()> {
    // One call of the writer a line: what is behind `out` need not be buffered.
    let mut text = serde_json::to_vec(value)?;
    text.push(b'\n');
    out.write_all(&text)
}

/// Reads a report.
pub fn read(input: impl BufRead) -> Result<Report, ReadError> {
    let mut lines = Lines { input, line: 0, text: Vec::new() };
    let header = match lines.next()? {
        Some(text) => header(text),
        None => Err("it is empty: a report begins with its header".to_owned()),
    };
    let header = header.map_err(|rule| ReadError::Line { line: 1, rule })?;
    let mut cells = Vec::new();
    let mut seen: HashMap<String, usize> = HashMap::new();
    while let Some(text) = lines.next()? {
        let cell = cell(text);
        let number = lines.line;
        let refuse = |rule| ReadError::Line { line: number, rule };
        let cell = cell.map_err(refuse)?;
        if cells.len() == CELLS {
            return Err(refuse(format!("more than {CELLS} cells")));
        }
        if let Some(first) = seen.insert(cell.id.clone(), number) {
            return Err(refuse(format!("cell `{}` is there a second time (first in line {first})", cell.id)));
        }
        cells.push(cell);
    }
    Ok(Report { header, cells })
}

fn header(text: &[u8]) -> Result<Header, String> {
    let header: Header = serde_json::from_slice(text).map_err(|error| format!("it is no header: {error}"))?;
    if header.format != FORMAT {
        return Err(format!("it is not a report's header, which has \"format\":\"{FORMAT}\""));
    }
    if header.version != VERSION {
        return Err(format!("version {} of the format; this bootling reads version {VERSION}", header.version));
    }
    if header.shard.is_some_and(|shard| shard.index == 0 || shard.index > shard.total) {
        return Err("its shard's index is not between 1 and the total".to_owned());
    }
    Ok(header)
}

fn cell(text: &[u8]) -> Result<CellReport, String> {
    let cell: CellReport = serde_json::from_slice(text).map_err(|error| format!("it is no cell: {error}"))?;
    let named = [&cell.id, &cell.test, &cell.kernel, &cell.machine];
    if named.into_iter().any(String::is_empty) {
        return Err("a cell without id, test, kernel or machine".to_owned());
    }
    if cell.status.has_passed() && !cell.last().is_some_and(|attempt| attempt.passed) {
        return Err(format!("cell `{}` is {}, and its last try did not pass", cell.id, cell.status.name()));
    }
    if cell.status == Status::Skipped && !cell.last().is_some_and(|attempt| attempt.skipped) {
        return Err(format!("cell `{}` is skipped, and its last try was not", cell.id));
    }
    Ok(cell)
}

/// The lines of a file, each within its bound and with its end.
struct Lines<R> {
    input: R,
    line: usize,
    text: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    fn next(&mut self) -> Result<Option<&[u8]>, ReadError> {
        self.line += 1;
        self.text.clear();
        let read = self.input.by_ref().take(LINE).read_until(b'\n', &mut self.text);
        read.map_err(|source| ReadError::Io { line: self.line, source })?;
        let refuse = |rule: String| Err(ReadError::Line { line: self.line, rule });
        match self.text.split_last() {
            None => Ok(None),
            Some((b'\n', text)) => Ok(Some(text)),
            Some(_) if self.text.len() as u64 == LINE => refuse(format!("longer than {LINE} bytes")),
            // Whoever wrote it was stopped, or the copy was: more lines may be missing.
            Some(_) => refuse("it is cut off: a line ends with a line feed".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Status, read, write};
    use crate::suite::report::Report;
    use crate::suite::report::sample::{many, sample};
    use proptest::prelude::{ProptestConfig, any, proptest};

    fn text(report: &Report) -> String {
        let mut text = Vec::new();
        write(report, &mut text).expect("memory");
        String::from_utf8(text).expect("JSON is text")
    }

    fn error(text: &str) -> String {
        read(text.as_bytes()).expect_err("it is refused").to_string()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let report = sample();
        assert_eq!(read(text(&report).as_bytes()).expect("a report"), report);
        assert_eq!(text(&report).lines().count(), 1 + report.cells.len());
    }

    #[test]
    fn fields_may_be_missing_and_unknown_and_a_status_is_never_made_up() {
        let text = "{\"format\":\"bootling-report\",\"version\":1,\"new\":[1]}\n\
                    {\"id\":\"t/k/m\",\"test\":\"t\",\"kernel\":\"k\",\"machine\":\"m\",\"new\":{}}\n";
        let report = read(text.as_bytes()).expect("a report");
        assert_eq!(report.cells[0].status, Status::NotRun);
        assert!(!report.is_good());
    }

    #[test]
    fn an_error_names_the_line_and_the_rule() {
        let good = text(&sample());
        let header = good.lines().next().expect("a header");
        let cell = good.lines().nth(1).expect("a cell");
        assert_eq!(error(""), "line 1: it is empty: a report begins with its header");
        assert_eq!(error("{}\n"), "line 1: it is not a report's header, which has \"format\":\"bootling-report\"");
        assert!(error("x\n").starts_with("line 1: it is no header: expected value"), "{}", error("x\n"));
        let newer = header.replace("\"version\":1", "\"version\":2");
        assert_eq!(error(&(newer + "\n")), "line 1: version 2 of the format; this bootling reads version 1");
        let shard = header.replace("\"shard\":null", "\"shard\":{\"index\":3,\"total\":2}");
        assert_eq!(error(&(shard + "\n")), "line 1: its shard's index is not between 1 and the total");
        let twice = format!("{header}\n{cell}\n{cell}\n");
        assert_eq!(error(&twice), "line 3: cell `boot/6.1/q35` is there a second time (first in line 2)");
        assert_eq!(error(&good[..good.len() - 1]), "line 9: it is cut off: a line ends with a line feed");
        let claim = cell.replace("\"passed\":true", "\"passed\":false");
        let claim = error(&format!("{header}\n{claim}\n"));
        assert_eq!(claim, "line 2: cell `boot/6.1/q35` is passed, and its last try did not pass");
        let claim = cell.replace("\"status\":\"passed\"", "\"status\":\"skipped\"");
        let claim = error(&format!("{header}\n{claim}\n"));
        assert_eq!(claim, "line 2: cell `boot/6.1/q35` is skipped, and its last try was not");
        assert_eq!(error(&format!("{header}\n{{}}\n")), "line 2: a cell without id, test, kernel or machine");
        let deep = format!("{header}\n{}\n", "[".repeat(100_000));
        assert!(error(&deep).starts_with("line 2: it is no cell: "), "{}", error(&deep));
    }

    #[test]
    fn ten_thousand_cells_go_there_and_back() {
        let report = many(10_000);
        assert_eq!(read(text(&report).as_bytes()).expect("a report"), report);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn anything_is_read_or_refused(lines in proptest::collection::vec(any::<String>(), 0..4), at in 0_usize..10_000, byte in any::<u8>()) {
            let _ = read(lines.join("\n").as_bytes());
            let mut damaged = text(&sample()).into_bytes();
            let at = at % damaged.len();
            damaged[at] = byte;
            let _ = read(damaged.as_slice());
        }
    }
}
