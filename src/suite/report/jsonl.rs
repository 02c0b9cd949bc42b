//! JSON Lines: a header, then one cell per line. Written, and read back for `--merge` and `--baseline`.
//!
//! Input is untrusted, since it comes from other machines: lines and cells are bounded, and an error names the line and
//! the violated rule. `--merge` checks that all cells are present.

use std::collections::HashMap;
use std::io::{self, BufRead, Read, Write};

use super::{CellReport, Format, Header, Report, Status, schema};

/// Line length limit, bytes. A cell with many attempts and thousands of parts is shorter.
const LINE: u64 = 64 << 20;
/// Limit of cells.
const CELLS: usize = 1_000_000;

/// Invalid report.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Read error.
    #[error("failed to read line {line}")]
    Io {
        /// Line number, from 1.
        line: usize,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A line violates a rule.
    #[error("line {line}: {rule}")]
    Line {
        /// Line number, from 1.
        line: usize,
        /// Violated rule.
        rule: String,
    },
}

/// The format.
pub(super) static FORMAT: Format = Format {
    name: "jsonl",
    help: "Write the complete report to FILE as JSON Lines",
    write: |report, _, out| write(report, out),
};

/// Writes a report.
pub(crate) fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    line(&report.header, out)?;
    report.cells.iter().try_for_each(|cell| line(cell, out))
}

fn line(value: &impl serde::Serialize, out: &mut dyn Write) -> io::Result<()> {
    // One write per line: `out` need not be buffered.
    let mut text = serde_json::to_vec(value)?;
    text.push(b'\n');
    out.write_all(&text)
}

/// Reads a report.
pub fn read(input: impl BufRead) -> Result<Report, ReadError> {
    let mut lines = Lines { input, line: 0, text: Vec::new() };
    let header = match lines.next()? {
        Some(text) => header(text),
        None => Err("empty file: expected a report header".to_owned()),
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
            return Err(refuse(format!("duplicate cell `{}` (first in line {first})", cell.id)));
        }
        cells.push(cell);
    }
    Ok(Report { header, cells })
}

fn header(text: &[u8]) -> Result<Header, String> {
    let header: Header = serde_json::from_slice(text).map_err(|error| format!("invalid header: {error}"))?;
    if header.format != schema::FORMAT {
        return Err(format!("not a report header: expected \"format\":{:?}", schema::FORMAT));
    }
    if header.version != schema::VERSION {
        return Err(format!("unsupported format version {}, expected {}", header.version, schema::VERSION));
    }
    if header.shard.is_some_and(|shard| shard.index == 0 || shard.index > shard.total) {
        return Err("shard index out of range (1 to the total)".to_owned());
    }
    Ok(header)
}

fn cell(text: &[u8]) -> Result<CellReport, String> {
    let cell: CellReport = serde_json::from_slice(text).map_err(|error| format!("invalid cell: {error}"))?;
    let named = [&cell.id, &cell.test, &cell.kernel, &cell.machine];
    if named.into_iter().any(String::is_empty) {
        return Err("cell without id, test, kernel or machine".to_owned());
    }
    if cell.status.has_passed() && !cell.final_attempt().is_some_and(|attempt| attempt.passed) {
        return Err(format!("cell `{}` is {}, but its last attempt did not pass", cell.id, cell.status.name()));
    }
    if cell.status == Status::Skipped && !cell.final_attempt().is_some_and(|attempt| attempt.skipped) {
        return Err(format!("cell `{}` is skipped, but its last attempt is not", cell.id));
    }
    Ok(cell)
}

/// Iterator over the lines of a file; each must be terminated and within the length limit.
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
            Some(_) if self.text.len() as u64 == LINE => refuse(format!("line longer than {LINE} bytes")),
            // The writer or a copy was interrupted: more lines may be missing.
            Some(_) => refuse("truncated: line feed missing".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Status, read, write};
    use crate::suite::report::Report;
    use crate::suite::tests::sample::{many, sample};
    use proptest::prelude::{ProptestConfig, any, proptest};

    fn text(report: &Report) -> String {
        let mut text = Vec::new();
        write(report, &mut text).expect("memory");
        String::from_utf8(text).expect("JSON is text")
    }

    fn error(text: &str) -> String {
        read(text.as_bytes()).expect_err("refused").to_string()
    }

    #[test]
    fn a_written_report_is_read_back() {
        let report = sample();
        assert_eq!(read(text(&report).as_bytes()).expect("a report"), report);
        assert_eq!(text(&report).lines().count(), 1 + report.cells.len());
    }

    #[test]
    fn fields_may_be_missing_or_unknown_and_a_missing_status_is_not_run() {
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
        assert_eq!(error(""), "line 1: empty file: expected a report header");
        assert_eq!(error("{}\n"), "line 1: not a report header: expected \"format\":\"bootling-report\"");
        assert!(error("x\n").starts_with("line 1: invalid header: expected value"), "{}", error("x\n"));
        let newer = header.replace("\"version\":1", "\"version\":2");
        assert_eq!(error(&(newer + "\n")), "line 1: unsupported format version 2, expected 1");
        let shard = header.replace("\"shard\":null", "\"shard\":{\"index\":3,\"total\":2}");
        assert_eq!(error(&(shard + "\n")), "line 1: shard index out of range (1 to the total)");
        let twice = format!("{header}\n{cell}\n{cell}\n");
        assert_eq!(error(&twice), "line 3: duplicate cell `boot/6.1/q35` (first in line 2)");
        assert_eq!(error(&good[..good.len() - 1]), "line 9: truncated: line feed missing");
        let claim = cell.replace("\"passed\":true", "\"passed\":false");
        let claim = error(&format!("{header}\n{claim}\n"));
        assert_eq!(claim, "line 2: cell `boot/6.1/q35` is passed, but its last attempt did not pass");
        let claim = cell.replace("\"status\":\"passed\"", "\"status\":\"skipped\"");
        let claim = error(&format!("{header}\n{claim}\n"));
        assert_eq!(claim, "line 2: cell `boot/6.1/q35` is skipped, but its last attempt is not");
        assert_eq!(error(&format!("{header}\n{{}}\n")), "line 2: cell without id, test, kernel or machine");
        let deep = format!("{header}\n{}\n", "[".repeat(100_000));
        assert!(error(&deep).starts_with("line 2: invalid cell: "), "{}", error(&deep));
    }

    #[test]
    fn ten_thousand_cells_are_written_and_read_back() {
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
