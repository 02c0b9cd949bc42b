//! What a path was like: enough to tell whether it changed, without reading what is in it.
//!
//! Links are not followed: whoever looked a path up has recorded each link on the way as a path of its own.
//! A directory is just that, or the names in it where somebody listed it: files that come and go beside an input change no
//! input, though they do change their directory's times.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, Timespec, clock_gettime};

/// What of a path matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Look {
    /// What stands there.
    Itself,
    /// Of a directory, the names in it.
    Names,
    /// What stands there, for a build that copes with what is gone or half done.
    Source,
}

/// A path at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stamp {
    /// Nothing stood there.
    Missing,
    /// It could not be looked at.
    Refused(io::ErrorKind),
    /// A directory. Where it is replaced, what is in it is replaced, too.
    Directory,
    /// A device: whoever uses it changes its times.
    Device(u64),
    /// The names in a directory, sorted.
    Names(Vec<OsString>),
    /// Where a symbolic link led.
    Link(PathBuf),
    /// Anything else.
    File(FileStamp),
    /// It changed while it was used, nobody knows from what: no stamp is equal to this one but itself.
    Unknown,
}

/// What changes where a file does: its inode where it is replaced, a time where it is written, or given other rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStamp {
    device: u64,
    inode: u64,
    mode: u32,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Looks at `path` now.
    pub fn of(path: &Path, look: Look) -> Self {
        let metadata = match fs::symlink_metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if is_missing(&error) => return Self::Missing,
            Err(error) => return Self::Refused(error.kind()),
        };
        let kind = metadata.file_type();
        if kind.is_symlink() {
            return fs::read_link(path).map_or_else(|error| Self::refused(&error), Self::Link);
        }
        if kind.is_dir() {
            return match look {
                Look::Itself | Look::Source => Self::Directory,
                Look::Names => names(path).map_or_else(|error| Self::refused(&error), Self::Names),
            };
        }
        if kind.is_block_device() || kind.is_char_device() {
            return Self::Device(metadata.rdev());
        }
        Self::File(FileStamp::of(&metadata))
    }

    fn refused(error: &io::Error) -> Self {
        if is_missing(error) { Self::Missing } else { Self::Refused(error.kind()) }
    }

    /// Whether what stands there was written at `moment` or later, by the file system's clock.
    pub fn is_since(&self, moment: Moment) -> bool {
        match self {
            Self::File(file) => file.changed >= (moment.0, moment.1),
            Self::Missing
            | Self::Refused(_)
            | Self::Directory
            | Self::Device(_)
            | Self::Names(_)
            | Self::Link(_)
            | Self::Unknown => false,
        }
    }

    /// How long ago a file was changed; `None` for what has no such time, or one that is yet to come.
    pub fn age(&self) -> Option<Duration> {
        let Self::File(FileStamp { changed: (seconds, nanoseconds), .. }) = self else { return None };
        let since_epoch = Duration::new(u64::try_from(*seconds).ok()?, u32::try_from(*nanoseconds).ok()?);
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH.checked_add(since_epoch)?).ok()
    }

    /// Whether this looks like something in the making: gone for now, empty, or an ELF file (`elf(5)`) that ends before
    /// its section headers, which linkers write last.
    pub fn is_unfinished(&self, path: &Path) -> bool {
        match self {
            Self::Missing => true,
            Self::File(file) => file.size == 0 || is_part_of_elf(path, file.size).unwrap_or(true),
            Self::Refused(_) | Self::Directory | Self::Device(_) | Self::Names(_) | Self::Link(_) | Self::Unknown => {
                false
            }
        }
    }
}

impl FileStamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            mode: metadata.mode(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// A moment by the clock that file systems stamp their files with: seconds and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(i64, i64);

impl Moment {
    /// Now.
    pub fn now() -> Self {
        // `current_time()` in fs/inode.c takes the coarse clock, too: a finer one would run ahead of it.
        let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::RealtimeCoarse);
        Self(tv_sec, tv_nsec)
    }

    /// The clock's next tick, some milliseconds from now: what was written until now is older, beyond doubt.
    pub fn next() -> Self {
        // By the fine clock: kernels since 6.13 stamp with it where somebody has looked at a file's times, and where ticks were
        // late the coarse one is caught up in whole steps, to a time before what was written already.
        let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Realtime);
        loop {
            std::thread::sleep(Duration::from_millis(1));
            let Self(seconds, nanos) = Self::now();
            if (seconds, nanos) > (tv_sec, tv_nsec) {
                return Self(seconds, nanos);
            }
        }
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn names(path: &Path) -> io::Result<Vec<OsString>> {
    let mut names = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// Whether a regular file of this size is an ELF file without its end, or zeros where the header will go.
fn is_part_of_elf(path: &Path, size: u64) -> io::Result<bool> {
    /// Bytes of the headers of ELF64 and of ELF32.
    const HEADER: u64 = 64;
    const SHORTEST: u64 = 52;
    if !fs::symlink_metadata(path)?.is_file() {
        return Ok(false);
    }
    let mut start = Vec::new();
    File::open(path)?.take(HEADER).read_to_end(&mut start)?;
    // GNU ld leaves a hole for the header, and fills it last.
    if start.len() >= 4 && start.iter().all(|byte| *byte == 0) {
        return Ok(true);
    }
    if !start.starts_with(goblin::elf::header::ELFMAG) {
        return Ok(false);
    }
    if size < SHORTEST {
        return Ok(true);
    }
    start.resize(HEADER as usize, 0);
    // What is no ELF file in the end is none that somebody is about to complete.
    let Ok(header) = goblin::elf::Elf::parse_header(&start) else { return Ok(false) };
    let sections = u64::from(header.e_shnum) * u64::from(header.e_shentsize);
    Ok(header.e_shoff.saturating_add(sections) > size)
}

#[cfg(test)]
mod tests {
    use super::{Look, Moment, Stamp};
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;
    use std::thread::sleep;
    use std::time::Duration;

    fn tick() {
        sleep(Duration::from_millis(20));
    }

    #[test]
    fn what_changes_a_file_changes_its_stamp_and_reading_it_does_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        fs::write(&path, "one").expect("written");
        let mut last = Stamp::of(&path, Look::Itself);
        fs::read(&path).expect("read");
        assert_eq!(Stamp::of(&path, Look::Itself), last);
        let changes: [&dyn Fn(); 5] = [
            &|| fs::write(&path, "two").expect("written"),
            &|| fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("allowed"),
            &|| {
                fs::write(dir.path().join("new"), "two").expect("written");
                fs::rename(dir.path().join("new"), &path).expect("renamed");
            },
            &|| fs::remove_file(&path).expect("removed"),
            &|| symlink("elsewhere", &path).expect("linked"),
        ];
        for (number, change) in changes.iter().enumerate() {
            tick();
            change();
            let now = Stamp::of(&path, Look::Itself);
            assert_ne!(now, last, "change {number}");
            last = now;
        }
    }

    #[test]
    fn a_directory_is_changed_by_its_names_only_where_they_were_listed() {
        let dir = tempfile::tempdir().expect("a directory");
        let stamps = || [Look::Itself, Look::Names].map(|look| Stamp::of(dir.path(), look));
        let [itself, names] = stamps();
        fs::write(dir.path().join("file"), "").expect("written");
        let [itself_now, names_now] = stamps();
        assert_eq!(itself_now, itself);
        assert_ne!(names_now, names);
    }

    #[test]
    fn what_was_written_since_a_moment_is_known_by_its_time() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        fs::write(&path, "").expect("written");
        let stamp = Stamp::of(&path, Look::Itself);
        let moment = Moment::next();
        assert!(!stamp.is_since(moment));
        fs::write(&path, "x").expect("written");
        assert!(Stamp::of(&path, Look::Itself).is_since(moment));
        assert!(Stamp::of(&path, Look::Itself).age().expect("a time") < Duration::from_secs(5));
    }

    #[test]
    fn an_elf_file_is_finished_when_its_last_byte_is_there() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("program");
        let whole = fs::read("/proc/self/exe").expect("this program");
        let unfinished = |bytes: &[u8]| {
            fs::write(&path, bytes).expect("written");
            Stamp::of(&path, Look::Itself).is_unfinished(&path)
        };
        assert!(!unfinished(&whole));
        assert!(unfinished(&whole[..whole.len() / 2]));
        assert!(unfinished(&whole[..20]));
        assert!(unfinished(&[0; 4096]));
        assert!(unfinished(b""));
        assert!(!unfinished(b"#!/bin/sh\n"));
        assert!(Stamp::Missing.is_unfinished(Path::new("/nowhere")));
    }
}
