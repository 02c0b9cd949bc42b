//! Notifications about changes in directories, by inotify.
//!
//! Watches directories instead of files: a watch on a file ends when an editor replaces the file, and a missing file cannot
//! be watched. A notification is only a reason to compare snapshots, so notifications about other files do no harm.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use notify::event::{AccessKind, AccessMode, Event, EventKind, ModifyKind};
use notify::{Config, ErrorKind, INotifyWatcher, RecursiveMode, Watcher};
use rustix::event::{EventfdFlags, eventfd};

/// Watched directories.
#[derive(Debug)]
pub(crate) struct Directories {
    notifier: Option<INotifyWatcher>,
    events: Receiver<notify::Result<Event>>,
    /// Event counter, readable if there are new notifications.
    counter: Arc<OwnedFd>,
    watched: BTreeSet<PathBuf>,
    /// Files written to and not closed since.
    open_files: HashSet<PathBuf>,
    polling: Option<Polling>,
}

/// Reason for comparing snapshots at intervals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Polling {
    /// An inotify limit was reached, named as in sysctl(8).
    Limit(&'static str),
    /// A directory is on a file system that other hosts modify without a notification.
    Remote(PathBuf),
}

impl fmt::Display for Polling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit(name) => write!(f, "inotify limit reached (see {name} in sysctl)"),
            Self::Remote(path) => write!(f, "{} is on a shared file system", path.display()),
        }
    }
}

impl Directories {
    /// Watches nothing yet.
    pub(crate) fn new() -> io::Result<Self> {
        let counter = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let notifications = Arc::clone(&counter);
        let (sender, events) = channel();
        let notify = move |event: notify::Result<Event>| {
            // Comparing snapshots opens directories and files, too.
            if !matches!(&event, Ok(Event { kind: EventKind::Access(AccessKind::Open(_)), .. })) {
                let _ = sender.send(event);
                let _ = rustix::io::write(&notifications, &1_u64.to_ne_bytes());
            }
        };
        let notifier = INotifyWatcher::new(notify, Config::default()).ok();
        let polling = notifier.is_none().then_some(Polling::Limit("fs.inotify.max_user_instances"));
        Ok(Self { notifier, events, counter, watched: BTreeSet::new(), open_files: HashSet::new(), polling })
    }

    /// As if the limit of inotify instances was reached.
    #[cfg(test)]
    pub(crate) fn without_notifications() -> Self {
        let polling = Some(Polling::Limit("fs.inotify.max_user_instances"));
        Self { notifier: None, polling, ..Self::new().expect("an eventfd") }
    }

    /// Also watches these directories. Returns true if some are new: earlier changes in them were not reported.
    pub(crate) fn watch(&mut self, directories: BTreeSet<PathBuf>) -> bool {
        let Some(notifier) = &mut self.notifier else { return false };
        let mut has_new = false;
        for directory in directories {
            if self.watched.contains(&directory) {
                continue;
            }
            match notifier.watch(&directory, RecursiveMode::NonRecursive).map_err(|error| error.kind) {
                Ok(()) => {
                    if is_remote(&directory) {
                        self.polling.get_or_insert(Polling::Remote(directory.clone()));
                    }
                    self.watched.insert(directory);
                    has_new = true;
                }
                // Removed meanwhile.
                Err(ErrorKind::PathNotFound) => has_new = true,
                Err(ErrorKind::MaxFilesWatch) => {
                    self.polling.get_or_insert(Polling::Limit("fs.inotify.max_user_watches"));
                    break;
                }
                // Not readable by this user.
                Err(_) => {}
            }
        }
        has_new
    }

    /// Returns the reason for polling, if notifications are missing or incomplete.
    pub(crate) fn polling(&self) -> Option<&Polling> {
        self.polling.as_ref()
    }

    /// Processes all notifications so far. Returns true if there were any.
    pub(crate) fn process_events(&mut self) -> bool {
        // Fails if the counter is 0.
        let is_notified = rustix::io::read(&self.counter, &mut [0; 8]).is_ok();
        for event in self.events.try_iter().flatten() {
            if event.need_rescan() {
                self.watched.clear();
                self.open_files.clear();
            }
            let is_gone = matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)));
            let is_write = matches!(event.kind, EventKind::Modify(ModifyKind::Data(_)));
            let is_close = matches!(event.kind, EventKind::Access(AccessKind::Close(AccessMode::Write)));
            for path in event.paths {
                if is_gone {
                    // notify drops the watches of a removed or renamed directory and of those below it.
                    self.watched.retain(|directory| !directory.starts_with(&path));
                }
                if is_write {
                    self.open_files.insert(path);
                } else if is_gone || is_close {
                    self.open_files.remove(&path);
                }
            }
        }
        is_notified
    }

    /// Returns true if a process has written to `path` and not closed it since.
    pub(crate) fn is_being_written(&self, path: &Path) -> bool {
        self.open_files.contains(path)
    }
}

impl AsFd for Directories {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.counter.as_fd()
    }
}

/// Returns true if a directory is on a file system that other hosts modify without a notification on this one.
fn is_remote(directory: &Path) -> bool {
    /// NFS, SMB1, SMB2/CIFS, 9p, FUSE, Ceph, AFS, VirtualBox shared folders (`include/uapi/linux/magic.h`,
    /// `fs/fuse/inode.c`, `fs/vboxsf/super.c`).
    const REMOTE: [i64; 9] =
        [0x6969, 0x517b, 0xff53_4d42, 0xfe53_4d42, 0x0102_1997, 0x6573_5546, 0x00c3_6400, 0x5346_414f, 0x786f_4256];
    rustix::fs::statfs(directory).is_ok_and(|found| REMOTE.contains(&found.f_type))
}

#[cfg(test)]
mod tests {
    use super::{AccessKind, AccessMode, Directories, EventKind};
    use crate::watch::watcher::is_readable;
    use std::collections::BTreeSet;
    use std::fs::{self, File};
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    /// Time limit for a notification on a host with other load.
    const LIMIT: Duration = Duration::from_secs(120);

    fn watch(directory: &Path) -> (Directories, BTreeSet<PathBuf>) {
        let mut directories = Directories::new().expect("inotify");
        let all = BTreeSet::from([directory.to_owned()]);
        assert!(directories.watch(all.clone()));
        (directories, all)
    }

    /// Processes notifications until `is_done`.
    #[track_caller]
    fn process_until(directories: &mut Directories, mut is_done: impl FnMut(&mut Directories) -> bool) {
        while !is_done(directories) {
            assert!(is_readable(directories.as_fd(), None, Some(LIMIT)).expect("polled"), "no notification");
            directories.process_events();
        }
    }

    /// Returns the paths of all notifications up to the end of a write to `last`.
    fn paths_until_closed(directories: &Directories, last: &Path) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        loop {
            let event = directories.events.recv_timeout(LIMIT).expect("a notification").expect("no error");
            paths.extend(event.paths);
            if event.kind == EventKind::Access(AccessKind::Close(AccessMode::Write))
                && paths.last().is_some_and(|path| path == last)
            {
                return paths;
            }
        }
    }

    #[test]
    fn a_write_causes_a_notification_and_reading_does_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let [file, sentinel] = ["file", "sentinel"].map(|name| dir.path().join(name));
        let (mut directories, _) = watch(dir.path());
        fs::write(&file, "").expect("written");
        assert!(is_readable(directories.as_fd(), None, Some(LIMIT)).expect("polled"));
        assert!(paths_until_closed(&directories, &file).iter().all(|path| *path == file));
        fs::read(&file).expect("read");
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 1);
        fs::write(&sentinel, "").expect("written");
        let paths = paths_until_closed(&directories, &sentinel);
        assert!(paths.iter().all(|path| *path == sentinel), "{paths:?}");
        assert!(directories.process_events());
    }

    #[test]
    fn a_file_is_being_written_until_it_is_closed() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        let (mut directories, _) = watch(dir.path());
        let mut file = File::create(&path).expect("created");
        file.write_all(b"one").expect("written");
        process_until(&mut directories, |directories| directories.is_being_written(&path));
        drop(file);
        process_until(&mut directories, |directories| !directories.is_being_written(&path));
    }

    #[test]
    fn a_replaced_directory_is_watched_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("directory");
        for replace in [fs::remove_dir_all as fn(_) -> _, |path: &Path| fs::rename(path, path.with_extension("old"))] {
            let _ = fs::create_dir(&path);
            let (mut directories, all) = watch(&path);
            replace(path.as_path()).expect("replaced");
            fs::create_dir(&path).expect("made");
            process_until(&mut directories, |directories| directories.watch(all.clone()));
            assert!(!directories.watch(all));
            let mut file = File::create(path.join("file")).expect("created");
            file.write_all(b"one").expect("written");
            process_until(&mut directories, |directories| directories.is_being_written(&path.join("file")));
        }
    }
}
