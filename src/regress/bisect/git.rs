//! Bisection over the commits of a repository: `git bisect` searches and logs. Changes of the user in the work tree are
//! never lost.
//!
//! `git bisect` keeps its state per work tree. By default it runs in a temporary work tree inside git's common
//! directory, on the same file system. In a work tree of the user, nothing that would be lost may be present at the
//! start; changes made later are stashed before each checkout, and the tree is restored at the end.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{FlockOperation, flock};

use super::candidate::{Candidate, Next};
use super::error::BisectError;
use crate::format::guest_text::one_line;
use crate::guest::verdict::BisectAnswer;

/// Prefix of temporary work trees, followed by the process ID.
const PREFIX: &str = "bootling-bisect-";
/// Suffix of the file next to a temporary work tree that is locked while the tree is in use.
const LOCK: &str = ".lock";
/// Length of abbreviated commit hashes.
const SHORT: usize = 12;
/// Message of stash entries.
const STASH_MESSAGE: &str = "changed during a bisection";
/// Maximum number of file names in a note.
const MAX_NAMES: usize = 3;
/// Files and directories of git that indicate an unfinished operation.
const UNFINISHED: [&str; 5] = ["MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "rebase-merge", "rebase-apply"];

/// Work tree in which commits are checked out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkTree {
    /// A temporary tree.
    Temporary,
    /// A tree at this path, which is kept so that its build products can be reused.
    At(PathBuf),
    /// The user's tree.
    InPlace,
}

/// Path of a changed file, and its mode and blob as printed by `git diff-tree`: zeros for a deleted file.
type Change = (String, String);

/// A repository in which a bisection runs. The work tree is restored on drop.
#[derive(Debug)]
pub struct Git {
    repository: PathBuf,
    /// Work tree in which commits are checked out.
    pub(crate) tree: PathBuf,
    /// Commit or branch to check out at the end; `None` for a temporary tree.
    earlier_head: Option<String>,
    /// Good end and bad end.
    pub(super) ends: [Candidate; 2],
    /// Output of `git bisect log`.
    pub(super) log: String,
    /// Keeps a temporary tree from being removed by other processes, also in other containers or on other hosts.
    _lock: Option<File>,
    /// Changes that were stashed.
    stashed: BTreeSet<Change>,
    /// Prints a note.
    note: fn(&str),
}

impl Git {
    /// Resolves the ends and prepares the work tree. `note` prints later notes for the user.
    pub fn open(
        repository: &Path,
        good: &str,
        bad: &str,
        work_tree: &WorkTree,
        note: fn(&str),
    ) -> Result<Self, BisectError> {
        let repository = absolute(repository);
        let common = common_dir(&repository)?;
        let commit = |name: &str| -> Result<Candidate, BisectError> {
            let commit = format!("{name}^{{commit}}");
            let args = ["rev-parse", "--verify", "--quiet", "--end-of-options", &commit];
            candidate(&repository, git(&repository, &format!("find commit {name}"), args)?.trim())
        };
        let ends = [commit(good)?, commit(bad)?];
        let add = |tree: &Path| {
            let args = ["worktree", "add", "--quiet", "--detach"].map(OsStr::new);
            let args = args.into_iter().chain([tree.as_os_str(), OsStr::new(&ends[1].id)]);
            git(&repository, "add a work tree", args).map(drop)
        };
        let mut lock = None;
        let (tree, earlier_head) = match work_tree {
            WorkTree::Temporary => {
                remove_stale(&repository, &common);
                let tree = common.join(format!("{PREFIX}{}", std::process::id()));
                lock = Some(acquire(&lock_file(&tree))?);
                add(&tree).inspect_err(|_| remove(&repository, &tree))?;
                (tree, None)
            }
            WorkTree::At(path) => {
                let tree = absolute(path);
                let is_new = !path.join(".git").exists();
                let head = if is_new { add(&tree).map(|()| "HEAD".to_owned()) } else { take_over(&tree, &common) }?;
                (tree, Some(head))
            }
            WorkTree::InPlace => {
                let tree = path(&git(&repository, "find the work tree", ["rev-parse", "--show-toplevel"])?);
                let head = take_over(&tree, &common)?;
                (tree, Some(head))
            }
        };
        let (log, stashed) = <_>::default();
        Ok(Self { repository, tree, earlier_head, ends, log, _lock: lock, stashed, note })
    }

    /// Checks out a commit.
    pub(super) fn check_out(&mut self, candidate: &Candidate) -> Result<(), BisectError> {
        self.revert_changes()?;
        if self.head()? == candidate.id {
            return Ok(());
        }
        let action = format!("check out {}", candidate.title);
        git(&self.tree, &action, ["checkout", "--quiet", "--detach", &candidate.id]).map(drop)
    }

    /// Starts the search, or resumes that of a log file.
    pub(super) fn start(&mut self, log: Option<&Path>) -> Result<Next, BisectError> {
        let [good, bad] = self.ends.clone().map(|end| end.id);
        match log {
            None => self.bisect(&["start", &bad, &good]),
            Some(log) => self.bisect(&[OsStr::new("replay"), absolute(log).as_os_str()]),
        }
    }

    /// Records an answer.
    pub(super) fn record(&mut self, id: &str, answer: BisectAnswer) -> Result<Next, BisectError> {
        self.bisect(&[answer.name(), id])
    }

    /// Runs a command of `git bisect` that selects the next commit.
    fn bisect<S: AsRef<OsStr>>(&mut self, args: &[S]) -> Result<Next, BisectError> {
        self.revert_changes()?;
        let args = [OsStr::new("bisect")].into_iter().chain(args.iter().map(AsRef::as_ref));
        let output = git(&self.tree, "bisect", args);
        let log = git(&self.tree, "read the log of the bisection", ["bisect", "log"]);
        let (output, log) = match (output, log) {
            (Err(error), Err(_)) => return Err(error),
            (output, log) => (output, log?),
        };
        self.log = log;
        let candidate = |hash: &str| candidate(&self.repository, hash);
        match suspects(&self.log)[..] {
            [] => Ok(Next::Test(candidate(&self.head()?)?, steps_left(&output?))),
            // If suspects remain because of skipped commits, the exit status of git is not 0.
            ref hashes => hashes.iter().map(|hash| candidate(hash)).collect::<Result<_, _>>().map(Next::Found),
        }
    }

    fn head(&self) -> Result<String, BisectError> {
        Ok(git(&self.tree, "find the current commit", ["rev-parse", "HEAD"])?.trim().to_owned())
    }

    /// Reverts changes to tracked files, which would prevent the next checkout. In a tree that is kept, the changes may
    /// be the user's, and are stashed first.
    fn revert_changes(&mut self) -> Result<(), BisectError> {
        if self.earlier_head.is_some() {
            self.stash_changes()?;
        }
        git(&self.tree, "revert changes of the build", ["reset", "--quiet", "--hard"]).map(drop)
    }

    /// Stashes changes to tracked files and prints a note; each change once, since a build may repeat it at every
    /// commit.
    fn stash_changes(&mut self) -> Result<(), BisectError> {
        let git = |args: &[&str]| git(&self.tree, "stash changes", args);
        let stash = git(&["stash", "create", STASH_MESSAGE])?;
        let stash = stash.trim();
        let Some(short) = stash.get(..SHORT) else { return Ok(()) };
        // A file may have been changed again after `git add`: the stash contains both (git-stash(1), "Discussion").
        let mut found = BTreeSet::new();
        for side in [stash, &format!("{stash}^2")] {
            found.extend(changes(&git(&["diff-tree", "-r", "-z", "--no-renames", &format!("{stash}^1"), side])?));
        }
        let new: Vec<Change> = found.difference(&self.stashed).cloned().collect();
        if new.is_empty() {
            return Ok(());
        }
        // Without an entry, git would delete it after some time.
        git(&["stash", "store", "--quiet", "--message", STASH_MESSAGE, stash])?;
        let paths: BTreeSet<&str> = new.iter().map(|(path, _)| path.as_str()).collect();
        let shown: Vec<&str> = paths.iter().copied().take(MAX_NAMES).collect();
        let more = paths.len() - shown.len();
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        (self.note)(&format!(
            "reverting files that the build or the user changed meanwhile: {}{more}; `git stash apply {short}` restores \
             the changes",
            one_line(&shown.join(", "))
        ));
        self.stashed.extend(new);
        Ok(())
    }

    /// Restores a tree that is kept, as far as possible: each step is tried, even if an earlier one fails.
    fn restore(&mut self, head: &str) {
        let clean = self.revert_changes();
        let reset = git(&self.tree, "end the bisection", ["bisect", "reset", "HEAD"]);
        let back = git(&self.tree, "check out the earlier commit", ["checkout", "--quiet", head, "--"]);
        if let Some(error) = [clean, reset.map(drop), back.map(drop)].into_iter().find_map(Result::err) {
            let (tree, error) = (self.tree.display(), one_line(&error.to_string()));
            (self.note)(&format!("{tree} was not restored ({error}); run `git bisect reset {head}` in it"));
        }
    }
}

impl Drop for Git {
    fn drop(&mut self) {
        if let Some(head) = self.earlier_head.clone() {
            self.restore(&head);
            return;
        }
        remove(&self.repository, &self.tree);
        if self.tree.exists() {
            (self.note)(&format!("failed to remove {}", self.tree.display()));
        }
    }
}

/// Checks that an existing tree contains nothing that would be lost. Returns its branch or commit.
fn take_over(tree: &Path, common: &Path) -> Result<String, BisectError> {
    let git = |action: &str, args: &[&str]| git(tree, action, args);
    if common_dir(tree)? != common {
        let stderr = format!("{} belongs to another repository", tree.display());
        return Err(BisectError::Git { action: "use the work tree".to_owned(), stderr });
    }
    if git("find a bisection", &["bisect", "log"]).is_ok() {
        return Err(BisectError::BisectInProgress(tree.to_owned()));
    }
    let changes = git("find changes", &["status", "--porcelain", "--untracked-files=no"])?;
    // `git reset --hard` would end an unfinished operation, and its notes would be lost.
    let mut is_unfinished = false;
    for name in UNFINISHED {
        let args = ["rev-parse", "--path-format=absolute", "--git-path", name];
        is_unfinished |= path(&git("find unfinished operations", &args)?).exists();
    }
    if is_unfinished || !changes.is_empty() {
        return Err(BisectError::UncommittedChanges(tree.to_owned()));
    }
    let branch = git("find the branch", &["symbolic-ref", "--quiet", "--short", "HEAD"]);
    let head = branch.or_else(|_| git("find the current commit", &["rev-parse", "HEAD"]))?;
    Ok(head.trim().to_owned())
}

/// Parses the output of `git diff-tree -z`: for each file, a field with modes, blobs and status, and a field with the
/// path.
fn changes(output: &str) -> Vec<Change> {
    let mut fields = output.split('\0');
    let mut found = Vec::new();
    while let (Some(states), Some(path)) = (fields.next(), fields.next()) {
        let states: Vec<&str> = states.split(' ').collect();
        let [_, mode, _, blob, _] = states[..] else { continue };
        found.push((path.to_owned(), format!("{mode} {blob}")));
    }
    found
}

/// Returns the suspects from a complete log (`builtin/bisect.c`), in the order of the history.
fn suspects(log: &str) -> Vec<&str> {
    let rest = |line| str::strip_prefix(line, "# first").or_else(|| str::strip_prefix(line, "# possible first"));
    let commits = log.lines().rev().filter_map(|line| rest(line)?.strip_prefix(" bad commit: [")?.split_once(']'));
    commits.map(|(hash, _)| hash).collect()
}

/// Returns the estimated number of further steps from the output of `git bisect`.
fn steps_left(output: &str) -> u32 {
    // The commit's subject is on another line, and may contain anything.
    let line = output.lines().rev().find_map(|line| line.strip_prefix("Bisecting: "));
    let steps = line.and_then(|line| line.split_once("(roughly ")?.1.split_once(" step")?.0.parse().ok());
    steps.unwrap_or(0)
}

/// Describes a commit.
fn candidate(repository: &Path, hash: &str) -> Result<Candidate, BisectError> {
    let args = ["show", "--no-patch", "--no-show-signature", "--format=%h %s", hash];
    let title = git(repository, &format!("show {hash}"), args)?;
    Ok(Candidate { id: hash.to_owned(), title: one_line(title.trim()) })
}

/// Returns the lock file of a temporary tree.
fn lock_file(tree: &Path) -> PathBuf {
    let mut path = tree.as_os_str().to_owned();
    path.push(LOCK);
    path.into()
}

/// Locks a file for as long as it is open.
fn acquire(path: &Path) -> Result<File, BisectError> {
    let lock = |file| flock(&file, FlockOperation::NonBlockingLockExclusive).map(|()| file).map_err(Into::into);
    File::create(path).and_then(lock).map_err(|source| BisectError::Lock(path.to_owned(), source))
}

/// Removes temporary trees of killed processes. A tree that cannot be removed does no harm.
fn remove_stale(repository: &Path, common: &Path) {
    let Ok(entries) = fs::read_dir(common) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(tree) = name.strip_suffix(LOCK).filter(|tree| tree.starts_with(PREFIX)) else { continue };
        let Ok(_lock) = acquire(&path) else { continue };
        remove(repository, &common.join(tree));
    }
}

/// Removes a temporary tree and its lock file.
fn remove(repository: &Path, tree: &Path) {
    let args = ["worktree", "remove", "--force"].map(OsStr::new).into_iter().chain([tree.as_os_str()]);
    if git(repository, "remove the work tree", args).is_err() {
        // git refuses to remove a damaged work tree.
        let _ = fs::remove_dir_all(tree);
        let _ = git(repository, "prune work trees", ["worktree", "prune"]);
    }
    let _ = fs::remove_file(lock_file(tree));
}

/// Returns the directory that all work trees of a repository share.
fn common_dir(directory: &Path) -> Result<PathBuf, BisectError> {
    let args = ["rev-parse", "--path-format=absolute", "--git-common-dir"];
    git(directory, "find the repository", args).map(|line| path(&line))
}

/// Runs git and returns its standard output. git has its own process group, so that Ctrl-C reaches only bootling.
fn git(directory: &Path, action: &str, args: impl IntoIterator<Item: AsRef<OsStr>>) -> Result<String, BisectError> {
    let mut command = Command::new("git");
    command.arg("-C").arg(directory).args(args).stdin(Stdio::null()).process_group(0);
    // Set in hooks of git; they select another repository.
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX"] {
        command.env_remove(name);
    }
    let output = command.env("LC_ALL", "C").env("GIT_PAGER", "cat").output().map_err(BisectError::NoGit)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let printed = [text(&output.stdout), text(&output.stderr)].concat();
    let stderr = if printed.trim().is_empty() { output.status.to_string() } else { printed.trim().to_owned() };
    Err(BisectError::Git { action: action.to_owned(), stderr })
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Returns a path printed by git.
fn path(line: &str) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(line.strip_suffix('\n').unwrap_or(line).as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::{Git, WorkTree, changes, steps_left, suspects};
    use crate::regress::bisect::{
        BisectAnswer, BisectError, BisectResult, Bisection, CandidateKind, History, Judgment, Log, NotTested,
        SkipPolicy,
    };
    use std::path::Path;
    use std::process::Command;

    #[test]
    fn the_output_of_git_bisect_is_parsed() {
        let more =
            "Bisecting: 12 revisions left to test after this (roughly 4 steps)\n[0123] subject (roughly 9 stepwise)\n";
        assert_eq!(steps_left(more), 4);
        assert_eq!(steps_left("Bisecting: 0 revisions left to test after this (roughly 0 steps)\n"), 0);
        assert_eq!(steps_left("Bisecting: a merge base must be tested\n"), 0);
        let log = "# bad: [aa] x\n# good: [bb] # first bad commit: [cc]\ngit bisect start 'aa' 'bb'\n";
        assert_eq!(suspects(log), [""; 0]);
        assert_eq!(suspects(&format!("{log}# first bad commit: [aa] x [y]\n")), ["aa"]);
        let skipped = "# only skipped commits left to test\n# possible first bad commit: [aa] x\n\
                       # possible first bad commit: [dd] y\n";
        assert_eq!(suspects(&format!("{log}{skipped}")), ["dd", "aa"]);
    }

    #[test]
    fn changed_and_deleted_files_are_parsed() {
        let change = |path: &str, state: &str| (path.to_owned(), state.to_owned());
        let raw = ":100644 100755 1111 2222 M\0a file\0:100644 000000 1111 0000 D\0gone\0";
        assert_eq!(changes(raw), [change("a file", "100755 2222"), change("gone", "000000 0000")]);
        assert_eq!(changes(""), []);
    }

    /// Runs git in `directory`; panics if it fails.
    fn git(directory: &Path, args: &[&str]) -> String {
        let mut command = Command::new("git");
        command.args(["-c", "init.defaultBranch=main", "-c", "user.name=t", "-c", "user.email=t@t"]);
        let output = command.arg("-C").arg(directory).args(args).output().expect("git runs");
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Creates a repository with a commit for each kind of candidate, and a tag for each commit.
    fn repository(kinds: &[CandidateKind]) -> Option<tempfile::TempDir> {
        Command::new("git").arg("--version").output().ok()?;
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path();
        git(path, &["init", "--quiet"]);
        for (key, value) in [("user.name", "t"), ("user.email", "t@t")] {
            git(path, &["config", key, value]);
        }
        for (number, kind) in kinds.iter().enumerate() {
            std::fs::write(path.join("kind"), format!("{number} {}", kind.name())).expect("written");
            std::fs::write(path.join("tracked"), "as committed\n").expect("written");
            git(path, &["add", "--all"]);
            git(path, &["commit", "--quiet", "--message", &format!("change {number}")]);
            git(path, &["tag", &format!("c{number}")]);
        }
        Some(directory)
    }

    /// Bisects from the first commit to the last one. The test reads `kind`, changes `tracked`, and is interrupted
    /// after `stop` commits.
    fn bisect(
        repository: &Path,
        kinds: &[CandidateKind],
        work_tree: &WorkTree,
        log: (&Path, bool),
        stop: Option<usize>,
    ) -> Result<BisectResult, BisectError> {
        let log = Log::open(log.0, log.1, Vec::new())?;
        let [good, bad] = log.ends.clone().unwrap_or(["c0".to_owned(), format!("c{}", kinds.len() - 1)]);
        let history = History::Git(Git::open(repository, &good, &bad, work_tree, |_| {})?);
        let tree = history.tree().expect("a tree").to_owned();
        let mut left = stop;
        let bisection = Bisection {
            history,
            policy: SkipPolicy { no_boot: None, flaky: BisectAnswer::Bad },
            tests_ends: true,
            log,
            test: &mut |_, _| {
                if left == Some(0) {
                    return Err(NotTested::Interrupted(2));
                }
                left = left.map(|left| left - 1);
                let text = std::fs::read_to_string(tree.join("kind")).expect("a kind");
                let (number, _) = text.split_once(' ').expect("a number");
                std::fs::write(tree.join("tracked"), "changed by the build\n").expect("written");
                Ok(Judgment { kind: kinds[number.parse::<usize>().expect("a number")], reason: number.to_owned() })
            },
            progress: &mut |_| {},
        };
        bisection.run()
    }

    fn assert_is_restored(repository: &Path, trees: usize) {
        assert_eq!(git(repository, &["worktree", "list"]).lines().count(), trees);
        assert_eq!(git(repository, &["status", "--porcelain", "--untracked-files=no"]), "");
        assert_eq!(git(repository, &["symbolic-ref", "--short", "HEAD"]), "main");
        let refs = git(repository, &["for-each-ref", "refs/bisect"]);
        assert_eq!(refs, "");
    }

    #[test]
    fn git_finds_the_commit_in_every_kind_of_work_tree_and_the_repository_is_restored() {
        use CandidateKind::{Bad, Good, Untestable};
        let kinds = [Good, Good, Untestable, Good, Good, Good, Bad, Bad, Untestable, Bad];
        let Some(repository) = repository(&kinds) else { return };
        let (path, scratch) = (repository.path(), tempfile::tempdir().expect("a directory"));
        let kept = WorkTree::At(scratch.path().join("tree"));
        for (number, tree) in [&WorkTree::Temporary, &WorkTree::InPlace, &kept, &kept].into_iter().enumerate() {
            let log = scratch.path().join(format!("{number}.log"));
            let result = bisect(path, &kinds, tree, (&log, false), None).expect("found");
            let first_bad = result.first_bad.expect("found");
            assert_eq!(first_bad.id, git(path, &["rev-parse", "c6"]));
            assert!(first_bad.title.ends_with(" change 6"), "{first_bad:?}");
            assert_is_restored(path, if number < 2 { 1 } else { 2 });
        }
        // Equal changes made in the same second are one stash entry.
        assert!(git(path, &["stash", "list"]).lines().all(|line| line.ends_with(": changed during a bisection")));
        assert_eq!(git(path, &["show", "stash:tracked"]), "changed by the build");
    }

    #[test]
    fn all_suspects_are_reported_in_order_if_the_commits_between_them_are_skipped() {
        use CandidateKind::{Bad, Good, Untestable};
        let kinds = [Good, Untestable, Untestable, Bad];
        let Some(repository) = repository(&kinds) else { return };
        let scratch = tempfile::tempdir().expect("a directory");
        let log = scratch.path().join("log");
        let result = bisect(repository.path(), &kinds, &WorkTree::Temporary, (&log, false), None).expect("suspects");
        let suspects: Vec<String> = result.suspects.into_iter().map(|suspect| suspect.id).collect();
        assert_eq!(suspects, ["c1", "c2", "c3"].map(|tag| git(repository.path(), &["rev-parse", tag])));
        assert_is_restored(repository.path(), 1);
    }

    #[test]
    fn an_interrupted_bisection_resumes_from_its_log_and_git_replays_it() {
        use CandidateKind::{Bad, Good, NotBooted};
        let kinds: Vec<_> =
            (0..20).map(|n| [Good, NotBooted, Bad][usize::from(n == 9) + usize::from(n > 12) * 2]).collect();
        let Some(repository) = repository(&kinds) else { return };
        let (path, scratch) = (repository.path(), tempfile::tempdir().expect("a directory"));
        let run = |log: &str, resume, stop| {
            let log = scratch.path().join(log);
            let result = bisect(path, &kinds, &WorkTree::Temporary, (&log, resume), stop);
            (result, std::fs::read_to_string(log).expect("a log"))
        };
        let (whole, whole_log) = run("whole", false, None);
        let (stopped, log) = run("stopped", false, Some(4));
        assert!(matches!(stopped, Err(BisectError::Interrupted { is_logged: true, .. })), "{stopped:?}");
        assert!(!log.contains("first bad"), "{log}");
        assert_is_restored(path, 1);
        let (resumed, log) = run("stopped", true, None);
        assert_eq!((resumed.expect("found"), log), (whole.expect("found"), whole_log));
        let replayed = git(path, &["bisect", "replay", scratch.path().join("whole").to_str().expect("UTF-8")]);
        assert!(
            replayed.contains(&format!("{} is the first bad commit", git(path, &["rev-parse", "c13"]))),
            "{replayed}"
        );
    }

    #[test]
    fn a_tree_with_changes_or_a_bisection_is_not_used() {
        let kinds = [CandidateKind::Good, CandidateKind::Bad];
        let Some(repository) = repository(&kinds) else { return };
        let path = repository.path();
        let open = || Git::open(path, "c0", "c1", &WorkTree::InPlace, |_| {}).map(drop);
        std::fs::write(path.join("tracked"), "work\n").expect("written");
        assert!(matches!(open(), Err(BisectError::UncommittedChanges(_))));
        assert_eq!(std::fs::read_to_string(path.join("tracked")).expect("a file"), "work\n");
        git(path, &["reset", "--quiet", "--hard"]);
        std::fs::write(path.join(".git/MERGE_HEAD"), git(path, &["rev-parse", "c0"]) + "\n").expect("written");
        assert!(matches!(open(), Err(BisectError::UncommittedChanges(_))));
        std::fs::remove_file(path.join(".git/MERGE_HEAD")).expect("removed");
        git(path, &["bisect", "start"]);
        assert!(matches!(open(), Err(BisectError::BisectInProgress(_))));
        git(path, &["bisect", "reset"]);
        open().expect("clean");
        let error = Git::open(path, "c0", "nothing", &WorkTree::Temporary, |_| {}).expect_err("no such commit");
        assert!(error.to_string().starts_with("git failed to find commit nothing: "), "{error}");
        assert_is_restored(path, 1);
    }
}
