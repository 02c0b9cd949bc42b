//! Grid of the matrix: one row per test, one column per kernel and machine.

use std::collections::HashMap;

use serde::Serialize;

use super::budget::LARGE;
use super::{href, seconds, symbol};
use crate::suite::report::{Report, one_line};

/// The grid.
#[derive(Debug, Default, Serialize)]
pub struct Grid {
    kernels: Vec<Kernel>,
    columns: Vec<String>,
    rows: Vec<Row>,
}

/// Heading of a kernel, above its machines.
#[derive(Debug, Serialize)]
struct Kernel {
    name: String,
    release: Option<String>,
    columns: usize,
}

/// Row of a test.
#[derive(Debug, Serialize)]
struct Row {
    test: String,
    /// Cells by column: several if the test is repeated, none if it is excluded.
    cells: Vec<Vec<Mark>>,
}

/// A cell in the grid.
#[derive(Debug, Serialize)]
struct Mark {
    status: &'static str,
    symbol: &'static str,
    href: String,
    title: String,
}

impl Grid {
    /// Builds the grid of a report. Tests, kernels and machines are in the order of the cells.
    pub fn of(report: &Report) -> Self {
        let mut kernels: Vec<(&str, Vec<&str>)> = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::new();
        for cell in &report.cells {
            let place = *places.entry(&cell.kernel).or_insert_with(|| {
                kernels.push((&cell.kernel, Vec::new()));
                kernels.len() - 1
            });
            let machines = &mut kernels[place].1;
            if !machines.contains(&cell.machine.as_str()) {
                machines.push(&cell.machine);
            }
        }
        let pairs: Vec<_> = kernels
            .iter()
            .flat_map(|(kernel, machines)| machines.iter().map(move |machine| (*kernel, *machine)))
            .collect();
        let columns: HashMap<(&str, &str), usize> = pairs.iter().enumerate().map(|(at, pair)| (*pair, at)).collect();
        Self {
            kernels: kernels.iter().map(|(name, machines)| Kernel::of(report, name, machines.len())).collect(),
            columns: pairs.iter().map(|(_, machine)| one_line(machine)).collect(),
            rows: rows(report, &columns),
        }
    }
}

impl Kernel {
    fn of(report: &Report, name: &str, columns: usize) -> Self {
        let release = report.header.kernels.get(name).filter(|release| *release != name);
        Self { name: one_line(name), release: release.map(|release| one_line(release)), columns }
    }
}

fn rows(report: &Report, columns: &HashMap<(&str, &str), usize>) -> Vec<Row> {
    let is_large = report.cells.len() > LARGE;
    let mut rows: Vec<Row> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for cell in &report.cells {
        let place = *places.entry(&cell.test).or_insert_with(|| {
            rows.push(Row { test: one_line(&cell.test), cells: columns.iter().map(|_| Vec::new()).collect() });
            rows.len() - 1
        });
        if let Some(column) = columns.get(&(cell.kernel.as_str(), cell.machine.as_str())) {
            rows[place].cells[*column].push(Mark {
                status: cell.status.name(),
                symbol: symbol(cell.status),
                href: href(&cell.id),
                title: if is_large || cell.attempts.is_empty() { String::new() } else { seconds(cell.seconds()) },
            });
        }
    }
    rows
}
