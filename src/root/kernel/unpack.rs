//! Unpacks the relevant files of a package's tar archive: images, configuration, modules.
//!
//! Several threads write the modules uncompressed and parse their `.modinfo`. Creates no links: only regular files with
//! known names, below one new directory.
//! Refuses names with `..`, hard links in place of relevant files, and more files or bytes than any real kernel package
//! has.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};

use tar::{Archive, EntryType, PaxExtensions};

use super::place::{TOTAL_LIMIT, write_file, write_module};
use crate::format::compression::SizeLimited;
use crate::format::kernel::release::{is_release, is_vmlinuz};
use crate::format::modules::name;
use crate::root::modules::scan::Scanned;

/// File beside the modules of an unpacked package in the cache: the seal of each module, one per line.
pub(crate) const STAMPS: &str = "modules.stamps";

/// Limit of the number of archive entries. Debian's kernel packages have about 5,000.
const ENTRIES_LIMIT: usize = 200_000;
/// Modules up to this size are read into memory and passed to the worker threads; larger ones are streamed to disk.
const QUEUED_LIMIT: u64 = 16 << 20;
/// Size limit of long names and pax attributes, in bytes.
const NAME_LIMIT: u64 = 64 << 10;

/// Result of unpacking a package.
#[derive(Debug, Default)]
pub struct Unpacked {
    /// Paths of kernel images, relative to the directory.
    pub(crate) images: Vec<String>,
    /// All modules: the release, and the module with its path relative to the directory of that release.
    pub(crate) modules: Vec<(String, Scanned)>,
}

/// Destination of a relevant archive entry.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Selected {
    Image(String),
    Plain(String),
    Module { release: String, path: String },
}

impl Selected {
    /// Classifies a normalized path of the archive.
    fn of(path: &str) -> Option<Self> {
        if let Some(name) = path.strip_prefix("boot/") {
            let of = |prefix: &str| name.strip_prefix(prefix).is_some_and(is_release);
            return match () {
                // Alpine: vmlinuz-virt
                () if of("vmlinux-") || is_vmlinuz(name) => Some(Self::Image(path.to_owned())),
                () if of("config-") => Some(Self::Plain(path.to_owned())),
                () => None,
            };
        }
        let below = path.strip_prefix("usr/").unwrap_or(path).strip_prefix("lib/modules/")?;
        let (release, rest) = below.split_once('/').filter(|(release, _)| is_release(release))?;
        let moved = format!("lib/modules/{release}/{rest}");
        if name::stem(rest).is_some() {
            let path = name::uncompressed(rest).to_owned();
            return Some(Self::Module { release: release.to_owned(), path });
        }
        match rest {
            "vmlinuz" => Some(Self::Image(moved)),
            // Skip depmod's tables: they list compressed files, and may be out of date.
            "config" | "modules.builtin" | "modules.builtin.modinfo" | "modules.order" => Some(Self::Plain(moved)),
            _ => None,
        }
    }
}

/// A module queued for a worker thread.
struct Job {
    release: String,
    path: String,
    file: PathBuf,
    bytes: Vec<u8>,
}

/// Unpacks the relevant files of `archive` into the empty directory `into`.
pub fn unpack(archive: impl Read, into: &Path) -> io::Result<Unpacked> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(16);
    let (sender, receiver) = mpsc::sync_channel::<Job>(threads * 2);
    let receiver = Mutex::new(receiver);
    let (failed, total) = (AtomicBool::new(false), AtomicU64::new(0));
    let (mut unpacked, parts) = std::thread::scope(|scope| {
        let work = || {
            let mut done = Ok(Vec::new());
            loop {
                let job = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok(job) = job else { return done };
                // After an error, keep draining the queue so that the reader does not block on it.
                let Ok(modules) = &mut done else { continue };
                if failed.load(Ordering::Relaxed) {
                    continue;
                }
                match write_module(&job.file, job.bytes.as_slice(), &total) {
                    Ok(said) => modules.push((job.release, Scanned { path: job.path, info: said })),
                    Err(error) => {
                        failed.store(true, Ordering::Relaxed);
                        done = Err(error);
                    }
                }
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let read = Reader { into, sender, total: &total, failed: &failed, made: HashSet::new() }.read(archive);
        let died = || Err(io::Error::other("a worker thread panicked"));
        let parts: Vec<_> = workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| died())).collect();
        (read, parts)
    });
    for part in parts {
        // Report a worker's error first: it is the cause of the reader's error.
        let part = part?;
        if let Ok(unpacked) = &mut unpacked {
            unpacked.modules.extend(part);
        }
    }
    let mut unpacked = unpacked?;
    unpacked.modules.sort_by(|one, other| (&one.0, &one.1.path).cmp(&(&other.0, &other.1.path)));
    unpacked.images.sort();
    Ok(unpacked)
}

/// Reader of the archive. Runs on the calling thread.
struct Reader<'a> {
    into: &'a Path,
    sender: mpsc::SyncSender<Job>,
    total: &'a AtomicU64,
    failed: &'a AtomicBool,
    made: HashSet<PathBuf>,
}

impl Reader<'_> {
    fn read(mut self, archive: impl Read) -> io::Result<Unpacked> {
        let mut unpacked = Unpacked::default();
        let mut archive = Archive::new(SizeLimited::new(archive, TOTAL_LIMIT));
        let mut long: Option<Vec<u8>> = None;
        // Raw entries: otherwise the crate reads long names into memory without a limit.
        for (count, entry) in archive.entries()?.raw(true).enumerate() {
            let mut entry = entry?;
            if count >= ENTRIES_LIMIT {
                return Err(io::Error::other(format!("more than {ENTRIES_LIMIT} entries")));
            }
            if self.failed.load(Ordering::Relaxed) {
                return Err(io::Error::other("failed to write a module"));
            }
            let kind = entry.header().entry_type();
            match kind {
                EntryType::GNULongName => {
                    let mut name = small(&mut entry)?;
                    name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
                    long = Some(name);
                    continue;
                }
                EntryType::XHeader => {
                    let attributes = small(&mut entry)?;
                    for attribute in PaxExtensions::new(&attributes) {
                        let attribute = attribute?;
                        if attribute.key_bytes() == b"path" {
                            long = Some(attribute.value_bytes().to_vec());
                        }
                    }
                    continue;
                }
                EntryType::GNULongLink | EntryType::XGlobalHeader => continue,
                _ => {}
            }
            let path = long.take().unwrap_or_else(|| entry.header().path_bytes().into_owned());
            let Some(wanted) = normal(&path)?.as_deref().and_then(Selected::of) else { continue };
            match kind {
                EntryType::Regular | EntryType::Continuous => self.take(wanted, &mut entry, &mut unpacked)?,
                EntryType::Link => {
                    let path = String::from_utf8_lossy(&path).into_owned();
                    return Err(io::Error::other(format!("{path}: unexpected hard link")));
                }
                // Links and directories: their content has separate entries.
                _ => {}
            }
        }
        Ok(unpacked)
    }

    /// Writes a relevant file, or queues it for a worker thread.
    fn take(&mut self, wanted: Selected, entry: &mut impl SizedRead, unpacked: &mut Unpacked) -> io::Result<()> {
        match wanted {
            Selected::Image(path) => {
                let file = self.place(&path)?;
                write_file(&file, entry, self.total)?;
                unpacked.images.push(path);
            }
            Selected::Plain(path) => {
                let file = self.place(&path)?;
                write_file(&file, entry, self.total)?;
            }
            Selected::Module { release, path } => {
                let file = self.place(&format!("lib/modules/{release}/{path}"))?;
                let size = entry.len();
                if size > QUEUED_LIMIT {
                    let info = write_module(&file, entry, self.total)?;
                    unpacked.modules.push((release, Scanned { path, info }));
                    return Ok(());
                }
                let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
                entry.read_to_end(&mut bytes)?;
                if bytes.len() as u64 != size {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let job = Job { release, path, file, bytes };
                self.sender.send(job).map_err(|_| io::Error::other("all worker threads exited"))?;
            }
        }
        Ok(())
    }

    /// Returns the path of a file below the directory and creates its parent directories.
    fn place(&mut self, path: &str) -> io::Result<PathBuf> {
        let file = self.into.join(path);
        if let Some(parent) = file.parent()
            && !self.made.contains(parent)
        {
            fs::create_dir_all(parent)?;
            self.made.insert(parent.to_owned());
        }
        Ok(file)
    }
}

/// A reader with a known length: an archive entry.
trait SizedRead: Read {
    /// Length from the entry's header, in bytes.
    fn len(&self) -> u64;
}

impl<R: Read> SizedRead for tar::Entry<'_, R> {
    fn len(&self) -> u64 {
        self.size()
    }
}

/// Reads an entry. Limit: [`NAME_LIMIT`] bytes.
fn small(entry: &mut impl SizedRead) -> io::Result<Vec<u8>> {
    if entry.len() > NAME_LIMIT {
        return Err(io::Error::other(format!("name or attribute of {} bytes exceeds the limit", entry.len())));
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Normalizes a path: removes `.` and empty components. Returns `None` if it is not UTF-8, and an error for `..`.
fn normal(path: &[u8]) -> io::Result<Option<String>> {
    let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
    if parts.contains(&b"..".as_slice()) {
        let path = std::ffi::OsStr::from_bytes(path).display().to_string();
        return Err(io::Error::other(format!("{path}: path outside the package")));
    }
    Ok(String::from_utf8(parts.join(&b'/')).ok())
}

/// Returns the file stamp of an image: size and mtime.
pub(crate) fn stamp(metadata: &std::fs::Metadata) -> String {
    format!("{} {}.{:09}", metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Selected, normal, unpack};
    use crate::format::modules::modinfo::tests::module;
    use std::fs;

    /// Builds a tar archive of these files. A name that starts with `->` becomes a symbolic link to the content.
    pub(crate) fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            if let Some(name) = name.strip_prefix("->") {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_size(0);
                let target = std::str::from_utf8(content).expect("text");
                builder.append_link(&mut header, name, target).expect("appended");
                continue;
            }
            header.set_size(content.len() as u64);
            if name.contains("..") {
                // The builder refuses such a name, so write it to the header directly.
                header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
                header.set_cksum();
                builder.append(&header, *content).expect("appended");
            } else {
                builder.append_data(&mut header, name, *content).expect("appended");
            }
        }
        builder.into_inner().expect("finished")
    }

    fn names(directory: &std::path::Path) -> Vec<String> {
        let files = walkdir::WalkDir::new(directory).sort_by_file_name().into_iter();
        let files = files.map(|item| item.expect("an item")).filter(|item| !item.file_type().is_dir());
        files.map(|item| item.path().strip_prefix(directory).expect("below").display().to_string()).collect()
    }

    #[test]
    fn only_relevant_files_are_written_and_modules_are_decompressed() {
        let deep = format!("./usr/lib/modules/6.9.0/kernel/{}/deep.ko", "d".repeat(150));
        let packed = zstd::encode_all(module(&["depends=deep"]).as_slice(), 1).expect("compressed");
        let large = [module(&[]), vec![0; 17 << 20]].concat();
        let tar = archive(&[
            ("./boot/vmlinuz-6.9.0", b"image"),
            ("./boot/config-6.9.0", b"CONFIG_A=y\n"),
            ("./boot/System.map-6.9.0", b"no"),
            ("./lib/modules/6.9.0/kernel/a.ko.zst", &packed),
            ("./lib/modules/6.9.0/kernel/large.ko", &large),
            ("->./lib/modules/6.9.0/build", b"/usr/src/linux"),
            ("->./lib/modules/6.9.0/kernel/link.ko", b"/etc/passwd"),
            ("./lib/modules/6.9.0/modules.dep", b"no"),
            ("./lib/modules/6.9.0/modules.builtin", b""),
            ("./usr/share/doc/x", b"no"),
            (&deep, &module(&["depends="])),
        ]);
        let dir = tempfile::tempdir().expect("a temporary directory");
        let unpacked = unpack(tar.as_slice(), dir.path()).expect("unpacked");
        let deep = format!("kernel/{}/deep.ko", "d".repeat(150));
        let expected = [
            "boot/config-6.9.0".to_owned(),
            "boot/vmlinuz-6.9.0".to_owned(),
            "lib/modules/6.9.0/kernel/a.ko".to_owned(),
            format!("lib/modules/6.9.0/{deep}"),
            "lib/modules/6.9.0/kernel/large.ko".to_owned(),
            "lib/modules/6.9.0/modules.builtin".to_owned(),
        ];
        assert_eq!(names(dir.path()), expected);
        assert_eq!(unpacked.images, ["boot/vmlinuz-6.9.0"]);
        let paths: Vec<&str> = unpacked.modules.iter().map(|(_, module)| module.path.as_str()).collect();
        assert_eq!(paths, ["kernel/a.ko", &deep, "kernel/large.ko"]);
        assert_eq!(unpacked.modules[0].1.info.depends, ["deep"]);
        assert_eq!(
            fs::read(dir.path().join("lib/modules/6.9.0/kernel/a.ko")).expect("read"),
            module(&["depends=deep"])
        );
    }

    #[test]
    fn paths_outside_the_package_are_refused_and_not_written() {
        for name in ["./lib/modules/6.9.0/../../../../escaped.ko", "../escaped", "boot/../../escaped"] {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let into = dir.path().join("into");
            fs::create_dir(&into).expect("made");
            let error = unpack(archive(&[(name, b"x")]).as_slice(), &into).expect_err("refused").to_string();
            assert!(error.contains("path outside the package"), "{error}");
            assert_eq!(names(dir.path()), [] as [&str; 0]);
        }
        assert_eq!(normal(b"/abs//./x").expect("normal").as_deref(), Some("abs/x"));
    }

    #[test]
    fn damaged_modules_truncated_archives_and_duplicates_are_errors() {
        let good = module(&["depends="]);
        for (name, tar) in [
            ("garbage", archive(&[("./lib/modules/6.9.0/kernel/a.ko", b"garbage")])),
            ("truncated xz", archive(&[("./lib/modules/6.9.0/kernel/a.ko.xz", b"\xfd7zXZ\0\0\0")])),
            ("duplicate", archive(&[("lib/modules/6.9.0/a.ko", &good), ("usr/lib/modules/6.9.0/a.ko", &good)])),
            ("truncated", archive(&[("./lib/modules/6.9.0/kernel/a.ko", &good)])[..600].to_vec()),
        ] {
            let dir = tempfile::tempdir().expect("a temporary directory");
            assert!(unpack(tar.as_slice(), dir.path()).is_err(), "{name}");
        }
    }

    #[test]
    fn a_decompression_bomb_stops_at_the_limit() {
        let mut bomb = zstd::Encoder::new(Vec::new(), 1).expect("a writer");
        for _ in 0..=crate::root::kernel::place::FILE_LIMIT >> 20 {
            std::io::Write::write_all(&mut bomb, &vec![0; 1 << 20]).expect("compressed");
        }
        let bomb = bomb.finish().expect("finished");
        let dir = tempfile::tempdir().expect("a temporary directory");
        let tar = archive(&[("lib/modules/6.9.0/bomb.ko.zst", &bomb)]);
        let error = unpack(tar.as_slice(), dir.path()).expect_err("refused").to_string();
        assert!(error.contains("exceeds the limit"), "{error}");
    }

    #[test]
    fn releases_that_could_be_paths_are_ignored() {
        for path in ["boot/vmlinuz-x/y", "boot/vmlinuz-", "lib/modules//a.ko", "lib/modules/.hidden/a.ko", "etc/passwd"]
        {
            assert_eq!(Selected::of(path), None, "{path}");
        }
    }
}
