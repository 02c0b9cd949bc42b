//! The manifest, `bootling.toml`: tests, kernels, machines, and which of them are combined.
//!
//! Parses text into a [`TestSpec`], or into all errors with their positions. References to kernels, machines and tests
//! are checked; files are looked up later, except those of `glob`. `docs/testing.md` describes the keys.

mod diagnostic;
mod ending;
mod files;
mod kernel;
mod machine;
mod matrix;
mod name;
mod overrides;
mod pattern;
mod table;
mod test;

use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::DeTable;

pub(crate) use self::diagnostic::{Diagnostic, ManifestError};
pub(crate) use self::diagnostic::{did_you_mean, nearest};
pub use self::ending::{Ending, OUTCOMES};
pub use self::kernel::KernelSpec;
pub(crate) use self::machine::MachineSpec;
pub(crate) use self::matrix::{Combination, MatrixSpec};
pub(crate) use self::name::is_name_letter;
pub use self::name::{NAME_RULE, is_name};
pub use self::overrides::Overrides;
pub(crate) use self::pattern::Patterns;
pub use self::test::{BootWay, Isolate, Protocol, Test, TestHealth};

use self::name::KnownNames;
pub(in crate::suite) use self::table::{Document, Table};

/// Starter manifest, as written by `bootling test --init`.
pub const STARTER: &str = include_str!("starter.toml");

/// Name of the kernel or machine if the manifest names none.
pub(crate) const DEFAULT: &str = "default";

/// A manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TestSpec {
    /// `name`
    pub(crate) name: Option<String>,
    /// Directory of its relative paths.
    pub(crate) folder: PathBuf,
    /// `[kernels]`, at least one.
    pub kernels: Vec<KernelSpec>,
    /// `[machines]`, at least one.
    pub(crate) machines: Vec<MachineSpec>,
    /// `[[test]]`, at least one.
    pub(crate) tests: Vec<Test>,
    /// `[matrix]`
    pub(crate) matrix: MatrixSpec,
}

/// Origin of a manifest's text.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// File name for error messages.
    pub file: &'a str,
    /// Directory of relative paths.
    pub folder: &'a Path,
    /// Kernels of the command line, which are added to the manifest's and replace those of the same name.
    pub kernels: &'a [KernelSpec],
}

impl TestSpec {
    /// Parses a manifest.
    pub fn parse(text: &str, origin: Origin<'_>) -> Result<Self, ManifestError> {
        let table = parse(text, origin)?;
        let document = Document::new(text);
        let spec = read(Table::new(&document, table.get_ref(), 0..0), origin);
        finish(spec, document.into_diagnostics(), origin)
    }
}

/// Parses the text as TOML.
fn parse<'a>(text: &'a str, origin: Origin<'_>) -> Result<Spanned<DeTable<'a>>, ManifestError> {
    DeTable::parse(text).map_err(|error| {
        let diagnostic = Diagnostic::new(text, error.span().unwrap_or(0..0), error.message().replace('\n', "; "));
        ManifestError { file: origin.file.to_owned(), diagnostics: vec![diagnostic] }
    })
}

/// Returns the value if there are no errors.
fn finish<T>(value: T, diagnostics: Vec<Diagnostic>, origin: Origin<'_>) -> Result<T, ManifestError> {
    if diagnostics.is_empty() { Ok(value) } else { Err(ManifestError { file: origin.file.to_owned(), diagnostics }) }
}

/// Reads only the kernels of a manifest, and those of the command line.
pub fn kernels(text: &str, origin: Origin<'_>) -> Result<Vec<KernelSpec>, ManifestError> {
    let table = parse(text, origin)?;
    let document = Document::new(text);
    let kernels = kernel::read_all(Table::new(&document, table.get_ref(), 0..0).table("kernels"), origin.kernels);
    finish(kernels, document.into_diagnostics(), origin)
}

fn read(mut keys: Table<'_, '_>, origin: Origin<'_>) -> TestSpec {
    let name = keys.text("name");
    let mut defaults = keys.table("defaults");
    let kernels = kernel::read_all(keys.table("kernels"), origin.kernels);
    let machines = machine::read_all(keys.table("machines"), defaults.as_mut(), origin.folder);
    let mut known = KnownNames {
        kernels: kernels.iter().map(|kernel| kernel.name.clone()).collect(),
        machines: machines.iter().map(|machine| machine.name.clone()).collect(),
        tests: Vec::new(),
    };
    let tests = test::read_all(&mut keys, defaults.as_mut(), &known, origin.folder);
    known.tests = tests.iter().map(|test| test.name.clone()).collect();
    let matrix = keys.table("matrix").map(|matrix| matrix::read(matrix, &known)).unwrap_or_default();
    if let Some(defaults) = defaults {
        defaults.finish();
    }
    if tests.is_empty() && !keys.has("test") {
        keys.document().error(keys.span(), "no tests: expected at least one [[test]] table");
    }
    keys.finish();
    TestSpec { name, folder: origin.folder.to_owned(), kernels, machines, tests, matrix }
}

/// Resolves a program or file name: names with a slash are relative to the manifest, others are looked up later.
fn program_path(folder: &Path, name: String) -> String {
    if name.contains('/') { folder.join(name).to_string_lossy().into_owned() } else { name }
}

#[cfg(test)]
mod tests;
