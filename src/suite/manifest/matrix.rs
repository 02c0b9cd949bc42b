//! `[matrix]`: which tests, kernels and machines are combined.

use super::keys::Keys;
use super::name::{self, Known};

/// Combinations to run. By default, every test runs with every kernel on every machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MatrixSpec {
    /// Kernels for tests that name none; `None`: all.
    pub kernels: Option<Vec<String>>,
    /// Machines for tests that name none; `None`: all.
    pub machines: Option<Vec<String>>,
    /// Combinations to exclude.
    pub exclude: Vec<Meeting>,
    /// Combinations to include in any case.
    pub include: Vec<Meeting>,
}

/// Combinations of some tests, kernels and machines. `None` means all; in an include, those of the matrix.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meeting {
    /// Test names.
    pub tests: Option<Vec<String>>,
    /// Kernel names.
    pub kernels: Option<Vec<String>>,
    /// Machine names.
    pub machines: Option<Vec<String>>,
}

pub(super) fn read(mut keys: Keys<'_, '_>, known: &Known) -> MatrixSpec {
    let spec = MatrixSpec {
        kernels: name::names(&mut keys, "kernels", "kernel", &known.kernels),
        machines: name::names(&mut keys, "machines", "machine", &known.machines),
        exclude: meetings(&mut keys, "exclude", known),
        include: meetings(&mut keys, "include", known),
    };
    keys.done();
    spec
}

fn meetings(keys: &mut Keys<'_, '_>, key: &'static str, known: &Known) -> Vec<Meeting> {
    let one = |mut keys: Keys<'_, '_>| {
        let meeting = Meeting {
            tests: name::names(&mut keys, "test", "test", &known.tests),
            kernels: name::names(&mut keys, "kernel", "kernel", &known.kernels),
            machines: name::names(&mut keys, "machine", "machine", &known.machines),
        };
        if !["test", "kernel", "machine"].iter().any(|name| keys.has(name)) {
            keys.sheet().wrong(keys.place(), format!("an entry of {key:?} must name a test, a kernel or a machine"));
        }
        keys.done();
        meeting
    };
    keys.tables(key).into_iter().map(one).collect()
}
