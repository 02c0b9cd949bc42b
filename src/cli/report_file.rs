//! A file that a report goes to, or standard output for `-`: opened before anything is booted, whole or not there afterwards.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;

use bootling::output::file::Output;

/// Where a report goes.
pub struct ReportFile {
    path: PathBuf,
    /// What it is, for errors.
    what: &'static str,
    /// Nothing for standard output.
    output: Option<Output>,
}

impl ReportFile {
    /// Opens it, so that what cannot be written is known before the boot. `what` it will be: `the verdict`.
    pub fn create(path: &Path, what: &'static str) -> anyhow::Result<Self> {
        let output = (path.as_os_str() != "-").then(|| Output::create(path)).transpose();
        let output = output.with_context(|| format!("writing {what} to {}", path.display()))?;
        Ok(Self { path: path.to_owned(), what, output })
    }

    /// Writes what `make` makes.
    pub fn write<E>(self, make: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> anyhow::Result<()>
    where
        Result<(), E>: Context<(), E>,
    {
        let Self { path, what, output } = self;
        let failed = || format!("writing {what} to {}", path.display());
        let mut bytes = Vec::new();
        make(&mut bytes).with_context(failed)?;
        match output {
            None => std::io::stdout().write_all(&bytes).with_context(failed),
            Some(mut output) => {
                output.write_all(&bytes).with_context(failed)?;
                output.finish().with_context(failed)
            }
        }
    }
}
