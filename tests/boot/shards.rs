//! `bootling test --shard` and `--merge` with real guests; reports in every format; tests that print TAP or KTAP.

use std::fs;

use serde_json::Value;

use crate::support::program::scratch;
use crate::support::{Kernel, Program};

const MANIFEST: &str = r#"
    [defaults]
    isolate = "none"
    [machines]
    q35 = {}
    pc = { machine = "pc" }
    [[test]]
    name = "good"
    run = "printf 'TAP version 13\n1..2\nok 1 a\nok 2 b # SKIP no device\n'"
    [[test]]
    name = "lies"
    run = "printf 'KTAP version 1\n1..3\nok 1 a\nnot ok 2 b\n'"
    machines = ["pc"]
    [[test]]
    name = "plain"
    run = "echo hello"
"#;

/// Creates a directory with that manifest.
fn suite(name: &str) -> Option<tempfile::TempDir> {
    let kernel = Kernel::Cloud612.or_skip(name)?;
    let dir = scratch();
    let manifest = format!("[kernels]\nk = {:?}\n{MANIFEST}", kernel.display().to_string());
    fs::write(dir.path().join("bootling.toml"), manifest).expect("writable directory");
    Some(dir)
}

fn test(dir: &tempfile::TempDir, words: &[&str]) -> Program {
    Program::new().current_dir(dir.path()).arg("test").args(words)
}

/// Returns the cells of a report: ID, status and cause.
fn cells(dir: &tempfile::TempDir, report: &str) -> Vec<(String, String, String)> {
    let text = fs::read_to_string(dir.path().join(report)).expect("a report");
    let cells = text.lines().skip(1).map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let text = |cell: &Value, key: &str| cell[key].as_str().unwrap_or_default().to_owned();
    cells.map(|cell| (text(&cell, "id"), text(&cell, "status"), text(&cell, "cause"))).collect()
}

#[test]
fn merged_shards_equal_one_run_and_a_missing_shard_is_a_failure() {
    let Some(dir) = suite("merged_shards_equal_one_run_and_a_missing_shard_is_a_failure") else { return };
    let whole = test(&dir, &["--jsonl", "whole.jsonl", "--ktap", "whole.ktap"]).done().exits(1);
    let whole = whole.says("1 of 2 parts failed: b; missing parts: plan: 3 planned, 2 reported");
    whole.says("4 passed, 1 failed");
    test(&dir, &["--shard", "1/2", "--jsonl", "1.jsonl"]).done();
    test(&dir, &["--shard", "auto", "--jsonl", "2.jsonl"]).env("BOOTLING_SHARD", "2/2").done();
    let merge = ["--merge", "2.jsonl", "1.jsonl", "--jsonl", "all.jsonl", "--html", "all.html", "--junit", "all.xml"];
    let merged = test(&dir, &[&merge[..], &["--tap", "all.tap", "--baseline", "whole.jsonl"]].concat()).done();
    merged.exits(1).says("since the earlier report: 1 still failing");
    assert_eq!(cells(&dir, "all.jsonl"), cells(&dir, "whole.jsonl"));
    for (file, told) in [
        ("all.html", "<article id=\"lies&#x2f;k&#x2f;pc\""),
        ("all.xml", "<testsuites name=\""),
        ("all.tap", "\nnot ok 3 - lies/k/pc\n"),
        ("whole.ktap", "\n  not ok 2 b\n"),
    ] {
        let text = fs::read_to_string(dir.path().join(file)).expect("a report");
        assert!(text.contains(told), "{file}: {text}");
    }
    // With the manifest the missing cells are known; without it only the missing shard is reported.
    test(&dir, &["--merge", "1.jsonl", "--jsonl", "lost.jsonl"]).done().exits(1).says("no report of shard 2/2");
    let lost = cells(&dir, "lost.jsonl");
    assert_eq!(lost.len(), 5);
    assert!(lost.iter().any(|(_, status, cause)| status == "not-run" && cause == "missing from its shard's report"));
    fs::rename(dir.path().join("bootling.toml"), dir.path().join("other.toml")).expect("our file");
    test(&dir, &["--merge", "1.jsonl"]).done().exits(1).says("shard 2 of 2");
    test(&dir, &["--merge", "1.jsonl", "1.jsonl"]).done().exits(125).says("are both reports of shard 1/2");
    test(&dir, &["--merge", "1.jsonl", "gone.jsonl"]).done().exits(125).says("failed to read gone.jsonl");
    test(&dir, &["other.toml", "--tag", "none", "--merge", "1.jsonl"]).done().exits(125);
}

#[test]
fn shard_auto_without_shard_variables_is_refused() {
    let Some(dir) = suite("shard_auto_without_shard_variables_is_refused") else { return };
    test(&dir, &["--list", "--shard", "auto"]).done().exits(125).says("none of BOOTLING_SHARD, SLURM_ARRAY_TASK_ID");
    test(&dir, &["--list", "--shard", "3/2"]).done().exits(2).says("expected INDEX/TOTAL");
    let script = test(&dir, &["--tag", "smoke", "--emit", "slurm", "--shards", "8"]).done().exits(0).text();
    assert!(script.contains("#SBATCH --array=1-8\n"), "{script}");
    assert!(script.contains("exec bootling test --tag smoke --shard \"$SLURM_ARRAY_TASK_ID/8\""), "{script}");
}
