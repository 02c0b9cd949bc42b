//! `bootling test --kselftest`: an installed tree of shell tests.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::support::program::scratch;
use crate::support::{Kernel, Program};

/// Files of the tree: name, mode, contents.
const TREE: &[(&str, u32, &str)] = &[
    (
        "kselftest-list.txt",
        0o644,
        "net/sub:pass.sh\nnet/sub:skip.sh\nnet/sub:plain\nnet/sub:gone\ntimers:part.sh\nodd:lacks.sh\n",
    ),
    ("net/sub/pass.sh", 0o755, "#!/bin/sh\n. ./lib.sh\ncheck \"$0\" \"$1\"\n"),
    ("net/sub/lib.sh", 0o644, "check() { echo \"$PWD $1 $2\"; [ \"$1 $2\" = './pass.sh -a' ]; }\n"),
    ("net/sub/skip.sh", 0o755, "#!/bin/sh\necho 'SKIP: no device'\nexit 4\n"),
    ("net/sub/plain", 0o644, "#!/bin/sh\nexit 3\n"),
    ("net/sub/config", 0o644, "CONFIG_NET=y\nCONFIG_INET=m\n"),
    ("timers/part.sh", 0o755, "#!/bin/sh\nprintf 'TAP version 13\\n1..3\\nok 1 a\\nnot ok 2 b\\n'\n"),
    ("timers/settings", 0o644, "timeout=0\n"),
    ("odd/lacks.sh", 0o755, "#!/bin/sh\n"),
    ("odd/config", 0o644, "CONFIG_NET=y\nCONFIG_NO_SUCH_OPTION=y\n"),
];

#[test]
fn an_installed_tree_runs_as_run_kselftest_runs_it() {
    let Some(kernel) = Kernel::Cloud612.or_skip("an_installed_tree_runs_as_run_kselftest_runs_it") else { return };
    let dir = scratch();
    let tree = dir.path().join("tree");
    for (name, mode, text) in TREE {
        let path = tree.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).expect("a mode");
    }
    let test = |options: &[&str]| {
        let program =
            Program::new().current_dir(dir.path()).args(["test", "--kselftest", "tree"]).arg("-K").arg(&kernel);
        program.env("KSELFTEST_PASS_SH_ARGS", "-a").args(options).done()
    };
    let listed = test(&["--list", "-t", "net/sub:", "--skip", "plain"]).exits(0);
    let names = ["pass.sh", "skip.sh", "gone"].map(|name| format!("net.sub:{name}/given/default  [net.sub]\n"));
    assert_eq!(String::from_utf8_lossy(&listed.stdout), names.concat());
    test(&["--jsonl", "report.jsonl", "--isolate", "none"]).exits(1);
    let report = fs::read_to_string(dir.path().join("report.jsonl")).expect("a report");
    let cells = report.lines().skip(1).map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let found: Vec<String> = cells
        .map(|cell| {
            let field = |key: &str| cell[key].as_str().unwrap_or_default().to_owned();
            format!("{} {} {}", field("test"), field("status"), field("cause")).trim_end().to_owned()
        })
        .collect();
    assert_eq!(
        found,
        [
            "net.sub:pass.sh passed",
            "net.sub:skip.sh skipped SKIP: no device",
            "net.sub:plain failed exited with status 3; expected: status 0",
            "net.sub:gone failed exited with status 127; expected: status 0",
            "timers:part.sh failed 1 of 2 parts failed: b; missing parts: plan: 3 planned, 2 reported",
            "odd:lacks.sh skipped needs CONFIG_NO_SUCH_OPTION",
        ]
    );
    test(&["--init"]).exits(0);
    let manifest = fs::read_to_string(dir.path().join("bootling.toml")).expect("a manifest");
    assert!(manifest.starts_with("name = \"kselftest\"\n\n[[test]]\nname = \"net.sub:pass.sh\"\n"), "{manifest}");
}
