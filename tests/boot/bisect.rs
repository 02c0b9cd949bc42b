//! `git bisect run bootling run --bisect` on a repository with a known history.

use std::path::Path;
use std::process::Command;

use crate::support::program::{build_dir, scratch};
use crate::support::{Kernel, Program, skip};

/// Test script of each commit: good, not testable (`None`), good, bad.
const HISTORY: [Option<&str>; 8] = [
    Some("exit 0"),
    Some("exit 0 # again"),
    None,
    Some("exit 0 # still"),
    // A status that `git bisect run` treats as "skip".
    Some("exit 125"),
    // The kernel panics: bootling's exit code for that would stop git.
    Some("echo c >/proc/sysrq-trigger"),
    Some("kill -11 $$"),
    Some("exit 1"),
];
/// Number of the first bad commit.
const CULPRIT: usize = 5;

/// Runs git without the user's configuration.
fn git(dir: &Path, words: &[&str]) -> std::process::Output {
    let mut command = Command::new("timeout");
    command.arg("300").arg("git").args(["-c", "init.defaultBranch=main", "-c", "user.name=t", "-c", "user.email=t@t"]);
    command.args(words).current_dir(dir).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    command.env("BOOTLING_CACHE_DIR", build_dir().join("test-cache")).env("LC_ALL", "C");
    command.output().expect("timeout runs")
}

#[track_caller]
fn git_output(dir: &Path, words: &[&str]) -> String {
    let output = git(dir, words);
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {}\n{text}", output.status);
    text
}

/// Creates a repository with that history and a tag for each commit, and starts a bisection.
fn repository() -> tempfile::TempDir {
    let dir = scratch();
    git_output(dir.path(), &["init", "--quiet"]);
    let test = dir.path().join("test");
    for (number, line) in HISTORY.iter().enumerate() {
        match line {
            Some(line) => std::fs::write(&test, format!("{line}\n")).expect("written"),
            None => std::fs::remove_file(&test).expect("removed"),
        }
        git_output(dir.path(), &["add", "--all"]);
        git_output(dir.path(), &["commit", "--quiet", "--message", &format!("change {number}")]);
        git_output(dir.path(), &["tag", &format!("c{number}")]);
    }
    git_output(dir.path(), &["bisect", "start", "c7", "c0"]);
    dir
}

#[test]
fn git_finds_the_commit_that_panics_and_skips_untestable_commits() {
    let test = "git_finds_the_commit_that_panics_and_skips_untestable_commits";
    let Some(package) = Kernel::Cloud612.or_skip(test) else { return };
    if !skip::tools(test, &["git"]) {
        return;
    }
    let dir = repository();
    let package = package.to_str().expect("UTF-8 name");
    let run = ["bisect", "run", env!("CARGO_BIN_EXE_bootling"), "run", "--bisect", "--kernel", package];
    let rest = ["--copy", "./test=/test", "--", "sh", "/test"];
    let output = git(dir.path(), &[&run[..], &rest[..]].concat());
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let log = git_output(dir.path(), &["bisect", "log"]);
    // The commit before the culprit cannot be tested: git reports both commits, or only the culprit.
    let suspect = |number: usize| git_output(dir.path(), &["rev-parse", &format!("c{number}")]).trim().to_owned();
    let culprit = suspect(CULPRIT);
    assert!(said.contains(&culprit), "{said}");
    assert!(log.contains(&format!("# bad: [{culprit}]")), "{log}");
    assert!(log.contains(&format!("# skip: [{}]", suspect(CULPRIT - 1))), "{log}");
    assert!(log.contains(&format!("# good: [{}]", suspect(CULPRIT - 2))), "{log}");
    assert!(said.contains("bisecting: bad") && said.contains("bisecting: skip"), "{said}");
}

#[test]
fn a_usage_error_stops_git_and_a_missing_program_does_not() {
    Program::new().args(["run", "--bisect", "--memory", "much", "--", "true"]).done().exits(128);
    let test = "a_usage_error_stops_git_and_a_missing_program_does_not";
    let Some(program) = Program::run(Kernel::Cloud612, test) else { return };
    let (done, verdict) = program.arg("--bisect").json(["--", "./no-such-program"]);
    done.exits(125).says("bisecting: skip");
    assert_eq!(verdict["exit_code"], 125, "{verdict}");
    let Some(program) = Program::run(Kernel::Cloud612, test) else { return };
    let (done, verdict) = program.arg("--bisect").json(["--", "sh", "-c", "exit 200"]);
    done.exits(1).says("bisecting: bad");
    assert_eq!(verdict["status"], 200, "{verdict}");
    assert_eq!(verdict["exit_code"], 1, "{verdict}");
}
