//! House rules that rustc and clippy cannot check: `//!` heads, file sizes, places of `unsafe`, reasons for dependencies.

#[path = "support/sources.rs"]
mod sources;

use std::fs;
use std::path::Path;

/// Line limit of a file without its tests.
const MOST_LINES: usize = 400;

/// Returns the violations in one Rust file.
fn complaints(path: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if !text.starts_with("//!") {
        found.push("does not start with a `//!` head (purpose, refusals, specification)".to_owned());
    }
    let lines = without_tests(text).lines().count();
    if lines > MOST_LINES {
        found.push(format!("has {lines} lines without its tests (limit {MOST_LINES}): split it by noun"));
    }
    let may_be_unsafe = path == Path::new("src/sys.rs") || path.starts_with("stubs");
    if !may_be_unsafe && text.lines().any(contains_unsafe) {
        found.push("contains `unsafe`, which is allowed only in src/sys.rs and stubs".to_owned());
    }
    if ["utils", "util", "common", "helpers", "misc"].iter().any(|name| path.file_stem().is_some_and(|s| s == *name)) {
        found.push("has a generic name: split it by noun".to_owned());
    }
    found.into_iter().map(|what| format!("{} {what}", path.display())).collect()
}

/// Returns the part of a file before its `#[cfg(test)]` module.
fn without_tests(text: &str) -> &str {
    let starts = ["\n#[cfg(test)]\nmod ", "\n#[cfg(test)]\npub(super) mod "].map(|start| text.find(start));
    starts.into_iter().flatten().min().map_or(text, |at| &text[..=at])
}

fn contains_unsafe(line: &str) -> bool {
    let code = line.trim_start();
    !code.starts_with("//")
        && ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"].iter().any(|word| code.contains(word))
}

/// Returns the lines in a manifest's dependency tables without a comment.
fn unexplained(manifest: &str) -> Vec<&str> {
    let mut in_table = false;
    manifest
        .lines()
        .filter(|line| {
            if line.starts_with('[') {
                in_table = line.trim_end_matches(']').ends_with("dependencies");
                return false;
            }
            in_table && line.contains('=') && !line.trim_start().starts_with('#') && !line.contains("# ")
        })
        .collect()
}

#[test]
fn every_file_follows_the_house_rules() {
    let files: Vec<_> = ["src", "tests", "benches", "stubs", "build.rs"].into_iter().flat_map(sources::below).collect();
    assert!(files.len() > 10, "source files not found");
    let found: Vec<String> = files
        .iter()
        // This file contains the patterns itself.
        .filter(|file| file.path != Path::new("tests/house.rs"))
        .flat_map(|file| complaints(&file.path, &file.text))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_dependency_has_a_reason() {
    let manifest = fs::read_to_string(sources::root().join("Cargo.toml")).expect("a manifest");
    assert_eq!(unexplained(&manifest), Vec::<&str>::new());
    assert_eq!(unexplained("[dependencies]\nx = \"1\"\ny = \"1\" # why\n[lints.rust]\nz = 1\n"), ["x = \"1\""]);
}

#[test]
fn each_rule_detects_a_violation() {
    let good = "//! Head.\nfn f() {}\n";
    assert_eq!(complaints(Path::new("src/a.rs"), good), Vec::<String>::new());
    for (path, text) in [
        ("src/a.rs", "fn f() {}\n".to_owned()),
        ("src/a.rs", format!("//! Head.\n{}", "x\n".repeat(MOST_LINES))),
        ("src/a.rs", "//! Head.\n    unsafe { x() }\n".to_owned()),
        ("src/utils.rs", good.to_owned()),
    ] {
        assert_eq!(complaints(Path::new(path), &text).len(), 1, "{path}");
    }
    let tested = format!("//! Head.\nfn f() {{}}\n\n#[cfg(test)]\nmod tests {{\n{}}}\n", "x\n".repeat(MOST_LINES));
    assert_eq!(complaints(Path::new("src/a.rs"), &tested), Vec::<String>::new());
}
