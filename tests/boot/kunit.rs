//! `bootling test --kunit`: modules with suites. Debian's kernels have no `KUnit`; `tests/guest/kunit` takes its place.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::program::scratch;
use crate::support::{Kernel, Program, guest_modules};
use crate::trees::build_tree;

/// Creates the build tree of a kernel with these modules, and with `KUnit` in its configuration.
fn tree(package: &Path, modules: &Path, names: &[&str]) -> tempfile::TempDir {
    let tree = scratch();
    build_tree(package, tree.path());
    let append = |file: &str, line: &str| {
        let path = tree.path().join(file);
        let text = fs::read_to_string(&path).expect("a file of the tree") + line;
        fs::write(&path, text).expect("a writable tree");
    };
    fs::create_dir_all(tree.path().join("lib/kunit")).expect("a directory");
    for name in names {
        let file = format!("{name}.ko");
        fs::copy(modules.join(&file), tree.path().join("lib/kunit").join(&file)).expect("a built module");
        append("modules.order", &format!("lib/kunit/{name}.o\n"));
    }
    let config = fs::read_to_string(tree.path().join(".config")).expect("a configuration");
    let config = config.replace("# CONFIG_KUNIT is not set\n", "");
    let options = "CONFIG_KUNIT=m\n# CONFIG_KUNIT_DEFAULT_ENABLED is not set\n";
    fs::write(tree.path().join(".config"), config + options).expect("a writable tree");
    tree
}

#[test]
fn each_module_with_suites_is_a_cell_and_a_crash_loses_no_other_results() {
    let test = "each_module_with_suites_is_a_cell_and_a_crash_loses_no_other_results";
    let Some((modules, package)) = guest_modules::or_skip(test, "kunit") else { return };
    let names = ["kunit", "pass_test", "fail_test", "crash_test", "silent_test", "independent_test", "helper"];
    let tree = tree(&package, &modules, &names);
    let dir = scratch();
    let test = |options: &[&str]| {
        let program = Program::new().current_dir(dir.path()).args(["test", "--kunit", "-K"]).arg(tree.path());
        program.args(options).done()
    };
    let listed = String::from_utf8(test(&["--list"]).exits(0).stdout).expect("text");
    let cell = |name: &str| format!("{name}/given/default  [kunit]\n");
    let with_suites = ["crash_test", "fail_test", "independent_test", "pass_test", "silent_test"];
    assert_eq!(listed, with_suites.map(cell).concat());
    test(&["--init"]).exits(0);
    let manifest = fs::read_to_string(dir.path().join("bootling.toml")).expect("a manifest");
    let pass = "[[test]]\nname = \"pass_test\"\nrun = \"true\"\nkmod = [\"kunit enable=1\", \"pass_test\"]\n\
        boot-args = [\"loglevel=7\"]\nkunit = [\"alpha\", \"beta suite\"]\ntags = [\"kunit\"]\n";
    assert!(manifest.starts_with("name = \"kunit\"\n\n[[test]]\n") && manifest.contains(pass), "{manifest}");

    test(&["--jsonl", "report.jsonl"]).exits(1);
    let report = fs::read_to_string(dir.path().join("report.jsonl")).expect("a report");
    let cells: Vec<Value> = report.lines().skip(1).map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let string = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let found: Vec<String> = cells
        .iter()
        .map(|cell| {
            let parts = cell["attempts"][0]["parts"].as_array().expect("parts").iter();
            let parts: Vec<String> =
                parts.map(|part| format!("{}: {}", string(&part["result"]), string(&part["name"]))).collect();
            format!("{} {} [{}]", string(&cell["test"]), string(&cell["status"]), parts.join(", "))
        })
        .collect();
    assert_eq!(
        found,
        [
            "crash_test failed [passed: before > early, passed: crashing > calm, missing: crashing > plan, \
             missing: crashing]",
            "fail_test failed [passed: failing > good, failed: failing > bad]",
            "independent_test passed [passed: independent > alone]",
            "pass_test passed [passed: alpha > first, skipped: alpha > second, passed: beta suite > parameters > low, \
             passed: beta suite > parameters > high]",
            "silent_test failed [missing: silent]",
        ]
    );
    let cause = |at: usize| string(&cells[at]["cause"]);
    assert!(cause(0).contains("crash_test") && cause(0).contains("NULL pointer"), "{}", cause(0));
    assert_eq!(cause(1), "1 of 2 parts failed: failing > bad");
    assert_eq!(cause(4), "missing parts: silent: no result in the kernel log");
}

#[test]
fn a_kernel_without_kunit_or_without_its_tests_is_refused_with_the_option_to_set() {
    let test = "a_kernel_without_kunit_or_without_its_tests_is_refused_with_the_option_to_set";
    let Some((modules, package)) = guest_modules::or_skip(test, "kunit") else { return };
    let Some(debian) = Kernel::Cloud612.or_skip(test) else { return };
    let refused =
        |kernel: &Path| Program::new().args(["test", "--kunit", "--list", "-K"]).arg(kernel).done().exits(125);
    refused(&debian).says("no KUnit tests in ").says(": CONFIG_KUNIT is not set\nadvice: set CONFIG_KUNIT=m");
    let tree = tree(&package, &modules, &["kunit", "helper"]);
    refused(tree.path()).says("neither modules nor built-in suites").says("set tests such as CONFIG_KUNIT_ALL_TESTS=m");
}
