//! Checks that each module imports only from earlier modules in the order. Reads every `crate::` path in `src/`.

#[path = "support/sources.rs"]
mod sources;

use std::path::Path;

/// The modules in order: each may use only earlier modules.
const ORDER: [&str; 20] = [
    "arch", "proto", "sys", "cache", "pid1", "disk", "health", "spec", "resolve", "plan", "write", "image", "check",
    "boot", "verdict", "vm", "matrix", "regress", "watch", "cli",
];

fn place(module: &str) -> Option<usize> {
    ORDER.iter().position(|name| *name == module)
}

/// Returns the top-level module of a file; `None` for the crate roots.
fn module_of(path: &Path) -> Option<String> {
    let first = path.strip_prefix("src").ok()?.components().next()?.as_os_str().to_str()?;
    let name = first.strip_suffix(".rs").unwrap_or(first);
    (!matches!(name, "lib" | "main")).then(|| name.to_owned())
}

/// Returns the names after `crate::`, including those in a brace group (only its first level: deeper names are not
/// top-level modules).
fn imports(text: &str) -> Vec<String> {
    let code: String =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).flat_map(|line| [line, "\n"]).collect();
    let mut names = Vec::new();
    for (at, found) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + found.len()..];
        match rest.strip_prefix('{') {
            Some(group) => names.extend(group_tops(group)),
            None => names.push(identifier(rest)),
        }
    }
    names
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn group_tops(group: &str) -> Vec<String> {
    let mut tops = Vec::new();
    let mut depth = 1;
    let mut fresh = true;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => fresh = true,
            c if fresh && depth == 1 && c.is_alphabetic() => {
                tops.push(identifier(&group[at..]));
                fresh = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    tops
}

/// Returns the violations in one file.
fn complaints(path: &Path, text: &str) -> Vec<String> {
    let Some(module) = module_of(path) else { return Vec::new() };
    let Some(own) = place(&module) else {
        return vec![format!("{}: module `{module}` is not in the order of tests/layering.rs", path.display())];
    };
    imports(text)
        .into_iter()
        .filter(|name| *name != module)
        .filter_map(|name| match place(&name) {
            None => Some(format!("{}: crate::{name} is not in the order", path.display())),
            Some(other) if other > own => Some(format!("{}: `{module}` imports upward from `{name}`", path.display())),
            Some(_) => None,
        })
        .collect()
}

#[test]
fn no_module_imports_from_a_later_module() {
    let files = sources::below("src");
    assert!(files.len() > 10, "source files not found");
    let found: Vec<String> = files.iter().flat_map(|file| complaints(&file.path, &file.text)).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn an_upward_import_is_found_in_every_spelling() {
    for text in [
        "use crate::cli::Args;",
        "fn f() -> crate::boot::Vm {}",
        "use crate::{spec::{Copy, boot}, write::newc};",
        "use crate::{\n    spec::Copy,\n    verdict,\n};",
    ] {
        let found = complaints(Path::new("src/plan/mod.rs"), text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(found[0].contains("imports upward"), "{found:?}");
    }
}

#[test]
fn imports_from_earlier_modules_and_in_comments_are_allowed() {
    let text = "//! [`crate::cli`] does it\nuse crate::{spec::{Copy, cli}, resolve};\nuse other_crate::cli;\nuse crate::plan::x;";
    assert_eq!(complaints(Path::new("src/plan/mod.rs"), text), Vec::<String>::new());
}

#[test]
fn a_module_that_is_not_listed_is_refused() {
    assert_eq!(complaints(Path::new("src/utils.rs"), "").len(), 1);
    assert_eq!(complaints(Path::new("src/plan/mod.rs"), "use crate::helpers::x;").len(), 1);
}
