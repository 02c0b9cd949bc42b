//! Runs the README's examples and compares their output with the README.
//!
//! A console block after `<!-- test -->` is run in an empty directory with `bootling` on PATH. After the marker
//! `<!-- test: vm -->` the directory also contains a kernel package `linux-image.deb`. In expected output, `[..]`
//! matches any text and `...` any lines.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::support::Kernel;
use crate::support::program::{build_dir, scratch};

/// A marked block: whether it boots a guest, and its commands with their expected output.
struct Example {
    boots: bool,
    steps: Vec<(String, String)>,
}

/// Returns the marked blocks of a text.
fn examples(text: &str) -> Vec<Example> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let boots = match line.trim() {
            "<!-- test -->" => false,
            "<!-- test: vm -->" => true,
            _ => continue,
        };
        assert_eq!(lines.next(), Some("```console"), "a block follows its marker");
        let mut steps: Vec<(String, String)> = Vec::new();
        for line in lines.by_ref().take_while(|line| *line != "```") {
            match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => steps.push((command.to_owned(), String::new())),
                (None, Some((_, output))) => output.extend([line, "\n"]),
                (None, None) => panic!("a block starts with a command, not {line:?}"),
            }
        }
        found.push(Example { boots, steps });
    }
    found
}

/// Runs one block in `dir`.
fn check(example: &Example, dir: &Path) {
    let programs = Path::new(env!("CARGO_BIN_EXE_bootling")).parent().expect("a parent directory");
    let path = std::env::var("PATH").expect("PATH is set");
    for (command, expected) in &example.steps {
        let output = Command::new("timeout")
            .args(["180", "sh", "-c", &format!("exec 2>&1; {command}")])
            .current_dir(dir)
            .env("PATH", format!("{}:{path}", programs.display()))
            .env("BOOTLING_CACHE_DIR", build_dir().join("test-cache"))
            // The note about missing KVM depends on the host.
            .env("BOOTLING_ACCEL", "tcg")
            .env("LC_ALL", "C")
            .stdin(std::process::Stdio::null())
            .output()
            .expect("sh runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        snapbox::Assert::new().eq(said, expected.as_str());
    }
}

fn run_marked(boots: bool, dir: &Path) {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("a README");
    let marked: Vec<Example> = examples(&text).into_iter().filter(|example| example.boots == boots).collect();
    assert!(!marked.is_empty(), "the README has no such example");
    for example in &marked {
        check(example, dir);
    }
}

#[test]
fn examples_print_the_output_in_the_readme() {
    run_marked(false, scratch().path());
}

#[test]
fn examples_with_guests_print_the_output_in_the_readme() {
    let Some(package) = Kernel::Cloud612.or_skip("examples_with_guests_print_the_output_in_the_readme") else { return };
    let dir = scratch();
    symlink(package, dir.path().join("linux-image.deb")).expect("writable directory");
    run_marked(true, dir.path());
}

#[test]
fn the_exit_codes_equal_those_in_the_source() {
    let read = |path: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("exists");
    let codes = |text: &str| -> Vec<String> {
        let rows = text.lines().filter_map(|line| line.trim_start_matches("//! ").strip_prefix("| 1"));
        rows.filter_map(|row| Some(format!("1{}", row.split(' ').next()?))).collect()
    };
    assert_eq!(codes(&read("README.md")), codes(&read("src/guest/verdict.rs")));
}

#[test]
fn a_block_is_split_into_commands_and_outputs() {
    let text = "x\n<!-- test: vm -->\n```console\n$ a b\n1\n2\n$ c\n```\n```console\n$ not marked\n```\n";
    let [example] = &examples(text)[..] else { panic!("expected one marked block") };
    assert!(example.boots);
    assert_eq!(example.steps, [("a b".to_owned(), "1\n2\n".to_owned()), ("c".to_owned(), String::new())]);
}
