//! Verdicts as JSON, in a file or on standard output.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;

use crate::write::Output;

/// Where the verdict goes: whole or not at all.
pub struct Json {
    path: PathBuf,
    /// Nothing for standard output.
    output: Option<Output>,
}

impl Json {
    /// Opens it, so that what cannot be written is known before the boot.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let output = (path.as_os_str() != "-").then(|| Output::create(path)).transpose();
        let output = output.with_context(|| format!("writing the verdict to {}", path.display()))?;
        Ok(Self { path: path.to_owned(), output })
    }

    /// Writes the verdict.
    pub fn write(self, report: &impl Serialize) -> anyhow::Result<()> {
        let failed = || format!("writing the verdict to {}", self.path.display());
        let mut text = serde_json::to_vec_pretty(report).with_context(failed)?;
        text.push(b'\n');
        match self.output {
            None => std::io::stdout().write_all(&text).with_context(failed),
            Some(mut output) => {
                output.write_all(&text).with_context(failed)?;
                output.finish().with_context(failed)
            }
        }
    }
}
