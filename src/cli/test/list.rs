//! `bootling test --list`: lists the cells.

use std::io::Write;

use anyhow::Context;
use serde::Serialize;

use crate::cli::output;
use bootling::suite::plan::Plan;

/// A cell in the JSON list. Fields may be added, never removed.
#[derive(Debug, Serialize)]
struct ListedCell<'a> {
    id: &'a str,
    test: &'a str,
    kernel: &'a str,
    machine: &'a str,
    repetition: Option<u32>,
    tags: Vec<String>,
}

/// Writes the list to standard output.
pub fn write(plan: &Plan, json: bool) -> anyhow::Result<()> {
    let writing = || "failed to write to standard output";
    let cells = plan.cells.iter().map(|cell| ListedCell {
        id: &cell.id,
        test: &plan.test(cell).name,
        kernel: &plan.spec.kernels[cell.kernel].name,
        machine: &plan.spec.machines[cell.machine].name,
        repetition: cell.repetition,
        tags: plan.tags(cell),
    });
    let mut out = output::stdout();
    if json {
        serde_json::to_writer_pretty(&mut out, &cells.collect::<Vec<_>>()).with_context(writing)?;
        writeln!(out).with_context(writing)?;
    } else {
        for cell in cells {
            let tags = if cell.tags.is_empty() { String::new() } else { format!("  [{}]", cell.tags.join(", ")) };
            writeln!(out, "{}{tags}", cell.id).with_context(writing)?;
        }
    }
    out.flush().with_context(writing)
}
