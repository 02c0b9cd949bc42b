//! Reports as other people's programs read them: Perl's `prove` on TAP and KTAP, Python's readers of XML and YAML.

#[path = "support/skip.rs"]
mod skip;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A report with a cell of each kind, and text of a guest that tries to be something else: what the unit tests expect.
fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/suite/report/golden").join(name)
}

/// The system's own: others on PATH may lack its libraries.
const PYTHON: &str = "/usr/bin/python3";

/// What `prove` says of a file.
fn prove(path: &Path) -> String {
    let output = Command::new("prove").args(["--exec", "cat"]).arg(path).output().expect("prove is here");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn prove_finds_the_cells_that_are_not_good_and_no_mistake_of_form() {
    if !skip::tools("prove_finds_the_cells_that_are_not_good_and_no_mistake_of_form", &["prove"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let tap = dir.path().join("report.tap");
    // Perl of 2022 knows versions up to 13, whose lines are the same.
    let text = fs::read_to_string(golden("sample.tap")).expect("a golden file");
    fs::write(&tap, text.replacen("TAP version 14", "TAP version 13", 1)).expect("a file");
    for path in [tap, golden("sample.ktap")] {
        let said = prove(&path);
        assert!(said.contains("Failed tests:  3-5"), "{}: {said}", path.display());
        assert!(said.contains("Tests: 8 Failed: 3") && !said.contains("Parse errors"), "{said}");
        assert!(said.contains("(less 2 skipped subtests: 3 okay)"), "{said}");
    }
}

/// Runs a Python program on a file; what it prints.
fn python(program: &str, path: &Path) -> String {
    let mut child = Command::new(PYTHON)
        .arg("-")
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is here");
    child.stdin.take().expect("piped").write_all(program.as_bytes()).expect("it reads its program");
    let output = child.wait_with_output().expect("our child");
    assert!(output.status.success(), "{program}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn python_reads_the_xml() {
    if !skip::tools("python_reads_the_xml", &[PYTHON]) {
        return;
    }
    let program = "import sys, xml.etree.ElementTree as tree\n\
        root = tree.parse(sys.argv[1]).getroot()\n\
        print(root.get('tests'), root.get('failures'), root.get('errors'), root.get('skipped'))\n\
        for case in root.iter('testcase'): print(case.get('classname'), case.get('name'), [e.tag for e in case])\n";
    let told = python(program, &golden("sample.xml"));
    let expected = "14 3 2 5\n\
        smoke.6_1.q35 boot ['system-out']\n\
        smoke.6_1.q35 net ['flakyFailure', 'system-out']\n\
        smoke.6_1.q35 kselftest ['failure', 'rerunFailure', 'system-out']\n";
    assert!(told.starts_with(expected), "{told}");
    assert!(told.contains("smoke.6_1.q35.kselftest suite > bad #2 ['failure']\n"), "{told}");
    assert!(told.contains("smoke.6_1.q35 hardware ['skipped', 'system-out']\n"), "{told}");
    assert!(told.contains("smoke.6_1.q35 driver ['skipped'"), "{told}");
}

#[test]
fn python_reads_the_job_files() {
    if !skip::tools("python_reads_the_job_files", &[PYTHON, "/usr/lib/python3/dist-packages/yaml/__init__.py"]) {
        return;
    }
    let golden = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("src/suite/golden").join(name);
    let load = "import sys, yaml\nd = yaml.safe_load(open(sys.argv[1]))\n";
    let github =
        python(&format!("{load}print(d['name'], d['jobs']['shard']['strategy']['matrix'])\n"), &golden("github.yml"));
    assert_eq!(github, "smoke: \"all\" @COMMAND@ {'shard': [1, 2, 3, 4]}\n");
    let gitlab = python(&format!("{load}print(sorted(d), d['kernel-tests']['parallel'])\n"), &golden("gitlab.yml"));
    assert_eq!(gitlab, "['kernel-report', 'kernel-tests'] 4\n");
    let job = python(&format!("{load}print(d['kind'], d['spec']['completions'])\n"), &golden("kubernetes.yml"));
    assert_eq!(job, "Job 4\n");
}

#[test]
fn the_shell_reads_the_script_for_slurm() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/suite/golden/slurm.sh");
    let status = Command::new("sh").arg("-n").arg(script).status().expect("a shell");
    assert!(status.success());
}
