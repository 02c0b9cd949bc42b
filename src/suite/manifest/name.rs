//! Names in a manifest: their syntax, and references to them.

use std::ops::Range;

use super::keys::{Keys, Said, Sheet};
use super::mistake::did_you_mean;

/// Rule for names, for use in error texts.
pub const NAME_RULE: &str =
    "a name consists of letters, digits, '.', '_', '+' and '-', and starts with a letter or digit";
/// Maximum length of a name.
const LONGEST: usize = 100;

/// All names of a manifest.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    pub kernels: Vec<String>,
    pub machines: Vec<String>,
    pub tests: Vec<String>,
}

/// Returns true if `text` can be used in a cell's id (between slashes), in a shell and in a file name.
pub fn is_name(text: &str) -> bool {
    let first = text.bytes().next();
    first.is_some_and(|byte| byte.is_ascii_alphanumeric())
        && text.len() <= LONGEST
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte))
}

/// Reports an invalid name.
pub(super) fn check(sheet: &Sheet<'_>, name: &str, at: &Range<usize>) {
    if !is_name(name) {
        sheet.wrong(at, format!("invalid name {name:?}: {NAME_RULE} (at most {LONGEST} characters)"));
    }
}

/// Returns the names in a key, and reports undefined ones. `None`: the key is missing.
pub(super) fn names(keys: &mut Keys<'_, '_>, key: &'static str, kind: &str, known: &[String]) -> Option<Vec<String>> {
    let (sheet, texts) = (keys.sheet(), keys.texts(key)?);
    if texts.is_empty() {
        // An empty list would silently disable the test.
        sheet.wrong(&keys.key(key), format!("{key:?} names no {kind}; omit it to select all"));
    }
    let names = texts.into_iter().filter_map(|Said { value, at }| {
        if known.contains(&value) {
            return Some(value);
        }
        let known = known.iter().map(String::as_str);
        sheet.wrong(&at, format!("unknown {kind} {value:?}{}", did_you_mean(&value, known)));
        None
    });
    Some(names.collect())
}

/// Returns the tags of a test, kernel or machine.
pub(super) fn tags(keys: &mut Keys<'_, '_>) -> Vec<String> {
    let sheet = keys.sheet();
    let tags = keys.texts("tags").unwrap_or_default().into_iter();
    tags.map(|Said { value, at }| {
        check(sheet, &value, &at);
        value
    })
    .collect()
}
