//! State of one path, compared to find changes without reading file contents.
//!
//! Symbolic links are not followed: the targets are inputs of their own. A directory has no state except, if it was listed,
//! the names in it, because files next to an input do not change the input.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Use of a path in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Read, or looked up and missing.
    Input,
    /// Directory whose names were listed.
    Listed,
    /// Read only by the build, which handles missing and incomplete files itself.
    Source,
}

/// State of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stamp {
    /// Missing or inaccessible.
    Missing,
    /// A directory.
    Directory,
    /// Names in a listed directory, sorted.
    Names(Vec<OsString>),
    /// A file, a symbolic link or a special file.
    File {
        /// Device and inode: they differ after the file was replaced.
        inode: (u64, u64),
        /// Size in bytes.
        size: u64,
        /// Last change of contents or metadata, time since 1970.
        changed: Duration,
    },
    /// Changed while it was read. Not equal to any other stamp.
    Unknown,
}

impl Stamp {
    /// Returns the current state of `path`.
    pub(crate) fn of(path: &Path, role: Role) -> Self {
        let Ok(metadata) = fs::symlink_metadata(path) else { return Self::Missing };
        match (metadata.is_dir(), role) {
            (true, Role::Listed) => names(path),
            (true, Role::Input | Role::Source) => Self::Directory,
            (false, _) => Self::File {
                inode: (metadata.dev(), metadata.ino()),
                size: metadata.size(),
                changed: since_epoch(metadata.ctime(), metadata.ctime_nsec()),
            },
        }
    }

    /// Returns the time of the last change of a file, since 1970.
    pub(crate) fn changed(&self) -> Option<Duration> {
        match self {
            Self::File { changed, .. } => Some(*changed),
            Self::Missing | Self::Directory | Self::Names(_) | Self::Unknown => None,
        }
    }

    /// Returns true if the path is missing, empty or a truncated ELF file.
    pub(crate) fn is_incomplete(&self, path: &Path) -> bool {
        match self {
            Self::Missing => true,
            Self::File { size, .. } => *size == 0 || is_truncated_elf(path),
            Self::Directory | Self::Names(_) | Self::Unknown => false,
        }
    }
}

fn names(directory: &Path) -> Stamp {
    let Ok(entries) = fs::read_dir(directory) else { return Stamp::Missing };
    let mut names: Vec<OsString> = entries.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
    names.sort();
    Stamp::Names(names)
}

/// Returns true if a regular file ends before its ELF section headers (elf(5)), which linkers write last, or starts with
/// zeros, because GNU ld writes the ELF header last.
fn is_truncated_elf(path: &Path) -> bool {
    /// Size of the ELF64 header; the ELF32 header is shorter.
    const HEADER_SIZE: usize = 64;
    let Some(metadata) = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file) else { return false };
    let mut header = Vec::new();
    if File::open(path).and_then(|file| file.take(HEADER_SIZE as u64).read_to_end(&mut header)).is_err() {
        return false;
    }
    if !header.starts_with(goblin::elf::header::ELFMAG) {
        return header.iter().all(|byte| *byte == 0);
    }
    if header.len() < HEADER_SIZE {
        return true;
    }
    goblin::elf::Elf::parse_header(&header).is_ok_and(|header| {
        let sections = u64::from(header.e_shnum) * u64::from(header.e_shentsize);
        header.e_shoff.saturating_add(sections) > metadata.len()
    })
}

/// Returns the current time since 1970 of the clock that file systems use for timestamps: `current_time()` in
/// fs/inode.c reads the coarse clock, which is up to a tick late.
pub(crate) fn now() -> Duration {
    time(ClockId::RealtimeCoarse)
}

/// Waits for the next tick, so that [`now`] is later than the timestamp of any file written before the call.
pub(crate) fn wait_for_tick() {
    // Since Linux 6.13, a timestamp may come from the fine clock.
    let start = time(ClockId::Realtime);
    while now() <= start {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn time(clock: ClockId) -> Duration {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
    since_epoch(tv_sec, tv_nsec)
}

fn since_epoch(seconds: i64, nanoseconds: i64) -> Duration {
    Duration::new(u64::try_from(seconds).unwrap_or(0), u32::try_from(nanoseconds).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::{Role, Stamp, now, wait_for_tick};
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    #[test]
    fn a_change_of_a_file_changes_its_stamp_and_reading_does_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        fs::write(&path, "one").expect("written");
        let mut last = Stamp::of(&path, Role::Input);
        fs::read(&path).expect("read");
        assert_eq!(Stamp::of(&path, Role::Input), last);
        let changes: [&dyn Fn(); 6] = [
            &|| fs::write(&path, "two").expect("written"),
            &|| fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("allowed"),
            &|| {
                fs::write(dir.path().join("new"), "two").expect("written");
                fs::rename(dir.path().join("new"), &path).expect("renamed");
            },
            &|| fs::remove_file(&path).expect("removed"),
            &|| symlink("elsewhere", &path).expect("linked"),
            &|| {
                symlink("somewhere", dir.path().join("new")).expect("linked");
                fs::rename(dir.path().join("new"), &path).expect("renamed");
            },
        ];
        for (number, change) in changes.iter().enumerate() {
            wait_for_tick();
            change();
            let now = Stamp::of(&path, Role::Input);
            assert_ne!(now, last, "change {number}");
            last = now;
        }
    }

    #[test]
    fn the_names_in_a_directory_change_its_stamp_only_if_it_was_listed() {
        let dir = tempfile::tempdir().expect("a directory");
        let stamps = || [Role::Input, Role::Listed].map(|role| Stamp::of(dir.path(), role));
        let [input, listed] = stamps();
        fs::write(dir.path().join("file"), "").expect("written");
        let [input_now, listed_now] = stamps();
        assert_eq!(input_now, input);
        assert_ne!(listed_now, listed);
    }

    #[test]
    fn a_write_after_a_tick_has_a_later_time() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        fs::write(&path, "").expect("written");
        let changed = || Stamp::of(&path, Role::Input).changed().expect("a time");
        wait_for_tick();
        let tick = now();
        assert!(changed() < tick);
        fs::write(&path, "x").expect("written");
        assert!(changed() >= tick);
    }

    #[test]
    fn an_elf_file_is_incomplete_until_its_last_byte_is_written() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("program");
        let whole = fs::read("/proc/self/exe").expect("this program");
        let is_incomplete = |bytes: &[u8]| {
            fs::write(&path, bytes).expect("written");
            Stamp::of(&path, Role::Input).is_incomplete(&path)
        };
        assert!(!is_incomplete(&whole));
        assert!(is_incomplete(&whole[..whole.len() / 2]));
        assert!(is_incomplete(&whole[..20]));
        assert!(is_incomplete(&[0; 4096]));
        assert!(is_incomplete(b""));
        assert!(!is_incomplete(b"#!/bin/sh\n"));
        assert!(Stamp::Missing.is_incomplete(Path::new("/nowhere")));
    }
}
