//! Waits for changes and for their end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::directories::{Directories, Polling};
use super::snapshot::{Changed, Snapshot};
use super::stamp::{self, Stamp};

/// Time without further changes after which a change is complete: compilers, linkers and editors write in many steps.
const QUIET: Duration = Duration::from_millis(60);
/// The same time for inputs that are missing, empty, truncated or still open for writing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
/// Minimum interval between comparisons.
const STEP: Duration = Duration::from_millis(20);
/// Interval between comparisons without notifications.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Waits for changes.
#[derive(Debug)]
pub(crate) struct Watcher {
    directories: Directories,
    quiet: Duration,
    patience: Duration,
}

/// A complete change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Changed paths, sorted.
    pub paths: Vec<PathBuf>,
    /// Time of the last write.
    pub saved: Instant,
}

impl Watcher {
    /// Creates a watcher that waits until nothing has changed for a moment.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { directories: Directories::new()?, quiet: QUIET, patience: PATIENCE })
    }

    /// Returns the reason for polling, if notifications are missing or incomplete.
    pub(crate) fn polling(&self) -> Option<&Polling> {
        self.directories.polling()
    }

    /// Waits for a complete change since `snapshot`. Returns `None` if `call` becomes readable first, or after `limit`.
    pub(crate) fn wait(
        &mut self,
        snapshot: &mut Snapshot,
        call: BorrowedFd<'_>,
        limit: Option<Duration>,
    ) -> io::Result<Option<Change>> {
        let end = limit.map(|limit| Instant::now() + limit);
        let mut last = Changed::new();
        let mut since = Instant::now();
        loop {
            let is_notified = self.directories.process_events();
            let start = Instant::now();
            let changed = if is_notified || last.is_empty() || self.polling().is_some() {
                self.compare(snapshot)
            } else {
                snapshot.changed_among(last.keys())
            };
            let now = Instant::now();
            if changed != last {
                (last, since) = (changed, now);
            }
            // Only the time up to `start`, when this comparison began: a stall of this thread since then is not a pause
            // of the writer.
            if !last.is_empty() && start.saturating_duration_since(since) >= self.quiet_time(snapshot, &last) {
                return Ok(Some(Change::new(last)));
            }
            // Many irrelevant notifications must not keep a large source tree busy.
            let pause = if last.is_empty() { STEP.max(now - start) } else { STEP };
            if end.is_some_and(|end| end <= now) || is_readable(call, None, Some(pause))? {
                return Ok(None);
            }
            if last.is_empty() {
                let interval = self.polling().map(|_| POLL_INTERVAL.max((now - start) * 10));
                let left = end.map(|end| end.saturating_duration_since(now));
                let timeout = interval.into_iter().chain(left).min();
                if is_readable(call, Some(self.directories.as_fd()), timeout)? {
                    return Ok(None);
                }
            }
        }
    }

    fn compare(&mut self, snapshot: &mut Snapshot) -> Changed {
        loop {
            let changed = snapshot.changed();
            if !self.directories.watch(snapshot.directories()) {
                return changed;
            }
            // Compare again, now that changes in the new directories are reported.
        }
    }

    fn quiet_time(&self, snapshot: &Snapshot, changed: &Changed) -> Duration {
        let is_incomplete = changed
            .iter()
            .any(|(path, stamp)| snapshot.is_incomplete(path, stamp) || self.directories.is_being_written(path));
        if is_incomplete { self.patience } else { self.quiet }
    }
}

impl Change {
    fn new(changed: Changed) -> Self {
        let now = Instant::now();
        let last_change = changed.values().filter_map(Stamp::changed).max();
        let age = last_change.map(|changed| stamp::now().saturating_sub(changed));
        let saved = age.and_then(|age| now.checked_sub(age)).unwrap_or(now);
        Self { paths: changed.into_keys().collect(), saved }
    }
}

/// Waits until a descriptor is readable, or for `timeout`. Returns true if `call` is readable.
pub(crate) fn is_readable(
    call: BorrowedFd<'_>,
    events: Option<BorrowedFd<'_>>,
    timeout: Option<Duration>,
) -> io::Result<bool> {
    let mut fds: Vec<_> =
        [Some(call), events].into_iter().flatten().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) => Ok(fds.first().is_some_and(|fd| !fd.revents().is_empty())),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Change, PATIENCE, QUIET, Watcher};
    use crate::guest::Inputs;
    use crate::watch::directories::Directories;
    use crate::watch::snapshot::Snapshot;
    use crate::watch::sources::Sources;
    use std::cell::Cell;
    use std::fs::{self, File};
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixStream;
    use std::path::{Path, PathBuf};
    use std::process::Command;
    use std::thread::{scope, sleep};
    use std::time::{Duration, Instant};

    fn ms(time: u64) -> Duration {
        Duration::from_millis(time)
    }

    fn write(path: &Path, text: impl AsRef<[u8]>) {
        fs::write(path, text).expect("written");
    }

    fn inputs(paths: &[PathBuf]) -> Snapshot {
        Snapshot::of_inputs(&Inputs { read: paths.iter().cloned().collect(), ..Inputs::default() })
    }

    fn watcher(quiet: Duration, patience: Duration) -> Watcher {
        Watcher { quiet, patience, ..Watcher::new().expect("a watcher") }
    }

    /// Result of a watcher during an action.
    struct Seen {
        change: Option<Change>,
        /// Time at which the watcher returned.
        returned: Instant,
        /// Times before and after the action.
        action: (Instant, Instant),
    }

    /// Returns what a watcher of `snapshot` finds during `action`.
    fn change_by(watcher: &mut Watcher, mut snapshot: Snapshot, action: impl FnOnce() + Send) -> Seen {
        let (_quiet, call) = UnixStream::pair().expect("sockets");
        scope(|scope| {
            let acting = scope.spawn(|| {
                sleep(ms(100));
                let begin = Instant::now();
                action();
                (begin, Instant::now())
            });
            let change = watcher.wait(&mut snapshot, call.as_fd(), Some(ms(120_000))).expect("it waits");
            let returned = Instant::now();
            Seen { change, returned, action: acting.join().expect("it acts") }
        })
    }

    /// Records the longest gap between two steps of an action. A busy host may stall a writer for longer than the pause
    /// that a watcher waits for; the watcher then rightly reports a change before the action has ended.
    struct Steps {
        last: Cell<Instant>,
        longest: Cell<Duration>,
    }

    impl Steps {
        fn new() -> Self {
            Self { last: Cell::new(Instant::now()), longest: Cell::default() }
        }

        /// Called after each change of a file.
        fn done(&self) {
            let now = Instant::now();
            let gap = now - self.last.replace(now);
            self.longest.set(self.longest.get().max(gap));
        }

        fn write(&self, path: &Path, text: impl AsRef<[u8]>) {
            write(path, text);
            self.done();
        }

        fn rename(&self, from: &Path, to: &Path) {
            fs::rename(from, to).expect("renamed");
            self.done();
        }

        fn remove(&self, path: &Path) {
            fs::remove_file(path).expect("removed");
            self.done();
        }
    }

    /// Rest after which a change is complete.
    const CALM: Duration = Duration::from_millis(250);
    /// A pause that is longer.
    const LONG: Duration = Duration::from_millis(500);

    /// Asserts that `action` on an existing file causes one change, of this file only, after the end of the action.
    /// `is_patient`: the file is incomplete between the steps. Repeats with a longer rest if the action was stalled.
    #[track_caller]
    fn changes_once(is_patient: bool, action: impl Fn(&Path, &Steps) + Sync) {
        for factor in [1, 4, 16, 64] {
            let (quiet, patience) = (CALM * factor, PATIENCE * factor);
            let dir = tempfile::tempdir().expect("a directory");
            let path = dir.path().join("input");
            write(&path, "first");
            let inputs = inputs(&[dir.path().to_owned(), path.clone()]);
            let mut longest = Duration::ZERO;
            let seen = change_by(&mut watcher(quiet, patience), inputs, || {
                let steps = Steps::new();
                action(&path, &steps);
                steps.done();
                longest = steps.longest.get();
            });
            // Two changes are at most two gaps apart.
            if 2 * longest >= if is_patient { patience } else { quiet } {
                continue;
            }
            assert_eq!(seen.change.expect("a change").paths, [path.as_path()]);
            assert!(seen.returned > seen.action.1, "it did not wait for the end");
            assert!(path.exists());
            return;
        }
        panic!("this host stalls a writer for seconds");
    }

    #[test]
    fn editors_that_write_in_place_or_replace_files_cause_one_change() {
        changes_once(false, |path, steps| steps.write(path, "second"));
        changes_once(false, |path, steps| {
            // As vim does: test whether files can be created, rename the file, write a new one, remove the old one.
            let beside = |name: &str| path.with_file_name(name);
            steps.write(&beside("4913"), "");
            steps.remove(&beside("4913"));
            steps.rename(path, &beside("input~"));
            steps.write(path, "second");
            steps.remove(&beside("input~"));
        });
        changes_once(false, |path, _| {
            let status = Command::new("sed").args(["-i", "s/first/second/"]).arg(path).status();
            assert!(status.expect("sed runs").success());
        });
        changes_once(false, |path, steps| {
            steps.write(&path.with_file_name("new"), "second");
            steps.rename(&path.with_file_name("new"), path);
        });
    }

    #[test]
    fn a_file_that_is_missing_for_a_moment_is_awaited() {
        changes_once(true, |path, steps| {
            steps.remove(path);
            sleep(LONG);
            steps.write(&path.with_file_name("deep"), "second");
            fs::hard_link(path.with_file_name("deep"), path).expect("linked");
        });
        changes_once(true, |path, steps| {
            let dir = path.parent().expect("it has one");
            fs::remove_dir_all(dir).expect("removed");
            steps.done();
            sleep(LONG);
            fs::create_dir_all(dir).expect("made");
            steps.done();
            sleep(LONG);
            steps.write(path, "second");
        });
    }

    #[test]
    fn a_file_that_is_still_being_written_is_awaited() {
        changes_once(true, |path, steps| {
            let mut file = File::create(path).expect("created");
            for _ in 0..5 {
                file.write_all(b"part").expect("written");
                steps.done();
                sleep(LONG);
            }
        });
        // A small program: writing this test's own program takes longer than the limit.
        let program = fs::read("/bin/sh").expect("a program");
        changes_once(true, |path, steps| {
            // Closed in between.
            steps.write(path, &program[..program.len() / 2]);
            sleep(LONG);
            steps.write(path, &program);
        });
        changes_once(false, |path, steps| {
            for number in 0..20 {
                steps.write(path, format!("{number}"));
                sleep(ms(30));
            }
        });
    }

    #[test]
    fn a_file_that_stays_missing_is_a_change() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("input");
        write(&path, "first");
        let mut impatient = watcher(ms(60), ms(300));
        let seen = change_by(&mut impatient, inputs(std::slice::from_ref(&path)), || {
            fs::remove_file(&path).expect("removed");
        });
        assert!(seen.change.is_some());
        assert!(seen.returned - seen.action.0 >= ms(300));
    }

    #[test]
    fn a_retargeted_link_and_a_new_file_at_a_missing_path_are_changes() {
        let dir = tempfile::tempdir().expect("a directory");
        let [link, missed] = ["link", "a/b/missed"].map(|name| dir.path().join(name));
        symlink("v1", &link).expect("linked");
        let paths = [link.clone(), missed.clone()];
        let seen = change_by(&mut watcher(QUIET, PATIENCE), inputs(&paths), || {
            symlink("v2", dir.path().join("new")).expect("linked");
            fs::rename(dir.path().join("new"), &link).expect("renamed");
        });
        assert_eq!(seen.change.expect("a change").paths, [link]);
        let seen = change_by(&mut watcher(QUIET, PATIENCE), inputs(&paths), || {
            fs::create_dir_all(dir.path().join("a/b")).expect("made");
            sleep(ms(100));
            write(&missed, "x");
        });
        assert_eq!(seen.change.expect("a change").paths, [missed]);
    }

    // In the following two tests, the change of another file ends the wait. If the tested action were reported as a
    // change, that file would not be the only one.
    #[test]
    fn an_action_that_changes_nothing_is_no_change() {
        let dir = tempfile::tempdir().expect("a directory");
        let [path, last] = ["input", "last"].map(|name| dir.path().join(name));
        write(&path, "first");
        write(&last, "first");
        let inputs = inputs(&[dir.path().to_owned(), path.clone(), last.clone()]);
        let seen = change_by(&mut watcher(QUIET, PATIENCE), inputs, || {
            // Open for writing and close; read; change other files.
            drop(File::options().append(true).open(&path).expect("opened"));
            fs::read(&path).expect("read");
            write(&dir.path().join("other"), "x");
            fs::create_dir(dir.path().join("directory")).expect("made");
            write(&last, "second");
        });
        assert_eq!(seen.change.expect("a change").paths, [last]);
    }

    #[test]
    fn a_new_source_that_exists_only_for_a_moment_is_no_change() {
        for factor in [1, 4, 16, 64] {
            let quiet = CALM * factor;
            let dir = tempfile::tempdir().expect("a directory");
            let [temporary, last] = ["sedAbCdEf", "last"].map(|name| dir.path().join(name));
            let mut stall = Duration::ZERO;
            let all = Snapshot::of_sources(&Sources::new([dir.path().to_owned()]));
            let seen = change_by(&mut watcher(quiet, PATIENCE), all, || {
                let steps = Steps::new();
                steps.write(&temporary, "x");
                steps.remove(&temporary);
                stall = steps.longest.get();
                write(&last, "x");
            });
            if stall < quiet {
                assert_eq!(seen.change.expect("a change").paths, [last]);
                return;
            }
        }
        panic!("this host stalls a writer for seconds");
    }

    #[test]
    fn new_sources_in_new_directories_are_found() {
        let dir = tempfile::tempdir().expect("a directory");
        let all = Snapshot::of_sources(&Sources::new([dir.path().to_owned()]));
        let new = dir.path().join("a/b/c/new.c");
        let seen = change_by(&mut watcher(QUIET, PATIENCE), all, || {
            fs::create_dir_all(dir.path().join("a/b/c")).expect("made");
            sleep(ms(150));
            write(&new, "x");
        });
        assert_eq!(seen.change.expect("a change").paths, [new.as_path()]);
    }

    #[test]
    fn a_change_of_one_file_in_thousands_is_reported_by_a_notification() {
        let dir = tempfile::tempdir().expect("a directory");
        let paths: Vec<PathBuf> =
            (0..4000).map(|number| dir.path().join(format!("{}/{number}", number % 200))).collect();
        for path in &paths {
            fs::create_dir_all(path.parent().expect("it has one")).expect("made");
            write(path, "x");
        }
        let mut watcher = watcher(QUIET, PATIENCE);
        let seen = change_by(&mut watcher, inputs(&paths), || write(&paths[1234], "y"));
        assert_eq!(seen.change.expect("a change").paths, [paths[1234].as_path()]);
        assert_eq!(watcher.polling(), None);
    }

    #[test]
    fn without_notifications_changes_are_polled_for() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("input");
        write(&path, "first");
        let mut watcher = watcher(QUIET, PATIENCE);
        watcher.directories = Directories::without_notifications();
        let seen = change_by(&mut watcher, inputs(std::slice::from_ref(&path)), || write(&path, "second"));
        assert!(seen.change.is_some());
    }

    #[test]
    fn a_call_ends_the_wait_and_an_earlier_change_is_found() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("input");
        write(&path, "first");
        let mut snapshot = inputs(std::slice::from_ref(&path));
        write(&path, "second");
        let mut watcher = watcher(QUIET, PATIENCE);
        let (mut caller, call) = UnixStream::pair().expect("sockets");
        caller.write_all(b"x").expect("written");
        let change = watcher.wait(&mut snapshot, call.as_fd(), None).expect("it waits");
        assert_eq!(change, None);
        let (_quiet, call) = UnixStream::pair().expect("sockets");
        let change = watcher.wait(&mut snapshot, call.as_fd(), Some(ms(120_000))).expect("it waits");
        assert!(change.is_some());
    }
}
