//! Results as JSON, in a file or on standard output.

use std::path::Path;

use serde::Serialize;

use super::report_file::ReportFile;

/// A JSON output file. An incomplete file is never left behind.
pub(crate) struct Json(ReportFile);

impl Json {
    /// Opens the file, so that errors are reported before the boot.
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        ReportFile::create(path, "the result").map(Self)
    }

    /// Writes the result.
    pub(crate) fn write(self, report: &impl Serialize) -> anyhow::Result<()> {
        self.0.write(|bytes| {
            serde_json::to_writer_pretty(&mut *bytes, report)?;
            bytes.push(b'\n');
            serde_json::Result::Ok(())
        })
    }
}
