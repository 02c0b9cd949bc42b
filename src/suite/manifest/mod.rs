//! `bootling.toml`: tests, kernels, machines, and which of them meet.
//!
//! Pure: takes text, gives a [`TestSpec`] or all that is wrong with the text, with places. Names of kernels, machines and
//! tests are held to be there; whether files are is found out later. What each key means stands in `docs/testing.md`.

pub mod case;
pub mod ending;
pub mod kernel;
pub mod keys;
pub mod machine;
pub mod matrix;
pub mod mistake;
pub mod name;
pub mod overrides;

use std::path::{Path, PathBuf};

use toml::de::DeTable;

pub use self::case::{BootWay, Isolate, Patterns, Protocol, Test};
pub use self::ending::{Ending, OUTCOMES};
pub use self::kernel::KernelSpec;
pub use self::machine::MachineSpec;
pub use self::matrix::{Combination, MatrixSpec};
pub use self::mistake::{Mistake, Mistakes, nearest};
pub use self::name::{NAME_RULE, is_name};
pub use self::overrides::Overrides;

use self::keys::{Keys, Sheet};
use self::name::Known;

/// What `bootling test --init` writes.
pub const STARTER: &str = include_str!("starter.toml");

/// What a kernel, or a machine, is called where the manifest names none.
pub const DEFAULT: &str = "default";

/// A manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TestSpec {
    /// `name`
    pub name: Option<String>,
    /// The directory that its relative paths start at.
    pub folder: PathBuf,
    /// `[kernels]`, at least one.
    pub kernels: Vec<KernelSpec>,
    /// `[machines]`, at least one.
    pub machines: Vec<MachineSpec>,
    /// `[[test]]`, at least one.
    pub tests: Vec<Test>,
    /// `[matrix]`
    pub matrix: MatrixSpec,
}

/// Where a manifest's text comes from.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The file, in the user's words.
    pub file: &'a str,
    /// The directory that its relative paths start at.
    pub folder: &'a Path,
    /// Kernels that are named on the command line: they count as the manifest's, and come before those of the same name.
    pub kernels: &'a [KernelSpec],
}

impl TestSpec {
    /// Reads a manifest.
    pub fn parse(text: &str, origin: Origin<'_>) -> Result<Self, Mistakes> {
        let failed = |mistakes| Mistakes { file: origin.file.to_owned(), mistakes };
        let table = DeTable::parse(text).map_err(|error| {
            let place = error.span().unwrap_or(0..0);
            failed(vec![Mistake::new(text, place, error.message().replace('\n', "; "))])
        })?;
        let sheet = Sheet::new(text);
        let spec = read(Keys::new(&sheet, table.get_ref(), 0..0), origin);
        let mistakes = sheet.mistakes();
        if mistakes.is_empty() { Ok(spec) } else { Err(failed(mistakes)) }
    }
}

fn read(mut keys: Keys<'_, '_>, origin: Origin<'_>) -> TestSpec {
    let name = keys.text("name").map(|said| said.value);
    let mut defaults = keys.table("defaults");
    let kernels = kernel::read_all(keys.table("kernels"), origin.kernels);
    let machines = machine::read_all(keys.table("machines"), defaults.as_mut(), origin.folder);
    let known = Known {
        kernels: kernels.iter().map(|kernel| kernel.name.clone()).collect(),
        machines: machines.iter().map(|machine| machine.name.clone()).collect(),
        tests: Vec::new(),
    };
    let tests = case::read_all(&mut keys, defaults.as_mut(), &known, origin.folder);
    let known = Known { tests: tests.iter().map(|test| test.name.clone()).collect(), ..known };
    let matrix = keys.table("matrix").map(|matrix| matrix::read(matrix, &known)).unwrap_or_default();
    if let Some(defaults) = defaults {
        defaults.done();
    }
    if tests.is_empty() && !keys.has("test") {
        keys.sheet().wrong(keys.place(), "there is no [[test]]: nothing is to be tested");
    }
    keys.done();
    TestSpec { name, folder: origin.folder.to_owned(), kernels, machines, tests, matrix }
}

/// A path of the manifest's, as seen from the current directory.
fn below(folder: &Path, path: &str) -> PathBuf {
    folder.join(path)
}

/// A program or file that may also be a name to be looked for: only what has a slash is a path.
fn named(folder: &Path, name: String) -> String {
    if name.contains('/') { below(folder, &name).to_string_lossy().into_owned() } else { name }
}

#[cfg(test)]
mod tests;
