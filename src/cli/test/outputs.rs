//! Report files: opened before the first guest starts, written completely or not at all.

use std::path::PathBuf;

use anyhow::ensure;

use super::TestArgs;
use crate::cli::report_file::ReportFile;
use bootling::suite::baseline::Comparison;
use bootling::suite::report::{Format, Report};

/// The requested report files.
pub(crate) struct ReportFiles(Vec<(&'static Format, ReportFile)>);

impl ReportFiles {
    /// Opens the requested files.
    pub(crate) fn open(args: &TestArgs) -> anyhow::Result<Self> {
        let requested = &args.reports.files.0;
        let to_stdout = requested.iter().filter(|(_, path)| path.as_os_str() == "-").count();
        ensure!(to_stdout <= 1, "only one report can be written to standard output");
        let open = |(format, path): &(&'static Format, PathBuf)| Ok((*format, ReportFile::create(path, "a report")?));
        Ok(Self(requested.iter().map(open).collect::<anyhow::Result<_>>()?))
    }

    /// Writes all reports and returns the first error, after all writes have been attempted.
    pub(crate) fn write(self, report: &Report, comparison: Option<&Comparison>) -> anyhow::Result<()> {
        let write = |(format, file): (&Format, ReportFile)| file.write(|bytes| format.write(report, comparison, bytes));
        let written: Vec<_> = self.0.into_iter().map(write).collect();
        written.into_iter().collect()
    }
}
