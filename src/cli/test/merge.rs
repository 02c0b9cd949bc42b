//! `bootling test --merge`: merges the reports of shards, judges the result and writes it in any format.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;

use super::outputs::Outputs;
use super::{TestArgs, baseline, cell_text, plan};
use crate::cli::output;
use bootling::guest::verdict::code;
use bootling::suite::merge::{Planned, Source, apart, merge, of_one_run};
use bootling::suite::report::{CellReport, Report};
use bootling::suite::run::not_yet;

/// Limit of cells printed one by one.
const MOST: usize = 50;

/// Merges the reports.
pub fn run(args: &TestArgs, manifest: &Path, parts: &[String]) -> anyhow::Result<u8> {
    let outputs = Outputs::open(args)?;
    let before = args.reports.baseline.as_deref().map(baseline::read).transpose()?;
    let read = |path: &std::path::PathBuf| {
        baseline::read(path).map(|report| Source { name: path.display().to_string(), report })
    };
    let sources = args.reports.merge.iter().map(read).collect::<anyhow::Result<Vec<_>>>()?;
    if !args.reports.mixed_runs {
        of_one_run(&sources).context("failed to merge reports")?;
    }
    if let Some(warning) = apart(&sources) {
        output::note(&warning);
    }
    let planned = planned(args, manifest, parts, &sources)?;
    let report = merge(sources, planned).context("failed to merge reports")?;
    tell(args, &report);
    let comparison = before.map(|before| baseline::compare(&before, &report));
    outputs.write(&report, comparison.as_ref())?;
    // A report without cells tested nothing.
    Ok(if report.cells.is_empty() { code::COULD_NOT_TEST } else { report.exit_code() })
}

/// Returns the expected cells. A manifest named on the command line must match the shards' plan. The default one is
/// used only if it matches: the reports may have been copied to another place.
fn planned(args: &TestArgs, manifest: &Path, parts: &[String], sources: &[Source]) -> anyhow::Result<Option<Planned>> {
    let is_named = !args.words.is_empty();
    let plan = match plan(args, manifest, parts) {
        Ok(plan) => plan,
        Err(error) if is_named => return Err(error),
        Err(_) => return Ok(None),
    };
    let is_theirs = sources.iter().all(|source| source.report.header.plan == plan.digest);
    let words = super::words(args, manifest);
    let cells = not_yet(&plan, &words);
    Ok((is_named || is_theirs).then_some(Planned { digest: plan.digest, cells }))
}

/// Prints the cells that did not pass, then the summary.
fn tell(args: &TestArgs, report: &Report) {
    let is_told =
        |cell: &&CellReport| args.verbose || !(cell.status.has_passed() || args.quiet && cell.status.is_good());
    let told: Vec<_> = report.cells.iter().filter(is_told).collect();
    let mut text: String = told.iter().take(MOST).map(|cell| cell_text::line(cell, false)).collect();
    if told.len() > MOST {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "bootling: and {} more", told.len() - MOST);
    }
    text.push_str(&cell_text::summary(report));
    output::to_stderr(&text);
}
