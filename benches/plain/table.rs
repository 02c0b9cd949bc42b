//! The table printed by `make bench`.

use std::io::{self, Write};

use crate::sample::Sample;

/// Rows of the table.
pub(crate) struct Table(Vec<Row>);

struct Row {
    what: String,
    ours: String,
    spread: String,
    plain: String,
    ratio: String,
    rest: String,
    goal: String,
}

/// Goal for a value.
pub(crate) struct Goal {
    /// Text of the goal.
    pub text: &'static str,
    /// True if the goal is met.
    pub met: bool,
}

impl Table {
    /// Creates an empty table.
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a row: bootling's times, the plain way's times if any, other values, and a goal.
    pub(crate) fn time(&mut self, what: &str, ours: &Sample, plain: Option<&Sample>, rest: String, goal: Option<Goal>) {
        let (low, high) = ours.spread();
        self.0.push(Row {
            what: what.to_owned(),
            ours: format!("{:.1} ms", ours.median()),
            spread: format!("{low:.1}-{high:.1}"),
            plain: plain.map(|plain| format!("{:.1} ms", plain.median())).unwrap_or_default(),
            ratio: plain.map(|plain| format!("{:.1}x", plain.median() / ours.median())).unwrap_or_default(),
            rest,
            goal: goal
                .map(|goal| format!("{} {}", goal.text, if goal.met { "(met)" } else { "(MISSED)" }))
                .unwrap_or_default(),
        });
    }

    /// Writes the table with aligned columns.
    pub(crate) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let head = ["", "bootling", "10-90 %", "plain way", "ratio", "memory and sizes", "goal"];
        let rows: Vec<[&str; 7]> = std::iter::once(head)
            .chain(self.0.iter().map(|row| {
                [&row.what, &row.ours, &row.spread, &row.plain, &row.ratio, &row.rest, &row.goal].map(String::as_str)
            }))
            .collect();
        let width =
            |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.len()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        for row in &rows {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            writeln!(out, "{}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }
}
