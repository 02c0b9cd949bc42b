//! Reads a list of known failures. All mistakes are reported together, each with its position.

use glob::Pattern;
use toml::de::DeTable;

use super::release::Kernels;
use super::{Entry, OUTCOMES};
use crate::suite::manifest::{Diagnostic, Document, ManifestError, Table, did_you_mean};

/// Key of the entries.
pub(super) const ENTRIES: &str = "known";

/// Parses a list. `file` is its name in errors.
pub(super) fn entries(text: &str, file: &str) -> Result<Vec<Entry>, ManifestError> {
    let failed = |diagnostics| ManifestError { file: file.to_owned(), diagnostics };
    let table = DeTable::parse(text).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        failed(vec![Diagnostic::new(text, span, error.message().replace('\n', "; "))])
    })?;
    let document = Document::new(text);
    let mut keys = Table::new(&document, table.get_ref(), 0..0);
    let entries: Vec<Entry> = keys.tables(ENTRIES).into_iter().filter_map(|keys| entry(keys, text)).collect();
    keys.finish();
    let diagnostics = document.into_diagnostics();
    if diagnostics.is_empty() { Ok(entries) } else { Err(failed(diagnostics)) }
}

fn entry(mut keys: Table<'_, '_>, text: &str) -> Option<Entry> {
    let document = keys.document();
    let line = text[..keys.span().start].matches('\n').count() + 1;
    for key in ["pattern", "reason"] {
        if !keys.has(key) {
            document.error(keys.span(), format!("a known failure needs {key:?}"));
        }
    }
    let pattern = keys.parsed("pattern", |text| match Pattern::new(text) {
        _ if text.is_empty() => Err("empty pattern".to_owned()),
        Ok(pattern) => Ok(pattern),
        Err(error) => Err(format!("invalid pattern {text:?}: {}", error.msg)),
    });
    let reason = keys.parsed("reason", |text| match text.trim() {
        "" => Err("empty reason: state why it fails".to_owned()),
        text => Ok(text.to_owned()),
    });
    let kernels = keys.parsed("kernel", Kernels::parse);
    let outcome = keys.parsed("outcome", |name| {
        if OUTCOMES.contains(&name) {
            return Ok(name.to_owned());
        }
        Err(format!("expected one of {}, found {name:?}{}", OUTCOMES.join(", "), did_you_mean(name, OUTCOMES)))
    });
    let flaky = keys.flag("flaky").unwrap_or_default();
    let until = keys.date("until");
    keys.finish();
    Some(Entry { pattern: pattern?, kernels, reason: reason?, until, outcome, flaky, line })
}
