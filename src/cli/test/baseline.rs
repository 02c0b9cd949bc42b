//! Reads an earlier report and compares the new one with it.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::Context;

use crate::cli::output;
use bootling::suite::baseline::{Comparison, compare as compare_reports};
use bootling::suite::report::{Report, jsonl};

/// Limit of changes of each kind printed to the terminal.
const MAX_CHANGES: usize = 20;

/// Reads a report that `--jsonl` wrote.
pub(crate) fn read(path: &Path) -> anyhow::Result<Report> {
    let reading = || format!("failed to read {}", path.display());
    let file = File::open(path).with_context(reading)?;
    jsonl::read(BufReader::new(file)).with_context(reading)
}

/// Compares two reports and prints the differences to standard error.
pub(crate) fn compare(earlier: &Report, report: &Report) -> Comparison {
    let comparison = compare_reports(earlier, report);
    let lines = comparison.lines(MAX_CHANGES);
    output::to_stderr(&format!("bootling: changes since the earlier report: {}\n", lines.join("\n")));
    comparison
}
