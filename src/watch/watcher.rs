//! Waiting for a change that has come to rest.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::directories::{Blind, Directories};
use super::snapshot::{Changed, Snapshot};

/// Nothing may have changed for so long: compilers, linkers and editors write in many steps.
const QUIET: Duration = Duration::from_millis(60);
/// What is gone, empty, cut off or still open for writing gets so long to become whole.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// How often to look where changes are not told.
const LOOK: Duration = Duration::from_millis(500);
/// How often to walk through sources whose directories keep changing, before the next event tells to go on.
const WALKS: usize = 4;

/// Waits for changes.
#[derive(Debug)]
pub struct Watcher {
    directories: Directories,
    quiet: Duration,
    patience: Duration,
    /// When everything was last seen to be as it was.
    unchanged: Instant,
    /// How long the last look took.
    took: Duration,
}

/// Paths that have changed, and have come to rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which, sorted.
    pub paths: Vec<PathBuf>,
    /// When the last of them was written.
    pub saved: Instant,
}

/// What ended the waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Woken {
    /// A change.
    Changed(Change),
    /// The other descriptor became readable.
    Called,
    /// Nothing, for as long as there was.
    Late,
}

/// A change that has not come to rest.
struct Burst {
    changed: Changed,
    last: Instant,
    rest: Duration,
}

impl Default for Watcher {
    fn default() -> Self {
        Self::new(QUIET, PATIENCE)
    }
}

impl Watcher {
    /// Waits until nothing has changed for `quiet`, or for `patience` where something looks unfinished.
    pub fn new(quiet: Duration, patience: Duration) -> Self {
        Self { directories: Directories::new(), quiet, patience, unchanged: Instant::now(), took: Duration::ZERO }
    }

    /// Why changes are looked for every half second, where they are not told.
    pub fn blind(&self) -> Option<&Blind> {
        self.directories.blind()
    }

    /// Watches what `snapshot` has, from now on.
    pub fn aim(&mut self, snapshot: &Snapshot) {
        self.directories.aim(snapshot);
    }

    /// Waits until something is not as in `snapshot` and has come to rest, `call` is readable, or `limit` is over.
    pub fn wait(
        &mut self,
        snapshot: &mut Snapshot,
        call: BorrowedFd<'_>,
        limit: Option<Duration>,
    ) -> io::Result<Woken> {
        let end = limit.map(|limit| Instant::now() + limit);
        self.aim(snapshot);
        let mut burst = None;
        // Whatever happened until now was told to nobody.
        let (mut look, mut anew) = (true, true);
        loop {
            if look {
                burst = self.look(snapshot, anew, burst);
            }
            let due = burst.as_ref().map(|burst| burst.last + burst.rest);
            let now = Instant::now();
            if let Some(done) = burst.take_if(|_| due.is_some_and(|due| due <= now)) {
                // Memory that is mapped is written without an event.
                let last = done.last;
                match self.look(snapshot, false, Some(done)) {
                    Some(same) if same.last == last => return Ok(Woken::Changed(self.change(same.changed))),
                    other => burst = other,
                }
                (look, anew) = (false, false);
                continue;
            }
            if end.is_some_and(|end| end <= now) {
                return Ok(Woken::Late);
            }
            let blind = self.directories.blind().map(|_| now + LOOK.max(self.took * 10));
            let next = [due, end, blind].into_iter().flatten().min();
            if self.sleep(call, next)? {
                return Ok(Woken::Called);
            }
            let heard = self.directories.hear();
            if heard.moved {
                self.aim(snapshot);
            }
            let blind = self.directories.blind().is_some();
            (look, anew) = (heard.relevant || blind, heard.new || blind);
        }
    }

    /// Compares, and keeps count of how long nothing more has changed.
    fn look(&mut self, snapshot: &mut Snapshot, anew: bool, burst: Option<Burst>) -> Option<Burst> {
        let now = Instant::now();
        let mut changed = snapshot.changed(anew);
        for _ in 0..WALKS {
            if !snapshot.has_moved() {
                break;
            }
            // What came into new directories before they were watched is found by another walk.
            self.aim(snapshot);
            changed = snapshot.changed(true);
        }
        self.took = now.elapsed();
        if changed.is_empty() {
            self.unchanged = now;
            return None;
        }
        let unfinished = changed
            .iter()
            .any(|(path, stamp)| snapshot.is_unfinished(path, stamp) || self.directories.is_being_written(path));
        let rest = if unfinished { self.patience } else { self.quiet };
        let last = match burst {
            Some(burst) if burst.changed == changed => burst.last,
            Some(_) | None => now,
        };
        Some(Burst { changed, last, rest })
    }

    /// When it was saved, files tell best; but not before the last look that found everything as it was.
    fn change(&self, changed: Changed) -> Change {
        let now = Instant::now();
        let age = changed.values().filter_map(super::stamp::Stamp::age).min();
        let saved = age.and_then(|age| now.checked_sub(age)).map_or(now, |saved| saved.max(self.unchanged));
        Change { paths: changed.into_keys().collect(), saved }
    }

    /// Sleeps until something may have happened; true where `call` is readable.
    fn sleep(&self, call: BorrowedFd<'_>, until: Option<Instant>) -> io::Result<bool> {
        let mut fds = vec![PollFd::new(&call, PollFlags::IN)];
        let queue = self.directories.queue();
        if let Some(queue) = &queue {
            fds.push(PollFd::new(queue, PollFlags::IN));
        }
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut fds, left.as_ref()) {
            Ok(_) => Ok(fds.first().is_some_and(|fd| !fd.revents().is_empty())),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{PATIENCE, Watcher, Woken};
    use crate::guest::Inputs;
    use crate::watch::{Snapshot, Sources};
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

    /// What a watcher of `snapshot` wakes up with while `action` goes on, and how long after its end.
    fn woken_by(watcher: &mut Watcher, snapshot: Snapshot, action: impl FnOnce() + Send) -> (Woken, Duration) {
        woken_within(ms(20_000), watcher, snapshot, action)
    }

    fn woken_within(
        limit: Duration,
        watcher: &mut Watcher,
        mut snapshot: Snapshot,
        action: impl FnOnce() + Send,
    ) -> (Woken, Duration) {
        let (_quiet, call) = UnixStream::pair().expect("sockets");
        scope(|scope| {
            let acting = scope.spawn(|| {
                sleep(ms(100));
                action();
                Instant::now()
            });
            let woken = watcher.wait(&mut snapshot, call.as_fd(), Some(limit)).expect("it waits");
            let woke = Instant::now();
            // A moment before the end means that it did not wait for it.
            (woken, woke.saturating_duration_since(acting.join().expect("it acts")))
        })
    }

    /// What is written within it belongs together: so long that a busy host's moments are no end.
    const CALM: Duration = Duration::from_millis(250);

    /// The same, with one file that is there; what came of it is a change of that file alone, after the end.
    #[track_caller]
    fn changes_once(action: impl FnOnce(&Path) + Send) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("input");
        write(&path, "first");
        let (woken, after) =
            woken_by(&mut Watcher::new(CALM, PATIENCE), inputs(&[dir.path().to_owned(), path.clone()]), || {
                action(&path);
            });
        let Woken::Changed(change) = woken else { panic!("{woken:?}") };
        assert_eq!(change.paths, [path.as_path()]);
        assert!(after > Duration::ZERO, "it did not wait for the end");
        assert!(path.exists());
    }

    #[test]
    fn editors_that_write_in_place_or_replace_files_make_one_change() {
        changes_once(|path| write(path, "second"));
        changes_once(|path| {
            // vim: tries whether it may create files, moves the file away, writes a new one, removes the old.
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
    fn what_vanishes_for_a_moment_is_waited_for() {
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
    fn what_is_still_written_is_waited_for() {
        changes_once(|path| {
            let mut file = File::create(path).expect("created");
            for _ in 0..5 {
                file.write_all(b"part").expect("written");
                sleep(2 * CALM);
            }
        });
        // A small one: this test's own takes longer to write than anybody waits.
        let program = fs::read("/bin/sh").expect("a program");
        changes_once(move |path| {
            // Closed in between, as by a program that writes piecemeal.
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
    fn what_stays_away_is_told_in_the_end() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("input");
        write(&path, "first");
        let mut watcher = Watcher::new(ms(60), ms(300));
        let (woken, after) = woken_by(&mut watcher, inputs(std::slice::from_ref(&path)), || {
            fs::remove_file(&path).expect("removed");
        });
        assert!(matches!(woken, Woken::Changed(_)), "{woken:?}");
        assert!(after > ms(250), "{after:?}");
    }

    #[test]
    fn a_retargeted_link_and_a_path_that_was_missed_are_changes() {
        let dir = tempfile::tempdir().expect("a directory");
        let [link, missed] = ["link", "a/b/missed"].map(|name| dir.path().join(name));
        symlink("v1", &link).expect("linked");
        let paths = [link.clone(), missed.clone()];
        let (woken, _) = woken_by(&mut Watcher::default(), inputs(&paths), || {
            symlink("v2", dir.path().join("new")).expect("linked");
            fs::rename(dir.path().join("new"), &link).expect("renamed");
        });
        let Woken::Changed(change) = woken else { panic!("{woken:?}") };
        assert_eq!(change.paths, [link]);
        let (woken, _) = woken_by(&mut Watcher::default(), inputs(&paths), || {
            fs::create_dir_all(dir.path().join("a/b")).expect("made");
            sleep(ms(100));
            write(&missed, "x");
        });
        let Woken::Changed(change) = woken else { panic!("{woken:?}") };
        assert_eq!(change.paths, [missed]);
    }

    #[test]
    fn what_changes_nothing_wakes_nobody() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("input");
        write(&path, "first");
        let (woken, _) =
            woken_within(ms(1500), &mut Watcher::default(), inputs(&[dir.path().to_owned(), path.clone()]), || {
                // Opened for writing and closed; read; and much beside it.
                drop(File::options().append(true).open(&path).expect("opened"));
                fs::read(&path).expect("read");
                write(&dir.path().join("other"), "x");
                fs::create_dir(dir.path().join("directory")).expect("made");
            });
        assert_eq!(woken, Woken::Late);
        let all = Snapshot::of_sources(&Sources::new([dir.path().to_owned()]));
        let (woken, _) = woken_within(ms(1500), &mut Watcher::default(), all, || {
            let temporary = dir.path().join("directory/sedAbCdEf");
            write(&temporary, "x");
            fs::remove_file(temporary).expect("removed");
        });
        assert_eq!(woken, Woken::Late);
    }

    #[test]
    fn new_sources_in_new_directories_are_found() {
        let dir = tempfile::tempdir().expect("a directory");
        let all = Snapshot::of_sources(&Sources::new([dir.path().to_owned()]));
        let new = dir.path().join("a/b/c/new.c");
        let (woken, _) = woken_by(&mut Watcher::default(), all, || {
            fs::create_dir_all(dir.path().join("a/b/c")).expect("made");
            sleep(ms(150));
            write(&new, "x");
        });
        let Woken::Changed(change) = woken else { panic!("{woken:?}") };
        assert_eq!(change.paths, [new.as_path()]);
    }

    #[test]
    fn one_of_thousands_is_found_within_the_rest_it_needs() {
        let dir = tempfile::tempdir().expect("a directory");
        let paths: Vec<PathBuf> =
            (0..4000).map(|number| dir.path().join(format!("{}/{number}", number % 200))).collect();
        for path in &paths {
            fs::create_dir_all(path.parent().expect("it has one")).expect("made");
            write(path, "x");
        }
        let (woken, after) = woken_by(&mut Watcher::default(), inputs(&paths), || write(&paths[1234], "y"));
        let Woken::Changed(change) = woken else { panic!("{woken:?}") };
        assert_eq!(change.paths, [paths[1234].as_path()]);
        assert!(after < ms(500), "{after:?}");
    }

    #[test]
    fn where_nothing_is_told_changes_are_looked_for() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("input");
        write(&path, "first");
        let mut watcher = Watcher { directories: super::Directories::deaf(), ..Watcher::default() };
        let (woken, _) = woken_by(&mut watcher, inputs(std::slice::from_ref(&path)), || write(&path, "second"));
        assert!(matches!(woken, Woken::Changed(_)), "{woken:?}");
    }

    #[test]
    fn a_call_ends_the_waiting_and_a_change_before_it_is_not_lost() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("input");
        write(&path, "first");
        let mut snapshot = inputs(std::slice::from_ref(&path));
        write(&path, "second");
        let mut watcher = Watcher::default();
        let (mut caller, call) = UnixStream::pair().expect("sockets");
        caller.write_all(b"x").expect("written");
        let woken = watcher.wait(&mut snapshot, call.as_fd(), None).expect("it waits");
        assert_eq!(woken, Woken::Called);
        let (_quiet, call) = UnixStream::pair().expect("sockets");
        let woken = watcher.wait(&mut snapshot, call.as_fd(), Some(ms(1000))).expect("it waits");
        assert!(matches!(woken, Woken::Changed(_)), "{woken:?}");
    }
}
