//! `[matrix]`: which tests, kernels and machines meet.

use super::keys::Keys;
use super::name::{self, Known};

/// Which of them meet: every test with every kernel on every machine, unless this says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MatrixSpec {
    /// The kernels for tests that name none; `None`: all.
    pub kernels: Option<Vec<String>>,
    /// The machines; the same.
    pub machines: Option<Vec<String>>,
    /// What does not meet.
    pub exclude: Vec<Combination>,
    /// What meets in spite of all that.
    pub include: Vec<Combination>,
}

/// Some tests with some kernels on some machines. `None`: all of them; of an include those of the matrix.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Combination {
    /// Tests.
    pub tests: Option<Vec<String>>,
    /// Kernels.
    pub kernels: Option<Vec<String>>,
    /// Machines.
    pub machines: Option<Vec<String>>,
}

pub(super) fn read(mut keys: Keys<'_, '_>, known: &Known) -> MatrixSpec {
    let spec = MatrixSpec {
        kernels: name::names(&mut keys, "kernels", "kernel", &known.kernels),
        machines: name::names(&mut keys, "machines", "machine", &known.machines),
        exclude: combinations(&mut keys, "exclude", known),
        include: combinations(&mut keys, "include", known),
    };
    keys.done();
    spec
}

fn combinations(keys: &mut Keys<'_, '_>, key: &'static str, known: &Known) -> Vec<Combination> {
    let one = |mut keys: Keys<'_, '_>| {
        let meeting = Combination {
            tests: name::names(&mut keys, "test", "test", &known.tests),
            kernels: name::names(&mut keys, "kernel", "kernel", &known.kernels),
            machines: name::names(&mut keys, "machine", "machine", &known.machines),
        };
        if !["test", "kernel", "machine"].iter().any(|name| keys.has(name)) {
            keys.sheet().wrong(keys.place(), format!("an entry of {key:?} names a test, a kernel or a machine"));
        }
        keys.done();
        meeting
    };
    keys.tables(key).into_iter().map(one).collect()
}
