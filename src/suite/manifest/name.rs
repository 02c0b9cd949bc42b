//! Names in a manifest: of what they are made, and whether they are there.

use std::ops::Range;

use super::keys::{Keys, Said, Sheet};
use super::mistake::did_you_mean;

/// What may stand in a name, as the end of a sentence.
pub const NAME_RULE: &str =
    "a name is made of letters, digits, '.', '_', '+' and '-', and begins with a letter or a digit";
/// Longest name.
const LONGEST: usize = 100;

/// All names of a manifest.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    pub kernels: Vec<String>,
    pub machines: Vec<String>,
    pub tests: Vec<String>,
}

/// Whether it can stand in a cell's id, and there between slashes, in a shell, in a file's name.
pub fn is_name(text: &str) -> bool {
    let first = text.bytes().next();
    first.is_some_and(|byte| byte.is_ascii_alphanumeric())
        && text.len() <= LONGEST
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte))
}

/// Refuses what is no name.
pub(super) fn check(sheet: &Sheet<'_>, name: &str, at: &Range<usize>) {
    if !is_name(name) {
        sheet.wrong(at, format!("{name:?} is no name: {NAME_RULE}, {LONGEST} at most"));
    }
}

/// The names under a key, each of them there. `None`: the key is not there.
pub(super) fn names(keys: &mut Keys<'_, '_>, key: &'static str, kind: &str, known: &[String]) -> Option<Vec<String>> {
    let (sheet, texts) = (keys.sheet(), keys.texts(key)?);
    if texts.is_empty() {
        // Taken at its word, a test would never run, and nobody would be told.
        sheet.wrong(&keys.key(key), format!("{key:?} names no {kind}: leave it out where all are meant"));
    }
    let names = texts.into_iter().filter_map(|Said { value, at }| {
        if known.contains(&value) {
            return Some(value);
        }
        let known = known.iter().map(String::as_str);
        sheet.wrong(&at, format!("there is no {kind} {value:?}{}", did_you_mean(&value, known)));
        None
    });
    Some(names.collect())
}

/// The tags under a key.
pub(super) fn tags(keys: &mut Keys<'_, '_>) -> Vec<String> {
    let sheet = keys.sheet();
    let tags = keys.texts("tags").unwrap_or_default().into_iter();
    tags.map(|Said { value, at }| {
        check(sheet, &value, &at);
        value
    })
    .collect()
}
