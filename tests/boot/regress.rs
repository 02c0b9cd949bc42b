//! `bootling bisect` with real git, real guests and a known history.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::program::scratch;
use crate::support::{Done, Kernel, Program, skip};

/// Behavior of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    Pass,
    Fail,
    /// The build fails.
    NotBuild,
    /// The build produces a file that is not a kernel.
    Garbage,
    /// The kernel crashes immediately.
    NotBoot,
    /// Every other run fails: the runs with less memory.
    Flaky,
}

/// Build command: a fast stand-in for a kernel build.
const BUILD: &str = "set -e; . ./does; rm -f bzImage; echo building $WHAT >&2
case $WHAT in
not-build) echo 'main.c:1: error: nonsense' >&2; exit 2;;
garbage) echo garbage >bzImage;;
not-boot) cp $BROKEN bzImage;;
*) cp $IMAGE bzImage;;
esac
echo changed by the build >>tracked; echo $WHAT >what";

/// A kernel that QEMU starts and that crashes at its first instruction: no handler exists for the exception.
const BROKEN: &str = ".section .note.Xen, \"a\", @note; .long 4, 4, 18; .asciz \"Xen\"; .long start
.text; .code32; .globl start; start: ud2
";

impl Does {
    const fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::NotBuild => "not-build",
            Self::Garbage => "garbage",
            Self::NotBoot => "not-boot",
            Self::Flaky => "flaky",
        }
    }
}

fn git(dir: &Path, words: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args(["-c", "init.defaultBranch=main", "-c", "user.name=t", "-c", "user.email=t@t"]);
    command.args(words).current_dir(dir).env("GIT_CONFIG_GLOBAL", "/dev/null").env("LC_ALL", "C");
    let output = command.output().expect("git runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {text}");
    text.trim().to_owned()
}

/// Creates a repository with that history and a tag for each commit.
fn repository(history: &[Does]) -> tempfile::TempDir {
    let dir = scratch();
    git(dir.path(), &["init", "--quiet"]);
    std::fs::write(dir.path().join(".gitignore"), "bzImage\nwhat\n").expect("written");
    std::fs::write(dir.path().join("tracked"), "as committed\n").expect("written");
    for (number, does) in history.iter().enumerate() {
        let text = format!("WHAT={} # {number}\n", does.word());
        std::fs::write(dir.path().join("does"), text).expect("written");
        git(dir.path(), &["add", "--all"]);
        git(dir.path(), &["commit", "--quiet", "--message", &format!("change {number}: {}", does.word())]);
        git(dir.path(), &["tag", &format!("c{number}")]);
    }
    dir
}

/// Test command: passes or fails depending on a file from the build.
const TEST: &str = "case $(cat /what) in pass) exit 0;; fail) exit 1;; esac
test $(sed -n 's/MemTotal: *\\([0-9]*\\).*/\\1/p' /proc/meminfo) -gt 900000";

/// A QEMU wrapper that gives every other guest less memory.
const QEMU: &str = "#!/bin/sh
case \"$*\" in *-kernel*) ;; *) exec qemu-system-x86_64 \"$@\";; esac
echo x >>COUNT
[ $(($(wc -l <COUNT) % 2)) = 0 ] && set -- \"$@\" -m 800M
exec qemu-system-x86_64 \"$@\"
";

/// Returns `bootling bisect` in that repository, from the first commit to the last.
fn bisect(test: &str, repo: &Path, last: usize) -> Option<Program> {
    Kernel::Cloud612.or_skip(test)?;
    if !skip::tools(test, &["git"]) {
        return None;
    }
    let program = Program::new().env("IMAGE", Kernel::Cloud612.image()).current_dir(repo);
    let program = program.env("GIT_CONFIG_GLOBAL", "/dev/null");
    Some(program.args(["bisect", "--good", "c0", "--bad", &format!("c{last}"), "--build", BUILD]))
}

/// Adds the test command, and a log outside of the repository.
fn rest(program: Program, dir: &Path) -> Program {
    let log = dir.join("the.log");
    program.arg("--log").arg(log).args(["--kernel", "bzImage", "--copy", "{tree}/what=/what", "--run", TEST])
}

fn assert_unchanged(repo: &Path, last: usize) {
    assert_eq!(git(repo, &["worktree", "list"]).lines().count(), 1);
    assert_eq!(git(repo, &["status", "--porcelain"]), "");
    assert_eq!(git(repo, &["rev-parse", "HEAD"]), git(repo, &["rev-parse", &format!("c{last}")]));
    assert_eq!(std::fs::read_to_string(repo.join("tracked")).expect("a file"), "as committed\n");
}

fn verdict(done: &Done) -> Value {
    let json = done.text();
    let start = json.find('{').expect("JSON");
    serde_json::from_str(&json[start..]).unwrap_or_else(|error| panic!("{error}: {json}"))
}

#[test]
fn the_first_bad_commit_is_found_despite_build_failures_and_the_users_tree_is_unchanged() {
    use Does::{Fail, Garbage, NotBuild, Pass};
    let history = [
        Pass, Pass, NotBuild, Pass, Pass, Pass, Pass, Garbage, Pass, Pass, NotBuild, Pass, Pass, Fail, Fail, Fail,
        Fail, NotBuild, Fail, Fail,
    ];
    let (dir, repo, last) = (scratch(), repository(&history), history.len() - 1);
    let test = "the_first_bad_commit_is_found";
    let Some(program) = bisect(test, repo.path(), last) else { return };
    let done = rest(program.args(["--json", "-"]), dir.path()).done().exits(0);
    let found = verdict(&done);
    assert_eq!(found["first_bad"]["id"], git(repo.path(), &["rev-parse", "c13"]), "{}", done.stderr);
    assert!(done.stderr.contains("change 13: fail") && done.stderr.contains("checking the bad end"), "{}", done.stderr);
    assert_unchanged(repo.path(), last);
    // git finds the same commit from the log.
    let log = dir.path().join("the.log");
    let said = git(repo.path(), &["bisect", "replay", log.to_str().expect("UTF-8")]);
    assert!(said.contains(&format!("{} is the first bad commit", git(repo.path(), &["rev-parse", "c13"]))), "{said}");
    git(repo.path(), &["bisect", "reset"]);
}

#[test]
fn untestable_commits_are_suspects_and_wrong_ends_stop_the_bisection() {
    use Does::{Fail, Garbage, NotBuild, Pass};
    let history = [Pass, NotBuild, Garbage, Fail];
    let (dir, repo) = (scratch(), repository(&history));
    let test = "untestable_commits_are_suspects";
    let Some(program) = bisect(test, repo.path(), 3) else { return };
    let done = rest(program.arg("--in-place"), dir.path()).done().exits(1);
    let done = done.says("error: nonsense").says("not built, skipped: exit 2");
    assert_unchanged(repo.path(), 3);
    // Changes in the user's tree may be the user's work: they are reported once and not lost.
    let told: Vec<&str> = done.stderr.split("changed meanwhile: tracked; `git stash apply ").skip(1).collect();
    let [kept] = told[..] else { panic!("{}", done.stderr) };
    git(repo.path(), &["stash", "apply", kept.split('`').next().expect("a commit")]);
    let changed = std::fs::read_to_string(repo.path().join("tracked")).expect("a file");
    assert_eq!(changed, "as committed\nchanged by the build\n");
    git(repo.path(), &["reset", "--quiet", "--hard"]);
    let program = bisect(test, repo.path(), 1).expect("kernel found before");
    let done = rest(program, dir.path()).done().exits(125);
    done.says("change 1").says("is expected to be bad, but is not built");
    // A failure to restore the repository is reported, and nothing in it is lost.
    let locks = "echo work >>tracked; touch .git/index.lock; exit 1";
    let program = Program::new().current_dir(repo.path()).env("GIT_CONFIG_GLOBAL", "/dev/null");
    let program = program.args(["bisect", "--in-place", "--good", "c0", "--bad", "c3", "--build", locks]);
    rest(program, dir.path()).done().exits(125).says("was not restored (").says("run `git bisect reset main` in it");
    std::fs::remove_file(repo.path().join(".git/index.lock")).expect("the lock");
    assert_eq!(std::fs::read_to_string(repo.path().join("tracked")).expect("a file"), "as committed\nwork\n");
    git(repo.path(), &["reset", "--quiet", "--hard"]);
    git(repo.path(), &["bisect", "reset", "main"]);
    assert_unchanged(repo.path(), 3);
    let program = bisect(test, repo.path(), 3).expect("kernel found before").env("IMAGE", "/nothing/there");
    rest(program, dir.path()).done().exits(125).says("wrong end");
    std::fs::write(repo.path().join("tracked"), "the user's work\n").expect("written");
    let program = bisect(test, repo.path(), 3).expect("kernel found before");
    rest(program.arg("--in-place"), dir.path()).done().exits(125).says("would be lost");
    assert_eq!(std::fs::read_to_string(repo.path().join("tracked")).expect("a file"), "the user's work\n");
}

/// Returns `bootling bisect` in the user's tree with a build that always fails, so that no guest boots.
fn without_guests(repo: &Path, dir: &Path, last: usize, build: &str, options: &[&str]) -> Program {
    let program = Program::new().current_dir(repo).env("GIT_CONFIG_GLOBAL", "/dev/null");
    let program = program.args(["bisect", "--in-place", "--no-check", "--good", "c0", "--bad", &format!("c{last}")]);
    rest(program.args(["--build", build]).args(options), dir)
}

#[test]
fn changes_in_the_users_tree_are_stashed_and_reported_once_each() {
    if !skip::tools("changes_in_the_users_tree_are_stashed", &["git"]) {
        return;
    }
    let (dir, repo) = (scratch(), repository(&[Does::NotBuild; 7]));
    // Two builds change the tree in the same way. The builds between them edit the same file, delete it, and stage an
    // edit that the work tree no longer has.
    let build = "case $(cat does) in
*2) echo mine >>tracked;;
*3) rm tracked;;
*4) echo staged >tracked; git add tracked; git show HEAD:tracked >tracked;;
*) echo by the build >>tracked;;
esac; exit 1";
    let done = without_guests(repo.path(), dir.path(), 6, build, &[]).done().exits(1);
    let told: Vec<&str> = done.stderr.split("changed meanwhile: tracked; `git stash apply ").skip(1).collect();
    assert_eq!(told.len(), 4, "{}", done.stderr);
    assert_unchanged(repo.path(), 6);
    git(repo.path(), &["gc", "--quiet", "--prune=now"]);
    let stash = git(repo.path(), &["stash", "list", "--format=%H %gs"]);
    assert_eq!(stash.lines().count(), 4, "{stash}");
    assert!(stash.lines().all(|line| line.ends_with(" changed during a bisection")), "{stash}");
    let mut kept: Vec<String> = Vec::new();
    for hash in told.iter().map(|told| told.split('`').next().expect("a commit")) {
        assert!(stash.contains(hash), "{hash}: {stash}");
        let show =
            |side: &str| Command::new("git").args(["show", side]).current_dir(repo.path()).output().expect("git");
        let [tree, index] = ["", "^2"].map(|side| show(&format!("{hash}{side}:tracked")).stdout);
        kept.push(format!("{}|{}", String::from_utf8_lossy(&tree), String::from_utf8_lossy(&index)));
    }
    kept.sort();
    let own = "as committed\n";
    let all = [
        format!("as committed\nby the build\n|{own}"),
        format!("as committed\nmine\n|{own}"),
        format!("{own}|staged\n"),
        format!("|{own}"),
    ];
    let mut all = all.to_vec();
    all.sort();
    assert_eq!(kept, all);
}

#[test]
fn a_signal_ends_a_bisection_also_during_the_cleanup_of_a_timed_out_build() {
    if !skip::tools("a_signal_ends_a_bisection", &["git"]) {
        return;
    }
    let (dir, repo) = (scratch(), repository(&[Does::NotBuild; 4]));
    let build = "trap 'kill -INT $PPID; sleep 100' INT; sleep 1000 & wait";
    let done = without_guests(repo.path(), dir.path(), 3, build, &["--build-timeout", "2"]).done().exits(130);
    assert!(!done.stderr.contains("not built"), "{}", done.stderr);
    assert_unchanged(repo.path(), 3);
}

#[test]
fn packages_are_bisected_in_version_order() {
    let test = "packages_are_bisected_in_version_order";
    let (Some(old), Some(new)) = (Kernel::Generic61.or_skip(test), Kernel::Cloud612.or_skip(test)) else { return };
    let dir = scratch();
    // The same kernels under other versions, as in the pool of a mirror.
    let link = |from: &Path, version: &str| {
        let path = dir.path().join(format!("linux-image-x_{version}_amd64.deb"));
        std::os::unix::fs::symlink(from, &path).expect("a link");
        path
    };
    let all = [link(&new, "6.12.20-1"), link(&old, "6.1.9-1"), link(&old, "6.1.10-1"), link(&new, "6.12.3-1")];
    let log = dir.path().join("the.log");
    let command = "case $(uname -r) in 6.1.*) exit 0;; *) exit 1;; esac";
    let run = |options: &[&str], files: &[std::path::PathBuf]| {
        let program = Program::new().arg("bisect").args(options).arg("--log").arg(&log).arg("--kernels").args(files);
        program.args(["--run", command]).done()
    };
    let done = run(&[], &all).exits(0);
    assert!(done.text().contains("linux-image-x_6.12.3-1_amd64.deb is the first bad one"), "{}", done.text());
    let written = std::fs::read_to_string(&log).expect("a log");
    assert!(written.contains("bootling bisect good '") && written.contains("# bootling: done"), "{written}");
    // The good end is newer than the bad one.
    run(&["--good", "6.12.20-1", "--bad", "6.1.9-1"], &all).exits(125).says("is newer than");
}

#[test]
fn an_interrupted_bisection_cleans_up_and_resumes_from_its_log() {
    let history: Vec<Does> = (0..20).map(|number| if number < 17 { Does::Pass } else { Does::Fail }).collect();
    let (dir, repo) = (scratch(), repository(&history));
    let test = "an_interrupted_bisection_cleans_up";
    if bisect(test, repo.path(), 19).is_none() {
        return;
    }
    // Before the ends are tested, there is nothing to resume.
    let program = Program::new().env("IMAGE", Kernel::Cloud612.image()).current_dir(repo.path());
    let program = program.args(["bisect", "--good", "c0", "--bad", "c19", "--build", "kill -INT $PPID; sleep 100"]);
    let done = rest(program, dir.path()).done().exits(130).says("no log to resume");
    assert!(!done.stderr.contains("--resume") && !dir.path().join("the.log").exists(), "{}", done.stderr);
    // The build of the second step interrupts bootling, like Ctrl-C, and continues for a while.
    let flag = dir.path().join("builds");
    let build =
        format!("echo x >>{0}; if [ $(wc -l <{0}) = 4 ]; then kill -INT $PPID; sleep 100; fi; {BUILD}", flag.display());
    let program = Program::new()
        .env("IMAGE", Kernel::Cloud612.image())
        .current_dir(repo.path())
        .args(["bisect", "--good", "c0", "--bad", "c19", "--build", &build]);
    let done = rest(program, dir.path()).done().exits(130);
    done.says("--resume");
    assert_unchanged(repo.path(), 19);
    let log = dir.path().join("the.log");
    let program = bisect(test, repo.path(), 19).expect("kernel found before");
    rest(program, dir.path()).done().exits(125).says("unfinished bisection");
    assert!(!std::fs::read_to_string(&log).expect("a log").contains("first bad"));
    Program::new().args(["bisect", "--resume", "--good", "c0", "--", "true"]).done().exits(2).says("--resume");
    let program = Program::new().env("IMAGE", Kernel::Cloud612.image()).current_dir(repo.path());
    let done = rest(program.args(["bisect", "--resume", "--json", "-", "--build", BUILD]), dir.path()).done().exits(0);
    assert!(done.text().contains("change 17: fail"), "{}", done.text());
    // The report contains the earlier steps, including both ends and the first step.
    let steps = verdict(&done)["steps"].as_array().expect("steps").len();
    let log = std::fs::read_to_string(&log).expect("a log");
    assert_eq!(log.lines().filter(|line| line.contains(" (built in ")).count(), steps, "{log}");
    assert!(steps > 3 && !log.contains("as before"), "{log}");
    assert!(!done.stderr.contains("checking the bad end"), "{}", done.stderr);
    assert_unchanged(repo.path(), 19);
}

#[test]
fn commits_that_do_not_boot_are_skipped_and_intermittent_failures_are_flaky() {
    use Does::{Fail, Flaky, NotBoot, Pass};
    let test = "commits_that_do_not_boot_are_skipped";
    let history = [Pass, NotBoot, Pass, Flaky, Fail];
    let (dir, repo) = (scratch(), repository(&history));
    let Some(program) = bisect(test, repo.path(), 4) else { return };
    if !skip::tools(test, &["as", "ld"]) {
        return;
    }
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("broken.s"), BROKEN).expect("written");
    let run = |words: &[&str]| {
        let status = Command::new(words[0]).args(&words[1..]).current_dir(dir.path()).status().expect("tool runs");
        assert!(status.success(), "{words:?}");
    };
    run(&["as", "--64", "-o", "broken.o", "broken.s"]);
    run(&["ld", "-Ttext=0x1000000", "-e", "start", "-o", "broken", "broken.o"]);
    let qemu = at("qemu");
    std::fs::write(&qemu, QEMU.replace("COUNT", at("count").to_str().expect("UTF-8"))).expect("written");
    run(&["chmod", "+x", "qemu"]);
    let program = program.env("BROKEN", at("broken")).args(["--tries", "2", "--json", "-", "--qemu"]).arg(qemu);
    let done = rest(program, dir.path()).done().exits(0);
    let found = verdict(&done);
    assert_eq!(found["first_bad"]["id"], git(repo.path(), &["rev-parse", "c3"]), "{}", done.stderr);
    let steps = found["steps"].as_array().expect("steps");
    let kind = |number: usize| {
        let id = git(repo.path(), &["rev-parse", &format!("c{number}")]);
        steps.iter().find(|step| step["id"] == id.as_str()).map(|step| format!("{} {}", step["kind"], step["answer"]))
    };
    assert_eq!(kind(3).as_deref(), Some("\"flaky\" \"bad\""), "{found}");
    assert_eq!(kind(4).as_deref(), Some("\"bad\" \"bad\""), "{found}");
    // Of the two remaining commits, git may have tried only the bootable one, or both.
    assert!(matches!(kind(1).as_deref(), None | Some("\"not booting\" \"skip\"")), "{found}");
    // If the bad end does not boot, the bisection looks for the first commit that does not boot.
    let program = bisect(test, repo.path(), 1).expect("kernel found before").env("BROKEN", at("broken"));
    let done = rest(program, dir.path()).done().exits(0);
    assert!(done.text().contains("change 1: not-boot"), "{}", done.text());
    done.says("not booting, treated as bad: ");
}
