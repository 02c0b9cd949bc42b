//! `--baseline`: an earlier report to compare with, and a list of known failures to judge by.

use std::fs::{self, File};
use std::io::{BufReader, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow, bail, ensure};

use super::TestArgs;
use crate::cli::output;
use bootling::output::file::Output;
use bootling::suite::baseline::{Comparison, compare};
use bootling::suite::known::{self, KnownFailures};
use bootling::suite::report::{Report, jsonl};

/// Limit of changes of each kind printed to the terminal.
const MAX_CHANGES: usize = 20;
/// Size limit of a list of known failures, bytes.
const MAX_LIST: u64 = 16 << 20;

/// The files of `--baseline`.
pub(crate) struct Baselines {
    earlier: Option<Report>,
    list: Option<List>,
    updates: bool,
}

/// List of known failures.
struct List {
    path: PathBuf,
    known: KnownFailures,
}

impl Baselines {
    /// Reads the files. With `--update-baseline`, the list need not exist.
    pub(crate) fn open(args: &TestArgs) -> anyhow::Result<Self> {
        let mut baselines = Self { earlier: None, list: None, updates: args.reports.update_baseline };
        for path in &args.reports.baseline {
            let reading = || format!("failed to read {}", path.display());
            if is_list(path, baselines.updates).with_context(reading)? {
                ensure!(
                    baselines.list.is_none(),
                    "invalid --baseline {}: only one list of known failures is supported",
                    path.display()
                );
                let (_, known) = read_list(path, baselines.updates)?;
                baselines.list = Some(List { path: path.clone(), known });
            } else {
                ensure!(
                    baselines.earlier.is_none(),
                    "invalid --baseline {}: only one earlier report is supported",
                    path.display()
                );
                baselines.earlier = Some(read(path)?);
            }
        }
        if baselines.updates && baselines.list.is_none() {
            let error = anyhow!("invalid --update-baseline: --baseline names a report, which cannot be updated");
            return Err(output::advise(error, "add --baseline known-failures.toml"));
        }
        Ok(baselines)
    }

    /// Returns the known failures.
    pub(crate) fn known(&self) -> Option<&KnownFailures> {
        self.list.as_ref().map(|list| &list.known)
    }

    /// Judges a report by the known failures.
    pub(crate) fn judge(&self, report: &mut Report) {
        if let Some(known) = self.known() {
            known.judge_all(report);
        }
    }

    /// Compares a report with the earlier one and prints the differences to standard error.
    pub(crate) fn compare(&self, report: &Report) -> Option<Comparison> {
        let comparison = compare(self.earlier.as_ref()?, report);
        let lines = comparison.lines(MAX_CHANGES);
        output::to_stderr(&format!("bootling: changes since the earlier report: {}\n", lines.join("\n")));
        Some(comparison)
    }

    /// Prints the known and the new failures, and updates the list if requested. Returns the exit code.
    pub(crate) fn finish(&self, report: &Report) -> anyhow::Result<u8> {
        let Some(List { path, known }) = &self.list else { return Ok(report.exit_code()) };
        output::to_stderr(&format!("bootling: known failures: {}\n", known::lines(report, MAX_CHANGES).join("\n")));
        if self.updates {
            return update(path, report);
        }
        known.expired(report).iter().for_each(|note| output::note(note));
        Ok(report.exit_code())
    }
}

/// Returns true if a file is a list of known failures and not a report.
fn is_list(path: &Path, may_be_missing: bool) -> std::io::Result<bool> {
    let is_toml = path.extension().is_some_and(|extension| extension == "toml");
    if is_toml {
        return Ok(true);
    }
    let mut start = Vec::new();
    match File::open(path).and_then(|file| file.take(512).read_to_end(&mut start)) {
        Err(error) if error.kind() == ErrorKind::NotFound && may_be_missing => Ok(false),
        // A report starts with a JSON object, which no TOML file does.
        read => read.map(|_| start.trim_ascii_start().first().is_some_and(|byte| *byte != b'{')),
    }
}

/// Reads a list.
fn read_list(path: &Path, may_be_missing: bool) -> anyhow::Result<(String, KnownFailures)> {
    let reading = || format!("failed to read {}", path.display());
    let mut text = String::new();
    match File::open(path).and_then(|file| file.take(MAX_LIST + 1).read_to_string(&mut text)) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if !may_be_missing {
                let error = anyhow::Error::from(error).context(reading());
                return Err(output::advise(error, "--update-baseline creates it"));
            }
        }
        read => {
            read.with_context(reading)?;
        }
    }
    ensure!(text.len() as u64 <= MAX_LIST, "{}: more than {} MiB", reading(), MAX_LIST >> 20);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let known = KnownFailures::parse(&text, &path.display().to_string(), now)
        .map_err(|error| anyhow!("{}\n{error}", reading()))?;
    Ok((text, known))
}

/// Updates the list. Returns the exit code of the report as the new list judges it.
fn update(path: &Path, report: &Report) -> anyhow::Result<u8> {
    // The file may have been edited during the run.
    let (text, known) = read_list(path, true)?;
    let mut report = report.clone();
    known.judge_all(&mut report);
    let updated = match known::update(&text, &known, &report) {
        Ok(updated) => updated,
        Err(error) => bail!("failed to update {}: {error}", path.display()),
    };
    if updated.text != text {
        let writing = || format!("failed to write {}", path.display());
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let mut file = Output::create(&target).with_context(writing)?;
        file.write_all(updated.text.as_bytes()).with_context(writing)?;
        file.finish().with_context(writing)?;
    }
    let (added, removed) = (updated.added.len(), updated.removed.len());
    output::note(&format!("{}: {added} added, {removed} removed", path.display()));
    updated.notes.iter().for_each(|note| output::note(note));
    let (_, known) = read_list(path, true)?;
    known.judge_all(&mut report);
    Ok(report.exit_code())
}

/// Reads a report that `--jsonl` wrote.
pub(crate) fn read(path: &Path) -> anyhow::Result<Report> {
    let reading = || format!("failed to read {}", path.display());
    let file = File::open(path).with_context(reading)?;
    jsonl::read(BufReader::new(file)).with_context(reading)
}
