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
/// The same for inputs that are missing, empty, truncated or still open for writing.
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
            if !last.is_empty() && now - since >= self.quiet_time(snapshot, &last) {
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

    /// Returns the change that a watcher of `snapshot` finds during `action`, and the time since the end of the action.
    fn change_by(
        watcher: &mut Watcher,
        snapshot: Snapshot,
        action: impl FnOnce() + Send,
    ) -> (Option<Change>, Duration) {
        change_within(ms(20_000), watcher, snapshot, action)
    }

    fn change_within(
        limit: Duration,
        watcher: &mut Watcher,
        mut snapshot: Snapshot,
        action: impl FnOnce() + Send,
    ) -> (Option<Change>, Duration) {
        let (_quiet, call) = UnixStream::pair().expect("sockets");
        scope(|scope| {
            let acting = scope.spawn(|| {
                sleep(ms(100));
                action();
                Instant::now()
            });
            let change = watcher.wait(&mut snapshot, call.as_fd(), Some(limit)).expect("it waits");
            let end = Instant::now();
            // Zero if the action has not ended yet.
            (change, end.saturating_duration_since(acting.join().expect("it acts")))
        })
    }

    /// Long enough for pauses on a busy host.
    const CALM: Duration = Duration::from_millis(250);

    /// Asserts that `action` on an existing file causes one change, of this file only, after the end of the action.
    #[track_caller]
    fn changes_once(action: impl FnOnce(&Path) + Send) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("input");
        write(&path, "first");
        let inputs = inputs(&[dir.path().to_owned(), path.clone()]);
        let (change, after) = change_by(&mut watcher(CALM, PATIENCE), inputs, || action(&path));
        assert_eq!(change.expect("a change").paths, [path.as_path()]);
        assert!(after > Duration::ZERO, "it did not wait for the end");
        assert!(path.exists());
    }

    #[test]
    fn editors_that_write_in_place_or_replace_files_cause_one_change() {
        changes_once(|path| write(path, "second"));
        changes_once(|path| {
            // As vim does: test whether files can be created, rename the file, write a new one, remove the old one.
            let beside = |name: &str| path.with_file_name(name);
            write(&beside("4913"), "");
            fs::remove_file(beside("4913")).expect("removed");
            fs::rename(path, beside("input~")).expect("renamed");
            write(path, "second");
            fs::remove_file(beside("input~")).expect("removed");
        });
        changes_once(|path| {
            let status = Command::new("sed").args(["-i", "s/first/second/"]).arg(path).status();
            assert!(status.expect("sed runs").success());
        });
        changes_once(|path| {
            write(&path.with_file_name("new"), "second");
            fs::rename(path.with_file_name("new"), path).expect("renamed");
        });
    }

    #[test]
    fn a_file_that_is_missing_for_a_moment_is_awaited() {
        changes_once(|path| {
            fs::remove_file(path).expect("removed");
            sleep(2 * CALM);
            write(&path.with_file_name("deep"), "second");
            fs::hard_link(path.with_file_name("deep"), path).expect("linked");
        });
        changes_once(|path| {
            let dir = path.parent().expect("it has one");
            fs::remove_dir_all(dir).expect("removed");
            sleep(2 * CALM);
            fs::create_dir_all(dir).expect("made");
            sleep(2 * CALM);
            write(path, "second");
        });
    }

    #[test]
    fn a_file_that_is_still_being_written_is_awaited() {
        changes_once(|path| {
            let mut file = File::create(path).expect("created");
            for _ in 0..5 {
                file.write_all(b"part").expect("written");
                sleep(2 * CALM);
            }
        });
        // A small program: writing this test's own takes longer than the limit.
        let program = fs::read("/bin/sh").expect("a program");
        changes_once(move |path| {
            // Closed in between.
            write(path, &program[..program.len() / 2]);
            sleep(2 * CALM);
            write(path, &program);
        });
        changes_once(|path| {
            for number in 0..20 {
                write(path, format!("{number}"));
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
        let (change, after) = change_by(&mut impatient, inputs(std::slice::from_ref(&path)), || {
            fs::remove_file(&path).expect("removed");
        });
        assert!(change.is_some());
        assert!(after > ms(250), "{after:?}");
    }

    #[test]
    fn a_retargeted_link_and_a_new_file_at_a_missing_path_are_changes() {
        let dir = tempfile::tempdir().expect("a directory");
        let [link, missed] = ["link", "a/b/missed"].map(|name| dir.path().join(name));
        symlink("v1", &link).expect("linked");
        let paths = [link.clone(), missed.clone()];
        let (change, _) = change_by(&mut watcher(QUIET, PATIENCE), inputs(&paths), || {
            symlink("v2", dir.path().join("new")).expect("linked");
            fs::rename(dir.path().join("new"), &link).expect("renamed");
        });
        assert_eq!(change.expect("a change").paths, [link]);
        let (change, _) = change_by(&mut watcher(QUIET, PATIENCE), inputs(&paths), || {
            fs::create_dir_all(dir.path().join("a/b")).expect("made");
            sleep(ms(100));
            write(&missed, "x");
        });
        assert_eq!(change.expect("a change").paths, [missed]);
    }

    #[test]
    fn an_action_that_changes_nothing_is_no_change() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("input");
        write(&path, "first");
        let (change, _) = change_within(
            ms(1500),
            &mut watcher(QUIET, PATIENCE),
            inputs(&[dir.path().to_owned(), path.clone()]),
            || {
                // Open for writing and close; read; change other files.
                drop(File::options().append(true).open(&path).expect("opened"));
                fs::read(&path).expect("read");
                write(&dir.path().join("other"), "x");
                fs::create_dir(dir.path().join("directory")).expect("made");
            },
        );
        assert_eq!(change, None);
        let all = Snapshot::of_sources(&Sources::new([dir.path().to_owned()]));
        let (change, _) = change_within(ms(1500), &mut watcher(QUIET, PATIENCE), all, || {
            let temporary = dir.path().join("directory/sedAbCdEf");
            write(&temporary, "x");
            fs::remove_file(temporary).expect("removed");
        });
        assert_eq!(change, None);
    }

    #[test]
    fn new_sources_in_new_directories_are_found() {
        let dir = tempfile::tempdir().expect("a directory");
        let all = Snapshot::of_sources(&Sources::new([dir.path().to_owned()]));
        let new = dir.path().join("a/b/c/new.c");
        let (change, _) = change_by(&mut watcher(QUIET, PATIENCE), all, || {
            fs::create_dir_all(dir.path().join("a/b/c")).expect("made");
            sleep(ms(150));
            write(&new, "x");
        });
        assert_eq!(change.expect("a change").paths, [new.as_path()]);
    }

    #[test]
    fn a_change_of_one_file_in_thousands_is_found_quickly() {
        let dir = tempfile::tempdir().expect("a directory");
        let paths: Vec<PathBuf> =
            (0..4000).map(|number| dir.path().join(format!("{}/{number}", number % 200))).collect();
        for path in &paths {
            fs::create_dir_all(path.parent().expect("it has one")).expect("made");
            write(path, "x");
        }
        let (change, after) = change_by(&mut watcher(QUIET, PATIENCE), inputs(&paths), || write(&paths[1234], "y"));
        assert_eq!(change.expect("a change").paths, [paths[1234].as_path()]);
        assert!(after < ms(500), "{after:?}");
    }

    #[test]
    fn without_notifications_changes_are_polled_for() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("input");
        write(&path, "first");
        let mut watcher = watcher(QUIET, PATIENCE);
        watcher.directories = Directories::without_notifications();
        let (change, _) = change_by(&mut watcher, inputs(std::slice::from_ref(&path)), || write(&path, "second"));
        assert!(change.is_some());
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
        let change = watcher.wait(&mut snapshot, call.as_fd(), Some(ms(1000))).expect("it waits");
        assert!(change.is_some());
    }
}
