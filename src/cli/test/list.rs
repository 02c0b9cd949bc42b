//! `bootling test --list`: lists the cells.

use std::io::Write;

use anyhow::Context;

use crate::cli::output;
use bootling::suite::plan::{ListedCell, Plan};

/// Writes the list to standard output.
pub(crate) fn write(plan: &Plan, json: bool) -> anyhow::Result<()> {
    let writing = || "failed to write to standard output";
    let cells: Vec<ListedCell> = plan.list().collect();
    let mut out = output::stdout();
    if json {
        serde_json::to_writer_pretty(&mut out, &cells).with_context(writing)?;
        writeln!(out).with_context(writing)?;
    } else {
        for cell in &cells {
            let tags = if cell.tags.is_empty() { String::new() } else { format!("  [{}]", cell.tags.join(", ")) };
            writeln!(out, "{}{tags}", cell.id).with_context(writing)?;
        }
    }
    out.flush().with_context(writing)
}
