//! The directories that hold what is watched, and what the kernel tells of them (inotify(7)).
//!
//! Directories, not files: an editor that replaces a file leaves a watch on its inode behind, and what is not there yet has
//! none. A path whose directory is missing, too, is waited for in the nearest one above it that is there.
//! Used as system calls, not through a crate: its descriptor goes into one poll with signals and timers, and what
//! matters here (the limit of watches, an overflow, who still writes) is told as the kernel tells it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use super::snapshot::Snapshot;
use super::stamp::Look;

/// Room for some hundred events.
const BUFFER: usize = 64 * 1024;
/// Each look reads so many times at most, so that a storm of events cannot keep it.
const READS: usize = 64;

/// Watched directories.
#[derive(Debug)]
pub struct Directories {
    queue: Option<OwnedFd>,
    watched: HashMap<i32, Names>,
    numbers: HashMap<PathBuf, i32>,
    /// Files that somebody has written to and not closed since.
    written: HashSet<(i32, OsString)>,
    blind: Option<Blind>,
}

/// Why changes have to be looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blind {
    /// No more watches (`fs.inotify.max_user_watches`), or instances (`fs.inotify.max_user_instances`).
    Limit(Errno),
    /// A file system that others change behind this kernel's back.
    Remote(PathBuf),
}

/// The names that matter in a directory.
#[derive(Debug, Default)]
struct Names {
    exact: HashSet<OsString>,
    /// The directory was listed: each name in it matters.
    listed: bool,
    /// It holds sources: names that are not hidden may be new ones.
    sources: bool,
}

/// What some events come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Heard {
    /// Something may have happened to what is watched.
    pub relevant: bool,
    /// Something may have happened to the directories: they are to be looked up again.
    pub moved: bool,
    /// A name that nobody knows turned up where all names matter, or something was missed.
    pub new: bool,
}

impl Directories {
    /// None yet.
    pub fn new() -> Self {
        let (queue, blind) = match inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK) {
            Ok(queue) => (Some(queue), None),
            Err(error) => (None, Some(Blind::Limit(error))),
        };
        Self { queue, watched: HashMap::new(), numbers: HashMap::new(), written: HashSet::new(), blind }
    }

    /// As where inotify gives no more instances.
    #[cfg(test)]
    pub fn deaf() -> Self {
        Self { queue: None, blind: Some(Blind::Limit(Errno::MFILE)), ..Self::new() }
    }

    /// Readable when there is something to hear.
    pub fn queue(&self) -> Option<BorrowedFd<'_>> {
        self.queue.as_ref().map(AsFd::as_fd)
    }

    /// Why changes must be looked for, if they must.
    pub fn blind(&self) -> Option<&Blind> {
        self.blind.as_ref()
    }

    /// Watches the directories of all that `snapshot` has, and no others.
    pub fn aim(&mut self, snapshot: &Snapshot) {
        let Some(queue) = &self.queue else { return };
        self.blind = None;
        let mut before: BTreeSet<i32> = self.watched.keys().copied().collect();
        self.watched.clear();
        self.numbers.clear();
        let mut remote = None;
        for (directory, names) in wanted(snapshot) {
            match inotify::add_watch(queue, &directory, flags()) {
                Ok(number) => {
                    before.remove(&number);
                    remote = remote.or_else(|| is_remote(&directory).then(|| directory.clone()));
                    // One directory may stand in several places (bind mounts).
                    let known = self.watched.entry(number).or_default();
                    known.exact.extend(names.exact);
                    known.listed |= names.listed;
                    known.sources |= names.sources;
                    self.numbers.insert(directory, number);
                }
                Err(error @ (Errno::NOSPC | Errno::NOMEM)) => {
                    self.blind = Some(Blind::Limit(error));
                    break;
                }
                // It is gone again, or not for us to read: the stamps tell, and events of the one above it.
                Err(_) => {}
            }
        }
        if let (None, Some(directory)) = (&self.blind, remote) {
            self.blind = Some(Blind::Remote(directory));
        }
        for number in before {
            // Those of directories that are gone are gone already.
            let _ = inotify::remove_watch(queue, number);
        }
        self.written.retain(|(number, _)| self.watched.contains_key(number));
    }

    /// Takes in what the kernel has to tell.
    pub fn hear(&mut self) -> Heard {
        let mut heard = Heard::default();
        let Some(queue) = &self.queue else { return heard };
        let mut buffer = vec![MaybeUninit::uninit(); BUFFER];
        let mut reader = Reader::new(queue, &mut buffer);
        let mut reads = 0;
        loop {
            if reader.is_buffer_empty() {
                reads += 1;
                if reads > READS {
                    break;
                }
            }
            // An error here is `EAGAIN` or `EINTR`; in any other case what is missed is found by the next look.
            let Ok(event) = reader.next() else { break };
            let events = event.events();
            if events.contains(ReadFlags::QUEUE_OVERFLOW) {
                self.written.clear();
                return Heard { relevant: true, moved: true, new: true };
            }
            let Some(names) = self.watched.get(&event.wd()) else { continue };
            let lost = ReadFlags::IGNORED | ReadFlags::UNMOUNT | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF;
            if events.intersects(lost) {
                heard = Heard { relevant: true, moved: true, new: heard.new || names.sources };
                continue;
            }
            let Some(name) = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes())) else { continue };
            let known = names.exact.contains(name);
            let may_be_new = names.sources && !name.as_bytes().starts_with(b".");
            if !(known || names.listed || may_be_new) {
                continue;
            }
            heard.relevant = true;
            heard.new |= may_be_new && (!known || events.contains(ReadFlags::ISDIR));
            heard.moved |= events.contains(ReadFlags::ISDIR);
            let file = (event.wd(), name.to_owned());
            if events.contains(ReadFlags::MODIFY) {
                self.written.insert(file);
            } else if !events.intersects(ReadFlags::ATTRIB | ReadFlags::CREATE) {
                self.written.remove(&file);
            }
        }
        heard
    }

    /// Whether somebody has begun to write to `path`, and has it open still.
    pub fn is_being_written(&self, path: &Path) -> bool {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return false };
        let number = self.numbers.get(directory);
        number.is_some_and(|number| self.written.contains(&(*number, name.to_owned())))
    }
}

fn flags() -> WatchFlags {
    WatchFlags::ONLYDIR
        | WatchFlags::EXCL_UNLINK
        | WatchFlags::ATTRIB
        | WatchFlags::CLOSE_WRITE
        | WatchFlags::CREATE
        | WatchFlags::DELETE
        | WatchFlags::DELETE_SELF
        | WatchFlags::MODIFY
        | WatchFlags::MOVE
        | WatchFlags::MOVE_SELF
}

/// Each directory to watch, and the names in it that matter.
fn wanted(snapshot: &Snapshot) -> HashMap<PathBuf, Names> {
    let mut wanted: HashMap<PathBuf, Names> = HashMap::new();
    let mut there: HashMap<PathBuf, bool> = HashMap::new();
    for (path, look, exists) in snapshot.paths() {
        let mut path = path;
        while let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
            let known = there.get(parent).copied();
            let is_there = known.unwrap_or_else(|| parent.is_dir());
            if known.is_none() {
                there.insert(parent.to_owned(), is_there);
            }
            if is_there {
                wanted.entry(parent.to_owned()).or_default().exact.insert(name.to_owned());
                break;
            }
            path = parent;
        }
        if look == Look::Names && exists {
            wanted.entry(path.to_owned()).or_default().listed = true;
        }
    }
    for directory in &snapshot.directories {
        wanted.entry(directory.clone()).or_default().sources = true;
    }
    wanted
}

/// Whether a directory is on a file system whose files others change without this kernel hearing of it.
fn is_remote(directory: &Path) -> bool {
    /// NFS, SMB1, SMB2/CIFS, 9p, FUSE, Ceph, AFS, VirtualBox's shared folders (`include/uapi/linux/magic.h`,
    /// `fs/fuse/inode.c`, `fs/vboxsf/super.c`).
    const REMOTE: [i64; 9] =
        [0x6969, 0x517b, 0xff53_4d42, 0xfe53_4d42, 0x0102_1997, 0x6573_5546, 0x00c3_6400, 0x5346_414f, 0x786f_4256];
    rustix::fs::statfs(directory).is_ok_and(|found| REMOTE.contains(&found.f_type))
}

#[cfg(test)]
mod tests {
    use super::{Directories, Heard};
    use crate::guest::Inputs;
    use crate::watch::Snapshot;
    use std::fs::{self, File};
    use std::io::Write;
    use std::path::{Path, PathBuf};

    fn aimed(paths: &[PathBuf]) -> Directories {
        let mut directories = Directories::new();
        directories.aim(&Snapshot::of_inputs(&Inputs { read: paths.iter().cloned().collect(), ..Inputs::default() }));
        directories
    }

    #[test]
    fn only_names_that_matter_are_heard_of() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("input");
        let mut directories = aimed(std::slice::from_ref(&path));
        fs::write(dir.path().join("other"), "").expect("written");
        assert_eq!(directories.hear(), Heard::default());
        fs::write(&path, "").expect("written");
        assert_eq!(directories.hear(), Heard { relevant: true, ..Heard::default() });
    }

    #[test]
    fn a_missing_directory_is_waited_for_above() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut directories = aimed(&[dir.path().join("a/b/c")]);
        fs::create_dir_all(dir.path().join("a/b")).expect("directories");
        assert_eq!(directories.hear(), Heard { relevant: true, moved: true, new: false });
    }

    #[test]
    fn who_writes_is_known_until_he_closes() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("input");
        let mut directories = aimed(std::slice::from_ref(&path));
        let mut file = File::create(&path).expect("created");
        file.write_all(b"one").expect("written");
        directories.hear();
        assert!(directories.is_being_written(&path));
        drop(file);
        directories.hear();
        assert!(!directories.is_being_written(&path));
    }

    #[test]
    fn a_queue_that_overflows_means_a_look_at_everything() {
        let most = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").expect("Linux has inotify");
        let most: usize = most.trim().parse().expect("a number");
        let dir = tempfile::tempdir().expect("a directory");
        let [one, other] = ["one", "other"].map(|name| dir.path().join(name));
        for path in [&one, &other] {
            fs::write(path, "").expect("written");
        }
        let mut directories = aimed(&[one.clone(), other.clone()]);
        // By turns: equal events that follow each other become one.
        let touch = |path: &Path| File::options().append(true).open(path).expect("opened").write_all(b"x");
        for _ in 0..=most / 4 {
            touch(&one).and_then(|()| touch(&other)).expect("written");
        }
        let mut heard = directories.hear();
        for _ in 0..most {
            if heard.new {
                break;
            }
            heard = directories.hear();
        }
        assert_eq!(heard, Heard { relevant: true, moved: true, new: true });
    }
}
