//! House rules that rustc and clippy cannot check: `//!` heads, file sizes, places of `unsafe`, reasons for
//! dependencies.

#[path = "support/sources.rs"]
mod sources;

use std::fs;
use std::path::Path;

use regex::Regex;

/// Line limit of a file without its tests.
const MOST_LINES: usize = 400;

/// Limit of marker words per 100 comment or string lines.
const MARKERS_PER_HUNDRED: f64 = 0.3;
/// Marker words of unidiomatic English. Each is an ordinary word, but a high density indicates prose to rewrite.
const MARKERS: &str = r"(?i)\b(told|tells|tell of|nobody|somebody|whoever|anybody|everybody|in vain|goes on|go on|came of|comes of|is wanted|are wanted|stands|stand behind|behind it|of its own|of one's own|theirs|ours|as it stands|is none|it is no|there is no such|lest|at once|one's|whatever it is|what is so|for people|beforehand|thereby|wherever it|of what it)\b";
/// Start of a doc comment that is a bare relative clause, or that continues the comment above: a doc comment starts with what
/// the item is or does.
const CLAUSES: &str =
    r"(?m)^\s*//[/!] (?:What|Why|Which|Who|Where|And|Nor|How (?:long|much|many|often|it|a|an|the))\b.*$";
/// Names of items and modules that are too vague.
const BANNED: &str = r"(?m)\b(?:fn|struct|enum|trait|mod|type|const|static) (Told|Teller|Talker|Talk|Again|Brought|Stay|Waits|Ground|Deed|Wanted|Inquest|Nonsense|Nobody|ours|theirs|alone|left|told|said|says|goes_on|tell|tells|asking|look|poke|shake|again|somehow|misc|util|utils|helpers|common)\b";

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

/// Returns the comment and string text of each line that has any.
fn prose(text: &str) -> Vec<String> {
    let strings = Regex::new(r#""((?:[^"\\]|\\.){4,})""#).expect("a regular expression");
    let of_line = |line: &str| {
        let comment = line.split_once("//").map_or("", |(_, comment)| comment).trim_start_matches(['/', '!']).trim();
        let strings: Vec<&str> = strings.captures_iter(line).filter_map(|found| Some(found.get(1)?.as_str())).collect();
        format!("{comment} {}", strings.join(" ")).trim().to_owned()
    };
    text.lines().map(|line| of_line(line.trim())).filter(|text| !text.is_empty()).collect()
}

/// Returns the numbers of marker words and of comment or string lines in `text`.
fn markers(text: &str) -> (usize, usize) {
    let markers = Regex::new(MARKERS).expect("a regular expression");
    let lines = prose(text);
    (lines.iter().map(|line| markers.find_iter(line).count()).sum(), lines.len())
}

/// Returns the banned names in `text`.
fn banned(text: &str) -> Vec<String> {
    let names = Regex::new(BANNED).expect("a regular expression");
    names.captures_iter(text).map(|found| found[1].to_owned()).collect()
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
fn the_debian_package_has_the_version_of_the_crate() {
    let changelog = fs::read_to_string(sources::root().join("debian/changelog")).expect("a changelog");
    assert!(changelog.starts_with(concat!("bootling (", env!("CARGO_PKG_VERSION"), ")")), "{changelog}");
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

#[test]
fn comments_and_strings_have_few_marker_words() {
    let files: Vec<_> = ["src", "stubs"].into_iter().flat_map(sources::below).collect();
    assert!(files.len() > 100, "source files not found");
    let counts: Vec<_> = files.iter().map(|file| (&file.path, markers(&file.text))).collect();
    let (hits, lines) = counts.iter().fold((0, 0), |all, (_, (hits, lines))| (all.0 + hits, all.1 + lines));
    let float = |count: usize| f64::from(u32::try_from(count).expect("a small number"));
    let density = 100.0 * float(hits) / float(lines);
    let mut worst: Vec<_> = counts.iter().filter(|(_, (hits, _))| *hits > 0).collect();
    worst.sort_by_key(|(_, (hits, _))| std::cmp::Reverse(*hits));
    let list: Vec<String> =
        worst.iter().take(20).map(|(path, (hits, _))| format!("{hits} {}", path.display())).collect();
    assert!(density <= MARKERS_PER_HUNDRED, "{density:.2} marker words per 100 lines:\n{}", list.join("\n"));
    assert_eq!(markers("// it is told\nlet x = \"nobody stands\"; // fine\nlet y = 1;\n"), (3, 2));
}

#[test]
fn no_doc_comment_is_a_relative_clause() {
    let clauses = Regex::new(CLAUSES).expect("a regular expression");
    let found: Vec<String> = ["src", "stubs"]
        .into_iter()
        .flat_map(sources::below)
        .flat_map(|file| {
            let lines = clauses.find_iter(&file.text).map(|line| line.as_str().trim().to_owned());
            lines.map(|line| format!("{}: {line}", file.path.display())).collect::<Vec<_>>()
        })
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
    for bad in ["/// What is run.", "    /// How long a guest may take.", "//! And in all."] {
        assert!(clauses.is_match(bad), "{bad}");
    }
    for good in ["/// Whatsit.", "/// How to read it.", "let x; // What now", "/// Reason why it failed."] {
        assert!(!clauses.is_match(good), "{good}");
    }
}

#[test]
fn no_item_has_a_banned_name() {
    let files: Vec<_> = ["src", "stubs"].into_iter().flat_map(sources::below).collect();
    let found: Vec<String> = files
        .iter()
        .flat_map(|file| banned(&file.text).into_iter().map(|name| format!("{}: {name}", file.path.display())))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert_eq!(banned("pub struct Told;\nfn told_of() {}\npub(crate) mod ours;\n"), ["Told", "ours"]);
}
