//! Reports that are there already: read, and compared with.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::Context;

use crate::cli::output;
use bootling::suite::baseline::{self, Comparison};
use bootling::suite::report::{Report, jsonl};

/// Changes of a kind that a terminal gets.
const MOST: usize = 20;

/// Reads a report that `--jsonl` wrote.
pub fn read(path: &Path) -> anyhow::Result<Report> {
    let reading = || format!("reading {}", path.display());
    let file = File::open(path).with_context(reading)?;
    jsonl::read(BufReader::new(file)).with_context(reading)
}

/// Tells what is different.
pub fn compare(earlier: &Report, report: &Report) -> Comparison {
    let comparison = baseline::compare(earlier, report);
    let lines = comparison.lines(MOST);
    output::to_stderr(&format!("bootling: since the earlier report: {}\n", lines.join("\n")));
    comparison
}
