//! Updates a list of known failures from a report: adds new failures, removes entries whose results all pass. Everything
//! else in the file stays as it is, comments included.

use std::collections::BTreeSet;

use glob::Pattern;
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, value};

use super::read::ENTRIES;
use super::{Entry, KnownFailures, outcome, part_fails, part_names};
use crate::format::guest_text::one_line;
use crate::suite::report::{CellReport, ExpectationKind, Part, Report, Status};

/// Number of failed parts of a cell above which the whole cell is listed.
const MAX_PARTS: usize = 10;
/// Length limit of a reason, characters.
const MAX_REASON: usize = 200;
/// Head of a new file.
const HEAD: &str = "# Known failures, for `bootling test --baseline`. docs/testing.md describes the keys.\n";

/// A changed list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// New text of the file.
    pub text: String,
    /// Patterns of the added entries.
    pub added: Vec<String>,
    /// Patterns of the removed entries.
    pub removed: Vec<String>,
    /// Entries that a person must decide about.
    pub notes: Vec<String>,
}

/// Numbers of failed and passed results of an entry.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    failed: usize,
    passed: usize,
}

/// Updates the text of a list. `known` is its contents, `report` is judged by it.
pub fn update(text: &str, known: &KnownFailures, report: &Report) -> Result<Update, String> {
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| error.to_string())?;
    if text.trim().is_empty() {
        document.set_trailing(HEAD);
    }
    let mut update =
        Update { text: String::new(), added: Vec::new(), removed: Vec::new(), notes: known.expired(report) };
    let tallies = tallies(known, report);
    let item = document.entry(ENTRIES).or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
    let Some(tables) = item.as_array_of_tables_mut() else {
        return Err(format!("{ENTRIES:?} is an array: only [[{ENTRIES}]] tables can be updated"));
    };
    for (at, (entry, tally)) in known.entries.iter().zip(&tallies).enumerate().rev() {
        match tally {
            _ if entry.flaky || tally.passed == 0 => {}
            Tally { failed: 0, .. } => {
                remove(tables, at);
                update.removed.insert(0, entry.pattern.as_str().to_owned());
            }
            Tally { failed, passed } => update.notes.push(format!(
                "{}:{}: entry {:?} failed {failed} and passed {passed} times: limit its pattern or its kernels, or set \
                 flaky = true",
                known.file,
                entry.line,
                entry.pattern.as_str()
            )),
        }
    }
    let is_new = |cell: &&CellReport| {
        let kind = cell.expectation.as_ref().map(|expectation| expectation.kind);
        kind == Some(ExpectationKind::NewlyFailing) && known.expired_entries(cell, report).next().is_none()
    };
    let mut listed = BTreeSet::new();
    for (pattern, table) in report.cells.iter().filter(is_new).flat_map(new_entries) {
        if listed.insert(pattern.clone()) {
            tables.push(table);
            update.added.push(pattern);
        }
    }
    if text.trim().is_empty()
        && let Some(first) = tables.get_mut(0)
    {
        first.decor_mut().set_prefix(format!("{HEAD}\n"));
        document.set_trailing("");
    }
    update.text = document.to_string();
    Ok(update)
}

/// Counts the results of each entry that counts.
fn tallies(known: &KnownFailures, report: &Report) -> Vec<Tally> {
    let mut tallies = vec![Tally::default(); known.entries.len()];
    for cell in &report.cells {
        let release = report.header.kernels.get(&cell.kernel).map(String::as_str);
        let names = [cell.id.clone(), cell.test.clone()];
        let mut count = |names: &[String], outcome: Option<&str>, fails: bool| {
            let applies =
                |entry: &Entry| entry.is_active(&known.today) && entry.applies(names, &cell.kernel, release, outcome);
            if let Some(at) = known.entries.iter().position(applies) {
                let tally = &mut tallies[at];
                *(if fails { &mut tally.failed } else { &mut tally.passed }) += 1;
            }
        };
        match cell.status {
            Status::NotRun | Status::Skipped => continue,
            Status::Failed | Status::Error => count(&names, Some(outcome(cell)), true),
            Status::Passed | Status::Flaky => count(&names, None, false),
        }
        for part in cell.final_attempt().map_or(&[][..], |last| &last.parts) {
            if let Some(fails) = part_fails(part) {
                count(&part_names(&names, part), None, fails);
            }
        }
    }
    tallies
}

/// Removes an entry with its comment. A comment that an empty line separates from it stays: the head of the file.
fn remove(tables: &mut ArrayOfTables, at: usize) {
    let prefix = |table: &Table| table.decor().prefix().and_then(|text| text.as_str()).unwrap_or_default().to_owned();
    let head = tables.get(at).map(prefix).unwrap_or_default();
    tables.remove(at);
    if let (0, Some((head, _)), Some(next)) = (at, head.rsplit_once("\n\n"), tables.get_mut(0)) {
        let own = prefix(next);
        next.decor_mut().set_prefix(format!("{head}\n\n{}", own.trim_start_matches('\n')));
    }
}

/// Returns entries for a cell that fails: one for each of a few failed parts, or one for the cell.
fn new_entries(cell: &CellReport) -> Vec<(String, Table)> {
    let id = Pattern::escape(&one_line(&cell.id));
    let last = cell.final_attempt();
    let bad: Vec<&Part> = last.map_or(&[][..], |last| &last.parts).iter().filter(|part| part.is_bad()).collect();
    let is_explained = last.is_some_and(|last| last.other_cause.is_none());
    if is_explained && (1..=MAX_PARTS).contains(&bad.len()) {
        let entry = |part: &&Part| {
            let pattern = format!("{id} > {}", Pattern::escape(&one_line(&part.name)));
            let detail = if part.detail.is_empty() { part.result.name() } else { &part.detail };
            (pattern.clone(), table(&pattern, None, detail))
        };
        return bad.iter().map(entry).collect();
    }
    let outcome = Some(outcome(cell)).filter(|outcome| *outcome != "exited" && super::OUTCOMES.contains(outcome));
    vec![(id.clone(), table(&id, outcome, &cell.reason()))]
}

fn table(pattern: &str, outcome: Option<&str>, reason: &str) -> Table {
    let mut table = Table::new();
    table.insert("pattern", value(pattern));
    if let Some(outcome) = outcome {
        table.insert("outcome", value(outcome));
    }
    let reason: String = one_line(reason).chars().take(MAX_REASON).collect();
    table.insert("reason", value(format!("TODO: {reason}")));
    table
}
