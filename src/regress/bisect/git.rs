//! Bisection over the commits of a repository: git does it, in a working tree of its own.
//!
//! The user's tree stays as it is: `git bisect` keeps what it knows for each working tree apart, and a new one is made for
//! it beside git's own files, on the same file system. Where that is not wanted the user's tree is used, if nothing in it
//! would be lost. What is changed in it meanwhile is taken back before each commit, and put onto the stash.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{FlockOperation, flock};

use super::{Answer, BisectError, Candidate, History, Next};
use crate::guest::plain::blanked;

/// What working trees of ours are called; the number of the process that uses it follows.
const NAME: &str = "bootling-bisect-";
/// Digits of a commit that are shown.
const SHORT: usize = 12;
/// What ends the name of the file beside a tree that is locked as long as somebody uses it.
const LOCK: &str = ".lock";

/// What the stash calls what was changed.
const STASHED: &str = "changed during a bisection";
/// Names of files that are told at once.
const SHOWN: usize = 3;

/// Where commits are checked out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a tree that is gone afterwards.
    Temporary,
    /// In a tree at this path, which stays: what was built in it need not be built again.
    At(PathBuf),
    /// In the user's own.
    InPlace,
}

/// What became of a file that git knows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Change {
    path: String,
    /// Its mode and its blob now, zeroes where it is gone, as `git diff-tree` prints them.
    now: String,
}

/// A repository that is being bisected. Put in order again when dropped.
#[derive(Debug)]
pub struct Git {
    repository: PathBuf,
    tree: PathBuf,
    place: Place,
    /// What the user's tree had checked out.
    before: Option<String>,
    ends: [Candidate; 2],
    /// What git said to the last answer.
    said: String,
    /// Says that the tree is in use, to processes in other containers and on other hosts, too.
    lock: Option<File>,
    /// Whether the tree is ours to put in order: not before it is known that nothing in it would be lost.
    is_ours: bool,
    /// What was found changed, told of and put onto the stash.
    changed: BTreeSet<Change>,
    /// Tells people.
    tell: fn(&str),
}

impl Git {
    /// Looks up the ends and makes the tree. `tell` hears what people should know of it later on.
    pub fn open(repository: &Path, good: &str, bad: &str, place: Place, tell: fn(&str)) -> Result<Self, BisectError> {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let repository = absolute(repository);
        let common = common_dir(&repository, "find the repository")?;
        let end = |name: &str| -> Result<Candidate, BisectError> {
            let commit = format!("{name}^{{commit}}");
            let found = ["rev-parse", "--verify", "--quiet", "--end-of-options", &commit];
            let hash = git(&repository, &format!("find commit {name}"), &found)?;
            candidate(&repository, hash.trim())
        };
        let ends = [end(good)?, end(bad)?];
        let tree = match &place {
            Place::Temporary => common.join(format!("{NAME}{}", std::process::id())),
            Place::At(path) => absolute(path),
            Place::InPlace => path(&git(&repository, "find the working tree", &["rev-parse", "--show-toplevel"])?),
        };
        let (said, changed) = <_>::default();
        let mut this =
            Self { repository, tree, place, before: None, ends, said, lock: None, is_ours: false, changed, tell };
        match this.place.clone() {
            Place::InPlace => this.take_over(&common)?,
            Place::At(path) if path.join(".git").exists() => this.take_over(&common)?,
            Place::At(_) => this.add_tree()?,
            Place::Temporary => {
                remove_stale(&this.repository, &common);
                this.lock = Some(lock(&lock_of(&this.tree))?);
                this.add_tree()?;
            }
        }
        this.is_ours = true;
        Ok(this)
    }

    /// Where commits are checked out.
    pub fn tree(&self) -> &Path {
        &self.tree
    }

    fn add_tree(&mut self) -> Result<(), BisectError> {
        let tree = self.tree.clone().into_os_string();
        let bad = &self.ends[1].id;
        let words = [OsStr::new("worktree"), OsStr::new("add"), OsStr::new("--quiet"), OsStr::new("--detach")];
        let words = [&words[..], &[&tree, OsStr::new(bad)]].concat();
        let added = git(&self.repository, "add a working tree", &words).map(drop);
        if added.is_err() && self.place == Place::Temporary {
            // What was made of it until then.
            remove(&self.repository, &self.tree);
        }
        added
    }

    /// Uses a tree that is there, if nothing in it would be lost.
    fn take_over(&mut self, common: &Path) -> Result<(), BisectError> {
        let what = "use the working tree";
        if common_dir(&self.tree, what)? != common {
            let said = format!("{} belongs to another repository", self.tree.display());
            return Err(BisectError::Git { what: what.to_owned(), said });
        }
        if git(&self.tree, "look for a bisection", &["bisect", "log"]).is_ok() {
            return Err(BisectError::UnderWay(self.tree.clone()));
        }
        let changed = ["status", "--porcelain", "--untracked-files=no"];
        if !git(&self.tree, "look for changes", &changed)?.is_empty() {
            return Err(BisectError::Changed(self.tree.clone()));
        }
        // What is under way would be lost with its notes: cleaning the tree ends it.
        for note in ["MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "rebase-merge", "rebase-apply"] {
            let find = ["rev-parse", "--path-format=absolute", "--git-path", note];
            if path(&git(&self.tree, what, &find)?).exists() {
                return Err(BisectError::Changed(self.tree.clone()));
            }
        }
        let branch = git(&self.tree, "find the branch", &["symbolic-ref", "--quiet", "--short", "HEAD"]);
        let before = branch.or_else(|_| git(&self.tree, "find the commit", &["rev-parse", "HEAD"]))?;
        self.before = Some(before.trim().to_owned());
        Ok(())
    }

    /// Puts what has become of files that git knows onto the stash, and tells of it; once each, since a build may do the same to
    /// them at each commit.
    fn keep(&mut self) -> Result<(), BisectError> {
        let what = "keep what was changed";
        let kept = git(&self.tree, what, &["stash", "create", STASHED])?;
        let kept = kept.trim();
        let Some(short) = kept.get(..SHORT) else { return Ok(()) };
        // A file may have been changed again after `git add`: the stash has both (git-stash(1), "Discussion").
        let mut found = BTreeSet::new();
        for side in [kept.to_owned(), format!("{kept}^2")] {
            let words = ["diff-tree", "-r", "-z", "--no-renames", &format!("{kept}^1"), &side];
            found.extend(changes(&git(&self.tree, what, &words)?));
        }
        let new: Vec<Change> = found.difference(&self.changed).cloned().collect();
        if new.is_empty() {
            return Ok(());
        }
        // Else nothing would lead to it, and git would throw it away some day.
        git(&self.tree, what, &["stash", "store", "--quiet", "--message", STASHED, kept])?;
        let paths: BTreeSet<&str> = new.iter().map(|change| change.path.as_str()).collect();
        let paths: Vec<&str> = paths.into_iter().collect();
        (self.tell)(&format!(
            "taking back what the build, or somebody, changed meanwhile: {}; `git stash apply {short}` has it",
            some(&paths)
        ));
        self.changed.extend(new);
        Ok(())
    }

    /// Leaves the tree as it was found, as far as that can be: each step is tried, whatever became of the one before it.
    fn go_back(&mut self) {
        let clean = self.clean();
        let reset = git(&self.tree, "end the bisection", &["bisect", "reset", "HEAD"]);
        // A tree of ours that stays has nothing to go back to.
        let before = self.before.clone().unwrap_or_else(|| "HEAD".to_owned());
        let back = git(&self.tree, "go back", &["checkout", "--quiet", &before, "--"]);
        if let Some(error) = [clean, reset.map(drop), back.map(drop)].into_iter().find_map(Result::err) {
            let (tree, error) = (self.tree.display(), blanked(&error.to_string()));
            (self.tell)(&format!("{tree} is not as it was ({error}); `git bisect reset {before}` in it mends that"));
        }
    }

    /// Takes back what has become of files that git knows: it would be in the way of the next commit. A build does such
    /// things; in a tree that people can work in it may have been one of them, so nothing of it is lost there.
    fn clean(&mut self) -> Result<(), BisectError> {
        match self.place {
            Place::Temporary => {}
            Place::At(_) | Place::InPlace => self.keep()?,
        }
        git(&self.tree, "take back what the build changed", &["reset", "--quiet", "--hard"]).map(drop)
    }
}

impl Drop for Git {
    fn drop(&mut self) {
        if !self.is_ours {
            return;
        }
        match &self.place {
            Place::Temporary => {
                remove(&self.repository, &self.tree);
                if self.tree.exists() {
                    (self.tell)(&format!("{} could not be removed", self.tree.display()));
                }
            }
            Place::At(_) | Place::InPlace => self.go_back(),
        }
    }
}

impl History for Git {
    fn ends(&self) -> [Candidate; 2] {
        self.ends.clone()
    }

    fn visit(&mut self, candidate: &Candidate) -> Result<(), BisectError> {
        self.clean()?;
        let head = git(&self.tree, "find the commit", &["rev-parse", "HEAD"])?;
        if head.trim() == candidate.id {
            return Ok(());
        }
        let what = format!("check out {}", candidate.title);
        git(&self.tree, &what, &["checkout", "--quiet", "--detach", &candidate.id]).map(drop)
    }

    fn begin(&mut self) -> Result<(), BisectError> {
        self.clean()?;
        let [good, bad] = &self.ends;
        self.said = git(&self.tree, "bisect", &["bisect", "start", &bad.id, &good.id])?;
        Ok(())
    }

    fn next(&mut self) -> Result<Next, BisectError> {
        match answer(&self.said) {
            Said::Culprit(hash) => Ok(Next::Culprit(candidate(&self.repository, &hash)?)),
            Said::Suspects(hashes) => {
                let all = hashes.iter().map(|hash| candidate(&self.repository, hash)).collect::<Result<_, _>>()?;
                Ok(Next::Suspects(all))
            }
            Said::More(left) => {
                let head = git(&self.tree, "find the commit", &["rev-parse", "HEAD"])?;
                Ok(Next::Try(candidate(&self.repository, head.trim())?, left))
            }
        }
    }

    fn mark(&mut self, id: &str, answer: Answer) -> Result<(), BisectError> {
        self.clean()?;
        let what = format!("take {id} for {}", answer.name());
        match git(&self.tree, &what, &["bisect", answer.name(), id]) {
            Ok(said) => self.said = said,
            // It says so, with a status of its own, where all that is left was skipped.
            Err(BisectError::Git { said, .. }) if matches!(self::answer(&said), Said::Suspects(_)) => self.said = said,
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// So many names, and how many more there are.
fn some(names: &[&str]) -> String {
    let shown = blanked(&names[..names.len().min(SHOWN)].join(", "));
    match names.len().checked_sub(SHOWN) {
        Some(more @ 1..) => format!("{shown} and {more} more"),
        Some(0) | None => shown,
    }
}

/// Reads what `git diff-tree -z` prints: for each file modes, blobs and a letter in one field, its path in the next one.
fn changes(raw: &str) -> Vec<Change> {
    let mut fields = raw.split('\0');
    let mut found = Vec::new();
    while let (Some(about), Some(path)) = (fields.next(), fields.next()) {
        let words: Vec<&str> = about.split(' ').collect();
        let [_, mode, _, blob, _] = words[..] else { continue };
        found.push(Change { path: path.to_owned(), now: format!("{mode} {blob}") });
    }
    found
}

/// What git made of an answer.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Culprit(String),
    Suspects(Vec<String>),
    More(u32),
}

/// Reads what `git bisect` prints (`builtin/bisect.c`, `bisect.c`), not translated.
fn answer(said: &str) -> Said {
    let is_hash = |word: &str| matches!(word.len(), 40 | 64) && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let culprit =
        said.lines().find_map(|line| line.strip_suffix(" is the first bad commit").filter(|word| is_hash(word)));
    if let Some(hash) = culprit {
        return Said::Culprit(hash.to_owned());
    }
    if said.contains("The first bad commit could be any of") {
        return Said::Suspects(said.lines().map(str::trim).filter(|line| is_hash(line)).map(str::to_owned).collect());
    }
    // The commit's subject, on another line, may say anything.
    let left = said.lines().find_map(|line| line.strip_prefix("Bisecting: "));
    let roughly = left.and_then(|left| left.split_once("(roughly ")?.1.split_once(" step"));
    Said::More(roughly.and_then(|(count, _)| count.parse().ok()).unwrap_or(0))
}

/// A commit, as people know it.
fn candidate(repository: &Path, hash: &str) -> Result<Candidate, BisectError> {
    let show = ["show", "--no-patch", "--no-show-signature", "--format=%h %s", hash];
    let title = git(repository, &format!("show {hash}"), &show)?;
    Ok(Candidate { id: hash.to_owned(), title: blanked(title.trim()) })
}

/// The file that says that a tree is in use.
fn lock_of(tree: &Path) -> PathBuf {
    let mut path = tree.as_os_str().to_owned();
    path.push(LOCK);
    path.into()
}

/// Takes such a file, as long as it is open.
fn lock(path: &Path) -> Result<File, BisectError> {
    let take = || -> std::io::Result<File> {
        let file = File::create(path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(file)
    };
    take().map_err(|source| BisectError::Io { doing: "locking", path: path.to_owned(), source })
}

/// Removes trees of processes that did not live to do it. One that cannot be removed is in nobody's way.
fn remove_stale(repository: &Path, common: &Path) {
    let Ok(entries) = fs::read_dir(common) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(tree) = name.strip_suffix(LOCK).filter(|tree| tree.starts_with(NAME)) else { continue };
        let Ok(_unused) = lock(&path) else { continue };
        remove(repository, &common.join(tree));
    }
}

/// Removes a temporary tree and what says that it is in use.
fn remove(repository: &Path, tree: &Path) {
    let words = [OsStr::new("worktree"), OsStr::new("remove"), OsStr::new("--force"), tree.as_os_str()];
    if git(repository, "remove the working tree", &words).is_err() {
        // git will not remove what it does not know as a tree any more.
        let _ = fs::remove_dir_all(tree);
        let _ = git(repository, "forget the working tree", &["worktree", "prune"]);
    }
    let _ = fs::remove_file(lock_of(tree));
}

/// Where a repository keeps what all its trees share.
fn common_dir(directory: &Path, what: &str) -> Result<PathBuf, BisectError> {
    git(directory, what, &["rev-parse", "--path-format=absolute", "--git-common-dir"]).map(|line| path(&line))
}

/// Runs git; what it printed, both streams. It has a process group of its own: Ctrl-C is for us.
fn git<W: AsRef<OsStr>>(directory: &Path, what: &str, words: &[W]) -> Result<String, BisectError> {
    let mut command = Command::new("git");
    command.arg("-C").arg(directory).args(words).stdin(Stdio::null()).process_group(0);
    // Who is called from a hook of git's inherits these, and they would lead elsewhere.
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX"] {
        command.env_remove(name);
    }
    let output = command.env("LC_ALL", "C").env("GIT_PAGER", "cat").output().map_err(BisectError::NoGit)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let said = [text(&output.stdout), text(&output.stderr)].concat();
    let said = if said.trim().is_empty() { output.status.to_string() } else { said.trim().to_owned() };
    Err(BisectError::Git { what: what.to_owned(), said })
}

fn path(line: &str) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(line.strip_suffix('\n').unwrap_or(line).as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::{Change, Said, answer, changes};

    #[test]
    fn what_git_prints_is_understood() {
        let hash = "0123456789012345678901234567890123456789";
        let more =
            "Bisecting: 12 revisions left to test after this (roughly 4 steps)\n[0123] subject (roughly 9 stepwise)\n";
        assert_eq!(answer(more), Said::More(4));
        assert_eq!(answer("Bisecting: 0 revisions left to test after this (roughly 0 steps)\n"), Said::More(0));
        assert_eq!(answer(&format!("{hash} is the first bad commit\ncommit {hash}\n")), Said::Culprit(hash.to_owned()));
        let skipped = "There are only 'skip'ped commits left to test.\nThe first bad commit could be any of:\n";
        let suspects = format!("{skipped}{hash}\n{hash}\nWe cannot bisect more!\n");
        assert_eq!(answer(&suspects), Said::Suspects(vec![hash.to_owned(), hash.to_owned()]));
        assert_eq!(answer("anything else is the first bad commit\n"), Said::More(0));
    }

    #[test]
    fn what_became_of_files_is_read() {
        let change = |path: &str, now: &str| Change { path: path.to_owned(), now: now.to_owned() };
        let raw = ":100644 100755 1111 2222 M\0a file\0:100644 000000 1111 0000 D\0gone\0";
        assert_eq!(changes(raw), [change("a file", "100755 2222"), change("gone", "000000 0000")]);
        assert_eq!(changes(""), []);
    }
}
