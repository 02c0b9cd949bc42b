//! Names in a manifest: their syntax, and references to them.

use std::ops::Range;

use super::diagnostic::did_you_mean;
use super::table::{Document, Located, Table};

/// Syntax of a name, for error messages.
pub const NAME_RULE: &str = "names contain letters, digits, '.', '_', '+', ':' and '-', start with a letter or digit, and have at most 100 characters";
/// Length limit.
const MAX_LENGTH: usize = 100;

/// All names of a manifest.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownNames {
    pub(crate) kernels: Vec<String>,
    pub(crate) machines: Vec<String>,
    pub(crate) tests: Vec<String>,
}

/// Returns true if the text is a valid name: safe in a cell id, between slashes, in a shell and in a file name.
pub fn is_name(text: &str) -> bool {
    let first = text.bytes().next();
    first.is_some_and(|byte| byte.is_ascii_alphanumeric())
        && text.len() <= MAX_LENGTH
        && text.chars().all(is_name_letter)
}

/// Returns true if the character may occur in a name.
pub(crate) fn is_name_letter(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "._+-:".contains(letter)
}

/// Records an error if the text is not a valid name.
pub(super) fn check(document: &Document<'_>, name: &str, span: &Range<usize>) {
    if !is_name(name) {
        document.error(span, format!("invalid name {name:?}: {NAME_RULE}"));
    }
}

/// Reads references to known names. `None` if the key is absent.
pub(super) fn names(keys: &mut Table<'_, '_>, key: &'static str, kind: &str, known: &[String]) -> Option<Vec<String>> {
    let (document, texts) = (keys.document(), keys.located_texts(key)?);
    if texts.is_empty() {
        // Such a test would never run, which is easily overlooked.
        document.error(&keys.key_span(key), format!("{key:?} is empty; omit it to select every {kind}"));
    }
    let names = texts.into_iter().filter_map(|Located { value, span }| {
        if known.contains(&value) {
            return Some(value);
        }
        let hint = did_you_mean(&value, known.iter().map(String::as_str));
        document.error(&span, format!("unknown {kind} {value:?}{hint}"));
        None
    });
    Some(names.collect())
}

/// Reads tags.
pub(super) fn tags(keys: &mut Table<'_, '_>) -> Vec<String> {
    let tags = keys.located_texts("tags").unwrap_or_default();
    for tag in &tags {
        check(keys.document(), &tag.value, &tag.span);
    }
    tags.into_iter().map(|tag| tag.value).collect()
}
