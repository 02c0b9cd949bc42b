//! `bootling.toml`: tests, kernels, machines, and their combinations.
//!
//! Pure: maps text to a [`TestSpec`], or to all mistakes with their positions. References to kernels, machines and
//! tests are checked here; files are checked later. `docs/testing.md` documents each key.

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
pub use self::matrix::{MatrixSpec, Meeting};
pub use self::mistake::{Mistake, Mistakes, nearest};
pub use self::name::{NAME_RULE, is_name};
pub use self::overrides::Overrides;

use self::keys::{Keys, Sheet};
use self::name::Known;

/// Manifest that `bootling test --init` writes.
pub const STARTER: &str = include_str!("starter.toml");

/// Name of the kernel, or machine, if the manifest defines none.
pub const DEFAULT: &str = "default";

/// A manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TestSpec {
    /// `name`.
    pub name: Option<String>,
    /// Directory in which relative paths start.
    pub folder: PathBuf,
    /// `[kernels]`, at least one.
    pub kernels: Vec<KernelSpec>,
    /// `[machines]`, at least one.
    pub machines: Vec<MachineSpec>,
    /// `[[test]]`, at least one.
    pub tests: Vec<Test>,
    /// `[matrix]`.
    pub matrix: MatrixSpec,
}

/// Origin of a manifest's text.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// File, as the user named it.
    pub file: &'a str,
    /// Directory in which relative paths start.
    pub folder: &'a Path,
    /// Kernels of the command line. They are added to the manifest's, and replace those of the same name.
    pub kernels: &'a [KernelSpec],
}

impl TestSpec {
    /// Parses a manifest.
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
        keys.sheet().wrong(keys.place(), "missing [[test]]: nothing to test");
    }
    keys.done();
    TestSpec { name, folder: origin.folder.to_owned(), kernels, machines, tests, matrix }
}

/// Converts a path of the manifest to one that starts at the current directory.
fn below(folder: &Path, path: &str) -> PathBuf {
    folder.join(path)
}

/// Converts a program or file that may also be a bare name: it is a path only if it contains a slash.
fn named(folder: &Path, name: String) -> String {
    if name.contains('/') { below(folder, &name).to_string_lossy().into_owned() } else { name }
}

#[cfg(test)]
mod tests;
