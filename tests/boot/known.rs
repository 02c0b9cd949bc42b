//! `bootling test --baseline known-failures.toml`: known failures, newly failing cells, unexpected passes, and updates.

use std::fs;

use crate::support::program::scratch;
use crate::support::{Kernel, Program};

const MANIFEST: &str = r#"
    [defaults]
    isolate = "none"
    [[test]]
    name = "good"
    run = "true"
    [[test]]
    name = "parts"
    run = "printf 'TAP version 13\n1..2\nok 1 a\nnot ok 2 b\n'; exit 1"
    [[test]]
    name = "bad"
    run = "exit 3"
"#;

#[test]
fn known_failures_do_not_count_but_new_ones_and_unexpected_passes_do() {
    let Some(kernel) = Kernel::Cloud612.or_skip("known_failures_do_not_count") else { return };
    let dir = scratch();
    let manifest = format!("[kernels]\nk = {:?}\n{MANIFEST}", kernel.display().to_string());
    fs::write(dir.path().join("bootling.toml"), manifest).expect("writable directory");
    let list = dir.path().join("known.toml");
    let write = |text: &str| fs::write(&list, text).expect("writable directory");
    let test = |options: &[&str]| {
        let program = Program::new().current_dir(dir.path()).args(["test", "--baseline", "known.toml"]);
        program.args(options).done()
    };
    test(&[]).exits(125).says("--update-baseline creates it");

    write("[[known]]\npattern = 'parts > b'\nreason = 'bug 1'\nkernel = '>=6.12, <6.13'\n");
    let done = test(&[]).exits(1);
    let done = done.says("known failures: 1 newly failing, 0 unexpectedly passing, 1 known\n");
    done.says("  newly failing        bad/k/default: exited with status 3; expected: status 0\n")
        .says("  known                parts/k/default: bug 1\n");

    write("# Ours.\n[[known]]\npattern = 'parts'\nreason = 'bug 1'\n[[known]]\npattern = 'g*'\nreason = 'bug 2'\n");
    test(&["--update-baseline"]).exits(0).says("known.toml: 1 added, 1 removed\n");
    assert_eq!(
        fs::read_to_string(&list).expect("a list"),
        "# Ours.\n[[known]]\npattern = 'parts'\nreason = 'bug 1'\n\n[[known]]\npattern = \"bad/k/default\"\n\
         reason = \"TODO: exited with status 3; expected: status 0\"\n"
    );
    test(&["--fail-fast", "-q"]).exits(0).says("1 passed, 2 known to fail\n");
}
