//! `bootling test --merge`: merges the reports of shards, judges the result and writes it in any format.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;

use super::baseline::{self, Baselines};
use super::outputs::ReportFiles;
use super::{TestArgs, cell_text, plan};
use crate::cli::output;
use bootling::guest::verdict::code;
use bootling::suite::merge::{ExpectedCells, NamedReport, age_gap_warning, check_same_run, merge};
use bootling::suite::report::{CellReport, Report};
use bootling::suite::run::not_run_cells;

/// Limit of cells printed one by one.
const MAX_LISTED: usize = 50;

/// Merges the reports.
pub(crate) fn run(args: &TestArgs, manifest: &Path, id_filters: &[String]) -> anyhow::Result<u8> {
    let report_files = ReportFiles::open(args)?;
    let baselines = Baselines::open(args)?;
    let read = |path: &std::path::PathBuf| {
        baseline::read(path).map(|report| NamedReport { name: path.display().to_string(), report })
    };
    let sources = args.reports.merge.iter().map(read).collect::<anyhow::Result<Vec<_>>>()?;
    if !args.reports.mixed_runs {
        check_same_run(&sources).context("failed to merge reports")?;
    }
    if let Some(warning) = age_gap_warning(&sources) {
        output::note(&warning);
    }
    let expected = expected(args, manifest, id_filters, &sources)?;
    let mut report = merge(sources, expected).context("failed to merge reports")?;
    baselines.judge(&mut report);
    print_summary(args, &report);
    let comparison = baselines.compare(&report);
    report_files.write(&report, comparison.as_ref())?;
    // A report without cells tested nothing.
    Ok(if report.cells.is_empty() { code::COULD_NOT_TEST } else { baselines.finish(&report)? })
}

/// Returns the expected cells. A manifest named on the command line must match the shards' plan. The default one is
/// used only if it matches: the reports may have been copied to another place.
fn expected(
    args: &TestArgs,
    manifest: &Path,
    id_filters: &[String],
    sources: &[NamedReport],
) -> anyhow::Result<Option<ExpectedCells>> {
    let is_named = !args.positional.is_empty();
    let plan = match plan(args, manifest, id_filters) {
        Ok(plan) => plan,
        Err(error) if is_named => return Err(error),
        Err(_) => return Ok(None),
    };
    let is_theirs = sources.iter().all(|source| source.report.header.plan == plan.digest);
    let command_line = super::repeat_command(args, manifest);
    let cells = not_run_cells(&plan, &command_line);
    Ok((is_named || is_theirs).then_some(ExpectedCells { digest: plan.digest, cells }))
}

/// Prints the cells that did not pass, then the summary.
fn print_summary(args: &TestArgs, report: &Report) {
    let is_listed = |cell: &&CellReport| args.verbose || !(cell.status.has_passed() || args.quiet && cell.is_good());
    let listed: Vec<_> = report.cells.iter().filter(is_listed).collect();
    let mut text: String = listed.iter().take(MAX_LISTED).map(|cell| cell_text::line(cell, false)).collect();
    if listed.len() > MAX_LISTED {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "bootling: and {} more", listed.len() - MAX_LISTED);
    }
    text.push_str(&cell_text::summary(report));
    output::to_stderr(&text);
}
