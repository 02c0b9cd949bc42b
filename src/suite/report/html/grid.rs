//! Grid of the matrix: one row per test, one column per kernel and machine.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use crate::format::guest_text::one_line;
use crate::suite::report::Report;

/// The grid.
#[derive(Debug, Default, Serialize)]
pub(super) struct Grid {
    kernels: Vec<KernelHeading>,
    /// Machine of each column.
    columns: Vec<String>,
    rows: Vec<Row>,
}

/// Heading of a kernel, above its machines.
#[derive(Debug, Serialize)]
struct KernelHeading {
    name: String,
    release: Option<String>,
    columns: usize,
}

/// Row of a test.
#[derive(Debug, Serialize)]
struct Row {
    test: String,
    /// Indexes of the cells by column: several if the test is repeated, none if it is excluded.
    cells: Vec<Vec<usize>>,
}

impl Grid {
    /// Builds the grid of a report. Tests, kernels and machines are in the order of the cells.
    pub(super) fn new(report: &Report) -> Self {
        let kernels = grouped(report.cells.iter().map(|cell| (cell.kernel.as_str(), cell.machine.as_str())));
        let tests = grouped(report.cells.iter().enumerate().map(|(at, cell)| (cell.test.as_str(), at)));
        let mut columns = HashMap::new();
        let mut machines = Vec::new();
        let mut headings = Vec::new();
        for (kernel, mut names) in kernels {
            let mut seen = HashSet::new();
            names.retain(|name| seen.insert(*name));
            for machine in &names {
                columns.insert((kernel, *machine), machines.len());
                machines.push(one_line(machine));
            }
            let release = report.header.kernels.get(kernel).filter(|release| *release != kernel);
            let release = release.map(|release| one_line(release));
            headings.push(KernelHeading { name: one_line(kernel), release, columns: names.len() });
        }
        let row = |(test, cells): (&str, Vec<usize>)| {
            let mut row = Row { test: one_line(test), cells: vec![Vec::new(); machines.len()] };
            for at in cells {
                let cell = &report.cells[at];
                row.cells[columns[&(cell.kernel.as_str(), cell.machine.as_str())]].push(at);
            }
            row
        };
        Self { kernels: headings, rows: tests.into_iter().map(row).collect(), columns: machines }
    }
}

/// Groups values by name, in the order of the first value of each name.
fn grouped<'a, T>(values: impl Iterator<Item = (&'a str, T)>) -> Vec<(&'a str, Vec<T>)> {
    let mut groups: Vec<(&str, Vec<T>)> = Vec::new();
    let mut indexes: HashMap<&str, usize> = HashMap::new();
    for (name, value) in values {
        let index = *indexes.entry(name).or_insert_with(|| {
            groups.push((name, Vec::new()));
            groups.len() - 1
        });
        groups[index].1.push(value);
    }
    groups
}
