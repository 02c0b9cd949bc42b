//! `[matrix]`: which combinations of tests, kernels and machines are cells.

use super::name::{self, KnownNames};
use super::table::Table;

/// Cell selection. By default, each test runs with each kernel on each machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MatrixSpec {
    /// Kernels of tests that name none; `None` for all.
    pub(crate) kernels: Option<Vec<String>>,
    /// Machines of tests that name none; `None` for all.
    pub(crate) machines: Option<Vec<String>>,
    /// Combinations to exclude.
    pub(crate) exclude: Vec<Combination>,
    /// Combinations to include nevertheless.
    pub(crate) include: Vec<Combination>,
}

/// Some tests with some kernels on some machines. `None` means all of them, or in `include`, those of the matrix.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Combination {
    /// Tests.
    pub(crate) tests: Option<Vec<String>>,
    /// Kernels.
    pub(crate) kernels: Option<Vec<String>>,
    /// Machines.
    pub(crate) machines: Option<Vec<String>>,
}

pub(super) fn read(mut keys: Table<'_, '_>, known: &KnownNames) -> MatrixSpec {
    let spec = MatrixSpec {
        kernels: name::names(&mut keys, "kernels", "kernel", &known.kernels),
        machines: name::names(&mut keys, "machines", "machine", &known.machines),
        exclude: combinations(&mut keys, "exclude", known),
        include: combinations(&mut keys, "include", known),
    };
    keys.finish();
    spec
}

fn combinations(keys: &mut Table<'_, '_>, key: &'static str, known: &KnownNames) -> Vec<Combination> {
    let read = |mut keys: Table<'_, '_>| {
        let combination = Combination {
            tests: name::names(&mut keys, "test", "test", &known.tests),
            kernels: name::names(&mut keys, "kernel", "kernel", &known.kernels),
            machines: name::names(&mut keys, "machine", "machine", &known.machines),
        };
        if !["test", "kernel", "machine"].iter().any(|name| keys.has(name)) {
            let message = format!("an entry of {key:?} needs \"test\", \"kernel\" or \"machine\"");
            keys.document().error(keys.span(), message);
        }
        keys.finish();
        combination
    };
    keys.tables(key).into_iter().map(read).collect()
}
