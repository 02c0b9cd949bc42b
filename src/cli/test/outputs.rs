//! Files that a report is written to: opened before the first guest starts, whole or not there afterwards.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use super::TestArgs;
use crate::matrix::report::Report;
use crate::write::Output;

/// A format that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `--junit`
    Junit,
    /// `--tap`
    Tap,
    /// `--ktap`
    Ktap,
    /// `--jsonl`
    JsonLines,
}

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
    pub fn write(self, report: &Report) -> anyhow::Result<()> {
        let written: Vec<_> = self.0.into_iter().map(|(format, target)| target.write(format, report)).collect();
        written.into_iter().collect()
    }
}

impl Target {
    fn write(self, format: Format, report: &Report) -> anyhow::Result<()> {
        let failed = || format!("writing a report to {}", self.path.display());
        let mut bytes = Vec::new();
        format.write(report, &mut bytes).with_context(failed)?;
        match self.output {
            None => std::io::stdout().write_all(&bytes).with_context(failed),
            Some(mut output) => {
                output.write_all(&bytes).with_context(failed)?;
                output.finish().with_context(failed)
            }
        }
    }
}

impl Format {
    fn write(self, report: &Report, out: &mut Vec<u8>) -> std::io::Result<()> {
        match self {
            Self::JsonLines => {
                serde_json::to_writer(&mut *out, &report.header)?;
                for cell in &report.cells {
                    out.push(b'\n');
                    serde_json::to_writer(&mut *out, cell)?;
                }
                out.push(b'\n');
                Ok(())
            }
            Self::Junit | Self::Tap | Self::Ktap => Err(std::io::Error::other("this format is not there yet")),
        }
    }
}
