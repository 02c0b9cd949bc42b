//! A report file, or standard output for `-`. It is opened before the boot; an incomplete file is never left behind.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;

use bootling::output::file::Output;

/// An open report file.
pub(crate) struct ReportFile {
    path: PathBuf,
    /// Description of the contents, for errors.
    what: &'static str,
    /// `None` for standard output.
    output: Option<Output>,
}

impl ReportFile {
    /// Opens the file, so that errors are reported before the boot. `what` describes the contents, such as `the
    /// result`.
    pub(crate) fn create(path: &Path, what: &'static str) -> anyhow::Result<Self> {
        let output = (path.as_os_str() != "-").then(|| Output::create(path)).transpose();
        let output = output.with_context(|| format!("failed to write {what} to {}", path.display()))?;
        Ok(Self { path: path.to_owned(), what, output })
    }

    /// Writes the output of `make`.
    pub(crate) fn write<E>(self, make: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> anyhow::Result<()>
    where
        Result<(), E>: Context<(), E>,
    {
        let Self { path, what, output } = self;
        let failed = || format!("failed to write {what} to {}", path.display());
        let mut bytes = Vec::new();
        make(&mut bytes).with_context(failed)?;
        match output {
            None => {
                let mut out = super::output::report();
                out.write_all(&bytes).and_then(|()| out.flush()).with_context(failed)
            }
            Some(mut output) => {
                output.write_all(&bytes).with_context(failed)?;
                output.finish().with_context(failed)
            }
        }
    }
}
