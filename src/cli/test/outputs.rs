//! Files that a report is written to: opened before the first guest starts, whole or not there afterwards.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use super::TestArgs;
use crate::matrix::baseline::Comparison;
use crate::matrix::report::{Format, Report};
use crate::write::Output;

/// All that were asked for.
pub struct Outputs(Vec<(Format, Target)>);

/// One of them.
struct Target {
    path: PathBuf,
    /// Nothing for standard output.
    output: Option<Output>,
}

impl Outputs {
    /// Opens them.
    pub fn open(args: &TestArgs) -> anyhow::Result<Self> {
        let asked = [
            (Format::Junit, &args.reports.junit),
            (Format::Tap, &args.reports.tap),
            (Format::Ktap, &args.reports.ktap),
            (Format::JsonLines, &args.reports.jsonl),
            (Format::Html, &args.reports.html),
        ];
        let asked: Vec<(Format, &Path)> =
            asked.into_iter().filter_map(|(format, path)| Some((format, path.as_deref()?))).collect();
        let to_stdout = asked.iter().filter(|(_, path)| *path == Path::new("-")).count();
        ensure!(to_stdout <= 1, "writing reports: only one can go to standard output");
        let open = |(format, path): (Format, &Path)| {
            let output = (path != Path::new("-")).then(|| Output::create(path)).transpose();
            let output = output.with_context(|| format!("writing a report to {}", path.display()))?;
            Ok((format, Target { path: path.to_owned(), output }))
        };
        Ok(Self(asked.into_iter().map(open).collect::<anyhow::Result<_>>()?))
    }

    /// Writes them all; the first that fails is told, once all have been tried.
    pub fn write(self, report: &Report, comparison: Option<&Comparison>) -> anyhow::Result<()> {
        let write = |(format, target): (Format, Target)| target.write(format, report, comparison);
        let written: Vec<_> = self.0.into_iter().map(write).collect();
        written.into_iter().collect()
    }
}

impl Target {
    fn write(self, format: Format, report: &Report, comparison: Option<&Comparison>) -> anyhow::Result<()> {
        let failed = || format!("writing a report to {}", self.path.display());
        let mut bytes = Vec::new();
        format.write(report, comparison, &mut bytes).with_context(failed)?;
        match self.output {
            None => std::io::stdout().write_all(&bytes).with_context(failed),
            Some(mut output) => {
                output.write_all(&bytes).with_context(failed)?;
                output.finish().with_context(failed)
            }
        }
    }
}
