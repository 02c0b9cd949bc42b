//! Merges the reports of shards into one, as if a single host had run the whole matrix.
//!
//! A missing shard, or a cell missing from its shard's report, counts as not run and is never a success. Reports that
//! do not belong together are refused.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::report::{CellReport, Header, Report, Shard, Status};
use crate::format::guest_text::one_line;

/// A report and its source.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedReport {
    /// File name, for error messages.
    pub name: String,
    /// The report.
    pub report: Report,
}

/// Plan of all shards, if the manifest is available.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpectedCells {
    /// Digest of the plan.
    pub digest: String,
    /// All cells of the plan, as not run.
    pub cells: Vec<CellReport>,
}

/// Reports that cannot be merged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// No reports.
    #[error("no reports to merge")]
    NoReports,
    /// Reports of different plans.
    #[error("{first} and {second} belong to different matrices: their manifests, kernels or filters differ")]
    PlanMismatch {
        /// First report.
        first: String,
        /// Second report.
        second: String,
    },
    /// Reports of one plan, but not of this manifest's.
    #[error("{0} does not match the manifest: the manifest has changed, or other cells were selected")]
    ManifestMismatch(String),
    /// Different numbers of shards.
    #[error("{first} is one of {one} shards, but {second} is one of {other}")]
    TotalMismatch {
        /// First report.
        first: String,
        /// Number of shards according to the first report.
        one: u32,
        /// Second report.
        second: String,
        /// Number of shards according to the second report.
        other: u32,
    },
    /// Different runs of the same plan.
    #[error(
        "{first} belongs to run {one}, but {second} to run {other}\n  if they belong together (for example because a shard was resubmitted), add --mixed-runs"
    )]
    RunMismatch {
        /// First report.
        first: String,
        /// Run of the first report.
        one: String,
        /// Second report.
        second: String,
        /// Run of the second report.
        other: String,
    },
    /// Two reports of one shard.
    #[error("{first} and {second} are both reports of shard {shard}")]
    DuplicateShard {
        /// First report.
        first: String,
        /// Second report.
        second: String,
        /// The shard.
        shard: Shard,
    },
    /// A cell in two reports.
    #[error("cell `{id}` is in both {first} and {second}")]
    DuplicateCell {
        /// The cell.
        id: String,
        /// First report.
        first: String,
        /// Second report.
        second: String,
    },
    /// A cell that the plan does not contain.
    #[error("cell `{id}` of {name} is not in the plan")]
    Unplanned {
        /// The cell.
        id: String,
        /// The report.
        name: String,
    },
}

/// Shard of a matrix that is not divided.
const UNSHARDED: Shard = Shard { index: 1, total: 1 };

fn shard(source: &NamedReport) -> Shard {
    source.report.header.shard.unwrap_or(UNSHARDED)
}

/// Longest plausible gap between the end of one shard and the start of another one of the same run, seconds.
const MAX_GAP_S: f64 = 6.0 * 3600.0;

/// Refuses reports that job systems assigned to different runs. A report without a run may belong to any.
pub fn check_same_run(sources: &[NamedReport]) -> Result<(), MergeError> {
    let mut runs = sources.iter().filter_map(|source| Some((source, source.report.header.run.as_deref()?)));
    let Some((first, one)) = runs.next() else { return Ok(()) };
    match runs.find(|(_, other)| *other != one) {
        None => Ok(()),
        Some((second, other)) => Err(MergeError::RunMismatch {
            first: first.name.clone(),
            one: one_line(one),
            second: second.name.clone(),
            other: one_line(other),
        }),
    }
}

/// Returns a warning if some reports ended long before the others began and nothing shows that all belong to one run:
/// they may be left over from an earlier run.
pub fn age_gap_warning(sources: &[NamedReport]) -> Option<String> {
    let is_one = sources.iter().all(|source| source.report.header.run.is_some()) && check_same_run(sources).is_ok();
    // The age of a report without a start time is unknown.
    let mut sources: Vec<&NamedReport> = sources.iter().filter(|source| source.report.header.started > 0.0).collect();
    sources.sort_by(|one, other| one.report.header.started.total_cmp(&other.report.header.started));
    let (mut end, mut last) = (f64::INFINITY, None);
    for (at, source) in sources.iter().enumerate() {
        let Header { started, duration_s, .. } = source.report.header;
        if started - end > MAX_GAP_S {
            last = Some((at, started - end));
        }
        end = if at == 0 { started + duration_s } else { end.max(started + duration_s) };
    }
    let (at, gap) = last.filter(|_| !is_one)?;
    let names: Vec<&str> = sources[..at].iter().take(4).map(|source| source.name.as_str()).collect();
    let more = if at > 4 { format!(" and {} more", at - 4) } else { String::new() };
    let (names, hours, next) = (names.join(", "), (gap / 3600.0).floor(), &sources[at].name);
    let had = if at == 1 { "had ended" } else { "had all ended" };
    Some(format!("{names}{more} {had} {hours} hours before {next} began; check that they belong to one run"))
}

/// Merges reports. With `expected`, missing cells are listed by name; without it, each missing shard is listed as one
/// cell that did not run.
pub fn merge(mut sources: Vec<NamedReport>, expected: Option<ExpectedCells>) -> Result<Report, MergeError> {
    sources.sort_by_key(shard);
    check(&sources, expected.as_ref())?;
    let total = sources.first().map_or(UNSHARDED, shard).total;
    let there: Vec<u32> = sources.iter().map(|source| shard(source).index).collect();
    let missing: Vec<u32> =
        (1..=total).filter(|index| there.binary_search(index).is_err()).take(MAX_MISSING_SHARDS).collect();
    let header = header(&sources, &missing, total);
    let mut cells: Vec<CellReport> = sources.into_iter().flat_map(|source| source.report.cells).collect();
    if let Some(expected) = expected {
        cells = complete(cells, expected.cells, total);
    } else {
        cells.sort_by_key(|cell| cell.place);
        cells.extend(placeholders(header.planned, cells.len(), &missing, total));
    }
    Ok(Report { header, cells })
}

/// Limit of missing shards listed.
const MAX_MISSING_SHARDS: usize = 10_000;

/// Checks that the reports belong together.
fn check(sources: &[NamedReport], expected: Option<&ExpectedCells>) -> Result<(), MergeError> {
    let Some(first) = sources.first() else { return Err(MergeError::NoReports) };
    if expected.is_some_and(|expected| expected.digest != first.report.header.plan) {
        return Err(MergeError::ManifestMismatch(first.name.clone()));
    }
    for pair in sources.windows(2) {
        let [one, other] = pair else { continue };
        let (first, second) = (one.name.clone(), other.name.clone());
        let plan = |source: &NamedReport| (source.report.header.plan.clone(), source.report.header.planned);
        if plan(one) != plan(other) {
            return Err(MergeError::PlanMismatch { first, second });
        }
        let (one, other) = (shard(one), shard(other));
        if one.total != other.total {
            return Err(MergeError::TotalMismatch { first, one: one.total, second, other: other.total });
        }
        if one == other {
            return Err(MergeError::DuplicateShard { first, second, shard: one });
        }
    }
    let known: Option<HashSet<&str>> =
        expected.map(|expected| expected.cells.iter().map(|cell| cell.id.as_str()).collect());
    let mut seen: HashMap<&str, &str> = HashMap::new();
    for source in sources {
        for cell in &source.report.cells {
            let (id, name) = (cell.id.clone(), source.name.clone());
            if let Some(first) = seen.insert(&cell.id, &source.name) {
                return Err(MergeError::DuplicateCell { id, first: first.to_owned(), second: name });
            }
            if known.as_ref().is_some_and(|known| !known.contains(id.as_str())) {
                return Err(MergeError::Unplanned { id, name });
            }
        }
    }
    Ok(())
}

/// Builds the merged header.
fn header(sources: &[NamedReport], missing: &[u32], total: u32) -> Header {
    let headers: Vec<&Header> = sources.iter().map(|source| &source.report.header).collect();
    let Some(first) = headers.first() else { return Header::default() };
    let started = headers.iter().map(|header| header.started).fold(f64::INFINITY, f64::min);
    let ended = headers.iter().map(|header| header.started + header.duration_s).fold(started, f64::max);
    let mut kernels: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, release) in headers.iter().flat_map(|header| &header.kernels) {
        kernels.entry(name.clone()).or_default().push(release.clone());
    }
    let mut early: Vec<String> = sources
        .iter()
        .filter_map(|source| {
            let reason = one_line(source.report.header.ended_early.as_ref()?);
            Some(if shard(source) == UNSHARDED { reason } else { format!("shard {}: {reason}", shard(source)) })
        })
        .collect();
    if !missing.is_empty() {
        let names: Vec<_> = missing.iter().take(8).map(|index| format!("{index}/{total}")).collect();
        let more = if missing.len() > 8 { " and others" } else { "" };
        early.push(format!("no report of shard {}{more}", names.join(", ")));
    }
    Header {
        bootling: join_distinct(headers.iter().map(|header| header.bootling.clone())).unwrap_or_default(),
        started,
        duration_s: ended - started,
        shard: None,
        run: join_distinct(headers.iter().filter_map(|header| header.run.clone())),
        // Hosts may use one name for different kernels; the report shows all releases.
        kernels: kernels.into_iter().filter_map(|(name, all)| Some((name, join_distinct(all)?))).collect(),
        qemu: join_distinct(headers.iter().filter_map(|header| header.qemu.clone())),
        ended_early: (!early.is_empty()).then(|| early.join("; ")),
        ..(*first).clone()
    }
}

/// Joins the distinct values.
fn join_distinct(values: impl IntoIterator<Item = String>) -> Option<String> {
    let mut all: Vec<String> = values.into_iter().collect();
    all.sort();
    all.dedup();
    (!all.is_empty()).then(|| all.join(", "))
}

/// Returns all cells of the plan in its order: as reported, or as not run.
fn complete(reported: Vec<CellReport>, expected: Vec<CellReport>, total: u32) -> Vec<CellReport> {
    let mut reported: HashMap<String, CellReport> = reported.into_iter().map(|cell| (cell.id.clone(), cell)).collect();
    let cause = if total == 1 { "missing from the report" } else { "missing from its shard's report" };
    let missing = |cell| CellReport { status: Status::NotRun, cause: Some(cause.to_owned()), ..cell };
    expected.into_iter().map(|cell| reported.remove(&cell.id).unwrap_or_else(|| missing(cell))).collect()
}

/// Returns placeholders for missing cells whose names are unknown.
fn placeholders(expected: usize, reported: usize, missing: &[u32], total: u32) -> Vec<CellReport> {
    let lost = expected.saturating_sub(reported);
    let mut lines: Vec<(String, String)> = missing
        .iter()
        .map(|index| (format!("shard {index} of {total}"), format!("no report; {lost} cells missing in total")))
        .collect();
    if lines.is_empty() && lost > 0 {
        lines.push(("missing cells".to_owned(), format!("{lost} of {expected} cells are in no report")));
    }
    let placeholder = |(place, (id, cause)): (usize, (String, String))| CellReport {
        id: id.clone(),
        test: id,
        kernel: "?".to_owned(),
        machine: "?".to_owned(),
        place,
        cause: Some(cause),
        ..CellReport::default()
    };
    (expected..).zip(lines).map(placeholder).collect()
}

#[cfg(test)]
mod tests {
    use super::{ExpectedCells, MergeError, NamedReport, age_gap_warning, check_same_run, merge};
    use crate::suite::report::{CellReport, Report, Shard, Status};
    use crate::suite::tests::sample::many;

    /// Splits a report into shards: every n-th cell.
    fn shards(whole: &Report, total: u32) -> Vec<NamedReport> {
        let part = |index: u32| {
            let mut report = whole.clone();
            report.header.shard = Some(Shard { index, total });
            report.cells = whole.cells.iter().skip(index as usize - 1).step_by(total as usize).cloned().collect();
            NamedReport { name: format!("{index}.jsonl"), report }
        };
        (1..=total).map(part).collect()
    }

    fn expected(whole: &Report) -> ExpectedCells {
        let not_run = |cell: &CellReport| CellReport {
            status: Status::NotRun,
            cause: None,
            attempts: Vec::new(),
            ..cell.clone()
        };
        ExpectedCells { digest: whole.header.plan.clone(), cells: whole.cells.iter().map(not_run).collect() }
    }

    #[test]
    fn merged_shards_equal_the_whole_report_in_any_order() {
        let whole = many(103);
        let mut sources = shards(&whole, 4);
        sources.rotate_left(2);
        assert_eq!(merge(sources.clone(), None).expect("merged"), whole);
        assert_eq!(merge(sources, Some(expected(&whole))).expect("merged"), whole);
        assert_eq!(merge(shards(&whole, 1), None).expect("merged"), whole);
    }

    #[test]
    fn a_missing_shard_is_a_failure() {
        let mut whole = many(103);
        whole.cells.retain(|cell| cell.status == Status::Passed);
        whole.header.planned = whole.cells.len();
        assert!(whole.is_good());
        let mut sources = shards(&whole, 4);
        let gone = sources.remove(2);
        let merged = merge(sources.clone(), None).expect("merged");
        assert!(!merged.is_good());
        let last = merged.cells.last().expect("a cell");
        assert_eq!((last.id.as_str(), last.status), ("shard 3 of 4", Status::NotRun));
        assert_eq!(last.reason(), format!("no report; {} cells missing in total", gone.report.cells.len()));
        assert_eq!(merged.header.ended_early.as_deref(), Some("no report of shard 3/4"));
        let merged = merge(sources, Some(expected(&whole))).expect("merged");
        assert_eq!(merged.count(Status::NotRun), gone.report.cells.len());
        assert_eq!(merged.cells.len(), whole.cells.len());
    }

    #[test]
    fn a_cell_missing_from_its_shard_is_a_failure() {
        let mut whole = many(5);
        let mut sources = shards(&whole, 1);
        sources[0].report.cells.truncate(3);
        let merged = merge(sources.clone(), None).expect("merged");
        assert_eq!(merged.cells.last().map(CellReport::reason).as_deref(), Some("2 of 5 cells are in no report"));
        let merged = merge(sources, Some(expected(&whole))).expect("merged");
        whole.cells.truncate(3);
        assert_eq!(merged.cells[..3], whole.cells[..]);
        assert_eq!(merged.cells[4].reason(), "missing from the report");
    }

    #[test]
    fn reports_that_do_not_belong_together_are_refused() {
        let whole = many(8);
        let fails = |sources| merge(sources, None).expect_err("refused").to_string();
        assert_eq!(merge(Vec::new(), None), Err(MergeError::NoReports));
        let mut other = shards(&whole, 2);
        other[1].report.header.plan = "other".to_owned();
        assert_eq!(
            fails(other),
            "1.jsonl and 2.jsonl belong to different matrices: their manifests, kernels or filters differ"
        );
        let mut other = shards(&whole, 2);
        other[1].report.header.shard = Some(Shard { index: 2, total: 3 });
        assert_eq!(fails(other), "1.jsonl is one of 2 shards, but 2.jsonl is one of 3");
        let mut twice = shards(&whole, 2);
        twice.push(NamedReport { name: "again.jsonl".to_owned(), ..twice[0].clone() });
        assert_eq!(fails(twice), "1.jsonl and again.jsonl are both reports of shard 1/2");
        let mut twice = shards(&whole, 2);
        let cell = twice[0].report.cells[0].clone();
        twice[1].report.cells.push(cell);
        assert_eq!(fails(twice), "cell `test-0/6.0/machine-0` is in both 1.jsonl and 2.jsonl");
        let fails = |expected| merge(shards(&whole, 2), Some(expected)).expect_err("refused").to_string();
        let other = ExpectedCells { digest: "x".to_owned(), ..expected(&whole) };
        assert_eq!(
            fails(other),
            "1.jsonl does not match the manifest: the manifest has changed, or other cells were selected"
        );
        let mut fewer = expected(&whole);
        fewer.cells.pop();
        assert_eq!(fails(fewer), "cell `test-0/6.0/machine-7` of 2.jsonl is not in the plan");
    }

    #[test]
    fn reports_of_different_runs_are_refused_and_both_are_named() {
        let mut sources = shards(&many(9), 3);
        assert_eq!(check_same_run(&sources), Ok(()));
        sources[1].report.header.run = Some("slurm 7".to_owned());
        assert_eq!(check_same_run(&sources), Ok(()));
        sources[2].report.header.run = Some("slurm 8".to_owned());
        let message = check_same_run(&sources).expect_err("two runs").to_string();
        assert!(message.starts_with("2.jsonl belongs to run slurm 7, but 3.jsonl to run slurm 8\n"), "{message}");
        assert!(message.contains("--mixed-runs"), "{message}");
        assert_eq!(merge(sources.clone(), None).expect("merged").header.run.as_deref(), Some("slurm 7, slurm 8"));
        sources[2].report.header.run = Some("slurm 7".to_owned());
        assert_eq!(check_same_run(&sources), Ok(()));
    }

    #[test]
    fn a_report_a_day_older_than_the_others_causes_a_warning_unless_all_are_of_one_run() {
        let mut sources = shards(&many(9), 3);
        assert_eq!(age_gap_warning(&sources), None);
        // A shard that started only after another one had ended.
        sources[1].report.header.started += 3600.0;
        assert_eq!(age_gap_warning(&sources), None);
        sources[0].report.header.started -= 24.0 * 3600.0;
        let message = age_gap_warning(&sources).expect("a warning");
        assert_eq!(message, "1.jsonl had ended 23 hours before 3.jsonl began; check that they belong to one run");
        sources[2].report.header.duration_s += 30.0 * 3600.0;
        sources[1].report.header.started -= 24.0 * 3600.0;
        let message = age_gap_warning(&sources).expect("a warning");
        assert_eq!(
            message,
            "1.jsonl, 2.jsonl had all ended 22 hours before 3.jsonl began; check that they belong to one run"
        );
        for source in &mut sources {
            source.report.header.run = Some("github 1".to_owned());
        }
        assert_eq!(age_gap_warning(&sources), None);
        sources[2].report.header.run = None;
        assert!(age_gap_warning(&sources).is_some());
        // The age of a report without a start time is unknown.
        sources[0].report.header.started = 0.0;
        sources[1].report.header.started = 0.0;
        assert_eq!(age_gap_warning(&sources), None);
    }

    #[test]
    fn differences_between_hosts_are_reported() {
        let mut sources = shards(&many(4), 2);
        sources[1].report.header.kernels.insert("6.1".to_owned(), "6.1.0-other".to_owned());
        sources[1].report.header.started += 10.0;
        sources[1].report.header.ended_early = Some("interrupted".to_owned());
        let header = merge(sources, None).expect("merged").header;
        assert_eq!(header.kernels["6.1"], "6.1.0-41-amd64, 6.1.0-other");
        assert!((header.duration_s - 12.5).abs() < 1e-6, "{}", header.duration_s);
        assert_eq!(header.ended_early.as_deref(), Some("shard 2/2: interrupted"));
    }
}
