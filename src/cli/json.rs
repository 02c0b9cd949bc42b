//! Verdicts as JSON, in a file or on standard output.

use std::path::Path;

use serde::Serialize;

use super::report_file::ReportFile;

/// Where the verdict goes: whole or not at all.
pub struct Json(ReportFile);

impl Json {
    /// Opens it, so that what cannot be written is known before the boot.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        ReportFile::create(path, "the verdict").map(Self)
    }

    /// Writes the verdict.
    pub fn write(self, report: &impl Serialize) -> anyhow::Result<()> {
        self.0.write(|bytes| {
            serde_json::to_writer_pretty(&mut *bytes, report)?;
            bytes.push(b'\n');
            serde_json::Result::Ok(())
        })
    }
}
