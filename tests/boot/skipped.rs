//! Tests that report themselves as skipped.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::support::program::scratch;
use crate::support::{Done, Kernel, Program};

const MANIFEST: &str = r#"
    [defaults]
    skip-status = 4
    isolate = "none"
    retries = 1
    [[test]]
    name = "passes"
    run = "true"
    [[test]]
    name = "skips"
    run = "echo SKIP: no such device; exit 4"
    expect = "done"
    [[test]]
    name = "skips-its-parts"
    run = "printf 'TAP version 13\n1..0 # SKIP not here\n'"
    [[test]]
    glob = "scripts/*.sh"
    copy = "scripts"
"#;

#[test]
fn a_skipped_test_has_its_own_status_and_does_not_count_as_tested() {
    let Some(kernel) = Kernel::Cloud612.or_skip("a_skipped_test_has_its_own_status_and_does_not_count_as_tested")
    else {
        return;
    };
    let dir = scratch();
    let manifest = format!("[kernels]\nk = {:?}\n{MANIFEST}", kernel.display().to_string());
    fs::write(dir.path().join("bootling.toml"), manifest).expect("writable directory");
    let script = dir.path().join("scripts/one.sh");
    fs::create_dir(dir.path().join("scripts")).expect("writable directory");
    fs::write(&script, "#!/bin/sh\necho trying\n. ./lib\n").expect("writable directory");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("own file");
    fs::write(dir.path().join("scripts/lib"), "echo 'SKIP: need more' >&2; exit 4\n").expect("writable directory");
    let read = |file: &str| fs::read_to_string(dir.path().join(file)).expect("a report");
    let run = |words: &[&str]| -> Done { Program::new().current_dir(dir.path()).arg("test").args(words).done() };

    let reports = ["--tap", "t.tap", "--ktap", "t.ktap", "--junit", "t.xml", "--html", "t.html", "--jsonl", "t.jsonl"];
    run(&reports).exits(0).says("1 passed, 3 skipped").says("SKIP  skips/k/default");
    let cells =
        read("t.jsonl").lines().skip(1).map(|line| serde_json::from_str(line).expect("JSON")).collect::<Vec<Value>>();
    let cells: BTreeMap<&str, &Value> =
        cells.iter().map(|cell| (cell["test"].as_str().expect("a name"), cell)).collect();
    let told = |name: &str| (cells[name]["status"].as_str(), cells[name]["cause"].as_str());
    assert_eq!(told("passes"), (Some("passed"), None));
    assert_eq!(told("skips"), (Some("skipped"), Some("SKIP: no such device")));
    assert_eq!(told("skips-its-parts"), (Some("skipped"), Some("not here")));
    // The script runs in its own directory, and reports the reason on standard error.
    assert_eq!(told("one.sh"), (Some("skipped"), Some("SKIP: need more")));
    assert_eq!(cells["skips"]["attempts"].as_array().map(Vec::len), Some(1), "a skipped test is not retried");
    for (file, told) in [
        ("t.tap", "\nok 2 - skips/k/default # SKIP SKIP: no such device\n"),
        ("t.ktap", "\nok 2 skips/k/default # SKIP SKIP: no such device\n"),
        ("t.xml", "<skipped message=\"SKIP: no such device\"/>"),
        ("t.html", "1 of 4 cells passed, 3 skipped"),
    ] {
        assert!(read(file).contains(told), "{file}: {}", read(file));
    }

    // Nothing was tested: an error, except for a shard.
    run(&["-t", "skips"]).exits(125).says("2 skipped");
    run(&["-t", "skips", "--shard", "1/2"]).exits(0);
}
